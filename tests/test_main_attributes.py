"""main.py on a labelled set whose figures are split by attributes."""

import json

import pytest

from tests import runs
from tests.evaluators.sets import made
from tests.inference import fresh_run

_CONFIG = """
from configs.parts import sources
from evaluators.sets import kinds
from tests import tiny

def get_config():
  config = tiny.get_config()
  config.data.cache_dir = "{folder}/cache"
  config.evaluate.sets = {{
    "people": kinds.classification(
      sources.source(format="table", path="{folder}/people"),
      label="kind",
      attributes=("gender",),
      disparity_k=3,
    )
  }}
  return config
"""


@pytest.mark.slow
def test_figures_by_attribute(tmp_path):
  names = [f"{i}.png" for i in range(12)]
  made.images(tmp_path / "people", *names)
  rows = [
    {
      "image": name,
      "kind": ("cook", "judge")[i % 2],
      "gender": ("f", "m", None)[i % 3],
    }
    for i, name in enumerate(names)
  ]
  text = "".join(json.dumps(row) + "\n" for row in rows)
  (tmp_path / "people/captions.jsonl").write_text(text)
  fresh_run.write(tmp_path / "run", runs.make_config())
  path = tmp_path / "config.py"
  path.write_text(_CONFIG.format(folder=tmp_path))
  result = runs.Runner(None, None).run(
    tmp_path / "run", "--task=evaluate", config=str(path)
  )
  assert result.code == 0, result.stderr
  record = json.loads((tmp_path / "run/results.json").read_text())["people"]
  groups = record["groups"]["gender"]
  assert [(row["name"], row["n"]) for row in groups] == [
    ("(none)", 4),
    ("f", 4),
    ("m", 4),
  ]
  right = sum(row["mean"] * row["n"] for row in groups)
  assert right / 12 == pytest.approx(record["top_1"])
  assert record["gaps"]["gender"]["num_without_value"] == 4
  assert record["disparity"]["gender"]["k"] == 3
  assert "people by gender: top-1 (none)" in result.stdout
