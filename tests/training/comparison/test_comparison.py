"""Runs set beside each other: groups, tests, files, the page."""

import csv
import io
import json
import re

import numpy as np
import pytest
from scipy import stats

from runtime import failures
from runtime.storage import bucket_path, whole_files
from tests import runs as test_runs
from training import config as config_lib
from training.comparison import comparison, figures, paired_seeds
from training.comparison import runs as runs_lib

_RECALL = "holdout/image_to_text/R@1"
_VALUES = {1e-3: (0.30, 0.34, 0.35), 3e-4: (0.20, 0.23, 0.28)}


def _write(folder, changes, recall, *, steps=40):
  """Write the folder of a run that took `steps` of 40 steps."""
  folder.mkdir(parents=True)
  config = config_lib.to_mapping(test_runs.make_config(changes))
  record = {"config": config, "commit": "abc", "versions": {}}
  (folder / "config.json").write_text(json.dumps(record))
  lines = [{"step": 0, "compile/step_gflop": 2.0, "compile/seconds": 3.0}]
  for step in range(1, steps + 1):
    lines.append({"step": step, "train/loss": 50.0 - step, "train/scale": 1.0})
    if step % 20 == 0:
      lines.append({"step": step, "time/images_per_s": 8.0})
      lines.append({"step": step, _RECALL: recall * step / 40})
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (folder / "metrics.jsonl").write_text(text + '{"step": 99, "train/lo')
  if steps == 40:
    results = {
      "holdout": {"num_candidates": 9, "image_to_text": {"R@1": recall}}
    }
    (folder / "results.json").write_text(json.dumps(results))


@pytest.fixture
def root(tmp_path):
  for rate, recalls in _VALUES.items():
    for seed, recall in enumerate(recalls):
      changes = {
        "optimizer.learning_rate": rate,
        "seed": seed,
        # Of the machine, not of the result.
        "data.cache_dir": f"{rate}-{seed}",
      }
      _write(tmp_path / f"{rate}-{seed}", changes, recall)
  return tmp_path


def _compare(root, figure=""):
  return comparison.compare(runs_lib.read(runs_lib.find([f"{root}/*"])), figure)


def test_groups(root):
  compared = _compare(root)
  assert compared["figure"] == _RECALL
  assert compared["fields"] == ["optimizer.learning_rate"]
  assert compared["figures"] == [_RECALL, "train/loss"]
  best, other = compared["groups"]
  assert best["fields"] == {"optimizer.learning_rate": 1e-3}
  assert best["members"] == ["0.001-0", "0.001-1", "0.001-2"]
  assert best["difference"] is None
  for group, rate in ((best, 1e-3), (other, 3e-4)):
    spread = group["figures"][_RECALL]
    assert spread["n"] == 3
    assert spread["mean"] == pytest.approx(np.mean(_VALUES[rate]))
    assert spread["std"] == pytest.approx(np.std(_VALUES[rate], ddof=1))
  test = other["difference"]
  expected = stats.ttest_rel(_VALUES[3e-4], _VALUES[1e-3])
  assert test["n"] == 3
  assert test["p"] == pytest.approx(expected.pvalue)
  interval = expected.confidence_interval(0.95)
  assert test["interval"] == pytest.approx([interval.low, interval.high])
  # A loss falls: its lowest group is the best one.
  assert _compare(root, "train/loss")["rises"] is False


def test_rows(root):
  row = _compare(root)["runs"][0]
  assert row["name"] == "0.0003-0"
  assert row["step"] == 40
  assert row["samples"] == 40 * 16
  assert row["gflop"] == 80.0
  assert row["hours"] == pytest.approx(40 * 16 / 8 / 3600)
  # Mean of the last tenth of the steps: 13, 12, 11, 10.
  assert row["figures"] == {"train/loss": 11.5, _RECALL: 0.20}


def test_cost_of_all_starts(root):
  lines = [
    {"start": 1, "seconds": 1800.0, "energy_j": {"cpu": 3.6e6}},
    {"start": 2, "seconds": 3600.0, "energy_j": {"cpu": 1.8e6}},
  ]
  path = root / "0.0003-0" / "starts.jsonl"
  path.write_text("".join(json.dumps(line) + "\n" for line in lines))
  compared = _compare(root)
  first, other = compared["runs"][:2]
  assert (first["wall_hours"], first["starts"], first["kwh"]) == (1.5, 2, 1.5)
  assert (other["wall_hours"], other["kwh"]) == (None, None)
  table = comparison.markdown(compared)
  assert "| steps | hours | wall hours | kWh |" in table
  assert "| 1.500 | 1.5 |" in table
  assert "|  | not measured |" in table


def test_a_run_that_is_not_complete_is_in_no_mean(root):
  changes = {"optimizer.learning_rate": 1e-3, "seed": 3}
  _write(root / "short", changes, 0.9, steps=20)
  compared = _compare(root)
  assert compared["runs"][-1]["is_complete"] is False
  assert compared["groups"][0]["figures"][_RECALL]["n"] == 3
  assert "short (not complete)" in comparison.markdown(compared)


def test_paired_seeds():
  assert (
    paired_seeds.compare({"0": 0.1, "1": 0.2}, {"1": 0.3, "2": 0.1}) is None
  )
  same = paired_seeds.compare({"0": 1.0, "1": 2.0}, {"1": 3.0, "0": 2.0})
  assert same == {"n": 2, "difference": 1.0, "interval": [1.0, 1.0], "p": None}
  # Equal but for rounding: 0.3 - 0.1 is not 0.4 - 0.2.
  rounded = paired_seeds.compare({"0": 0.1, "1": 0.2}, {"0": 0.3, "1": 0.4})
  assert rounded is not None
  assert rounded["p"] is None


def test_files(root, tmp_path, capsys):
  out = tmp_path / "out" / "new"
  code = comparison.run([f"{root}/0*"], out=str(out), as_json=False)
  assert code == 0
  assert capsys.readouterr().out.startswith("Groups by holdout")
  written = json.loads((out / "comparison.json").read_text())
  assert written == json.loads(json.dumps(_compare(root)))
  rows = list(csv.DictReader(io.StringIO((out / "runs.csv").read_text())))
  assert [float(row[_RECALL]) for row in rows[3:]] == list(_VALUES[1e-3])
  assert [row["optimizer.learning_rate"] for row in rows[3:]] == ["0.001"] * 3
  table = (out / "comparison.md").read_text()
  assert "| 0.001 | 0.330 ± 0.026 (3) |" in table


@pytest.mark.parametrize("emulator", ["gs"], indirect=True)
def test_runs_in_a_bucket(root, bucket, tmp_path, capsys):
  for path in sorted(root.rglob("*")):
    if path.is_file():
      name = path.relative_to(root).as_posix()
      whole_files.write(bucket_path.make(f"{bucket}/{name}"), path.read_bytes())
  local, out = tmp_path / "out", bucket_path.make(f"{bucket}/out")
  for place, folder in ((root, local), (bucket, out)):
    comparison.run([f"{place}/*"], out=str(folder), as_json=True)
  expected, got = capsys.readouterr().out.strip().split("}\n{")
  assert json.loads(expected + "}") == json.loads("{" + got)
  assert whole_files.sizes(out) == whole_files.sizes(local)
  for name in whole_files.sizes(local):
    assert (out / name).read_bytes() == (local / name).read_bytes(), name
  (path,) = runs_lib.find([f"{bucket}/0.001-0"])
  assert path.name == "0.001-0"
  with pytest.raises(ValueError, match=r"--workdirs=gs://.*/none\* must match"):
    runs_lib.find([f"{bucket}/none*"])
  address = "gs://bucket-of-nobody/*"
  with pytest.raises(failures.RunError, match="there is no bucket gs://bucket"):
    runs_lib.find([address])


def test_page(root, tmp_path):
  _write(root / "<script>x", {"seed": 9}, 0.1)
  comparison.run([f"{root}/*"], out=str(tmp_path / "out"), as_json=False)
  text = (tmp_path / "out" / "comparison.html").read_text()
  # Self-contained, and no name of a folder is code.
  assert not re.search(r"(src|href)=\"(?!data:)", text)
  assert text.count("<script") == 2
  data = json.loads(
    text.split('type="application/json" id="data">')[1].split("</script>")[0]
  )
  assert [chart["name"] for chart in data["charts"]] == [_RECALL, "train/loss"]
  recall, loss = data["charts"]
  assert len(loss["lines"]) == 7
  line = recall["lines"][3]
  assert line["steps"] == [20, 40]
  assert line["values"] == [0.15, 0.3]
  assert line["hours"] == pytest.approx([20 * 16 / 8 / 3600, 0.022222], 1e-3)
  assert data["runs"][3] == {
    "name": "0.001-0",
    "group": 0,
    "complete": True,
    "batch": 16,
    "flop": 2e9,
  }


def test_long_curves_are_averaged(tmp_path):
  steps = np.arange(3000.0)
  _write(tmp_path / "run", {}, 0.5)
  lines = [{"step": int(x), "train/loss": 2 * x} for x in steps]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (tmp_path / "run" / "metrics.jsonl").write_text(text)
  comparison.run(
    [str(tmp_path / "run")], out=str(tmp_path / "out"), as_json=True
  )
  text = (tmp_path / "out" / "comparison.html").read_text()
  data = json.loads(text.split('id="data">')[1].split("</script>")[0])
  (line,) = data["charts"][0]["lines"]
  assert len(line["values"]) == 300
  # Means of ten steps each.
  assert line["steps"][:2] == [4.5, 14.5]
  assert line["values"][:2] == [9.0, 29.0]


def test_refusals(root):
  with pytest.raises(
    ValueError, match=r"--workdirs=.*none\* must match folders"
  ):
    runs_lib.find([f"{root}/0*", f"{root}/none*"])
  with pytest.raises(ValueError, match="--figure must be one of holdout/"):
    _compare(root, "R@1")
  (root / "0.001-0" / "config.json").write_text(
    '{"config": {}, "versions": {}}'
  )
  with pytest.raises(
    ValueError, match=r"0\.001-0/config\.json must be a run's"
  ):
    _compare(root)


def test_numbers():
  assert figures.number(0.4123) == "0.412"
  assert figures.number(0.00012344) == "0.0001234"
  assert figures.number(12345.678) == "1.235e+04"
  assert figures.shown(figures.spread([0.4, 0.5])) == "0.450 ± 0.071 (2)"
  assert figures.shown(figures.spread([0.4])) == "0.400"
  assert figures.rises("a/R@1")
  assert not figures.rises("a/image_to_text/median_rank")
