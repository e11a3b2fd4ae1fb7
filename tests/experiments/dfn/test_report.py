"""Report on filters: drawn from filters.json alone, and refusals."""

import json

import pytest

from experiments.curation import web_noise
from experiments.dfn import quality, report, selections
from experiments.dfn import study as study_lib
from experiments.studies import outcomes
from runtime import failures


@pytest.fixture
def folder(tmp_path):
  (tmp_path / "README.md").write_text(
    f"# DFN\n<!-- {report.MARK} -->\n<!-- /{report.MARK} -->\nend\n"
  )
  facts = {
    "filters": {
      name: {
        "right": 1 - 0.1 * number,
        "num_examples": made.num_examples,
        "figures": dict.fromkeys(quality.FIGURES, 0.1 * number),
        "auc": 0.9 - 0.01 * number,
        "auc_swapped": 0.8,
      }
      for number, (name, made) in enumerate(selections.FILTERS.items())
    },
    "selections": {
      name: {
        "pairs": 10_000,
        "right": 0.75,
        "kinds": dict.fromkeys(web_noise.SHARES, 1234),
      }
      for name in report.ARMS
    },
    "commit": "0123456789abcdef",
  }
  facts["selections"]["metaclip"]["t"] = 3
  (tmp_path / "data").mkdir()
  (tmp_path / "data" / quality.JSON).write_text(json.dumps(facts))
  return tmp_path


def test_the_report_is_redrawn_from_what_is_kept(folder):
  text = report.write(folder, str(folder / "data"))
  assert "| DFN, 100 % | 100.0% | 65,536 | 0.000 | 0.000 | 0.900 |" in text
  assert "MetaCLIP's t: 3 (MetaCLIP). Commit 0123456789ab." in text
  names = (quality.JSON, report.CHART, "README.md")
  before = [(folder / name).read_bytes() for name in names]
  assert report.write(folder) == text
  assert [(folder / name).read_bytes() for name in names] == before
  assert b"trained on it" not in before[1]
  assert before[2].endswith(b"<!-- /filters -->\nend\n")


def test_models_are_drawn_where_there_are_results(folder):
  outcome = {
    "schema": 1,
    "trials": [
      {
        "arm": arm.name,
        "seed": seed,
        "changes": dict(arm.changes),
        "figures": {x.name: 0.1 * seed for x in study_lib.STUDY.figures},
      }
      for arm in study_lib.STUDY.arms
      for seed in range(3)
    ],
  }
  outcomes.write(folder / outcomes.JSON, outcome)
  report.write(folder, str(folder / "data"))
  assert "image to text, trained on it" in (folder / report.CHART).read_text()


def test_other_filters_are_refused(folder):
  with pytest.raises(failures.RunError, match=r"filters.json is missing"):
    report.write(folder)
  path = folder / "data" / quality.JSON
  facts = json.loads(path.read_text())
  del facts["selections"]["raw"]
  path.write_text(json.dumps(facts))
  with pytest.raises(failures.RunError, match="must have the selections"):
    report.write(folder, str(folder / "data"))
  assert not (folder / report.CHART).exists()
