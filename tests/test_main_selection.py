"""A run that keeps the weights of its best evaluation."""

import json
import shutil

import numpy as np
import pytest

from tests import runs, tiny
from training import config as config_lib

_CONFIG = "tests/tiny.py:compositional"
_SELECT = (
  "--config.evaluate.every_steps=10",
  "--config.evaluate.loss=True",
  "--config.checkpoint.select=compositional/loss",
  # The loss rises towards the end.
  "--config.optimizer.schedule=factors",
  "--config.optimizer.factors=((0, 1.0), (20, 30.0))",
)


def _figures(workdir, name):
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  return {row["step"]: row[name] for row in rows if name in row}


@pytest.mark.slow
def test_the_best_step_is_what_a_run_is(runner, tmp_path):
  workdir = tmp_path / "run"
  result = runner.run(workdir, *_SELECT, config=_CONFIG)
  assert result.code == 0, result.stderr
  losses = _figures(workdir, "compositional/loss")
  assert sorted(losses) == [10, 20, 30, 40]
  best = min(losses, key=losses.get)
  assert best < 40, "too late to show anything"
  (kept,) = (workdir / "selected" / "checkpoints").iterdir()
  assert kept.name == str(best)
  results = json.loads((workdir / "results.json").read_text())
  assert results["inputs"]["selected"] == {
    "step": best,
    "figure": "compositional/loss",
    "value": losses[best],
  }
  assert results["compositional"]["loss"] == pytest.approx(losses[best])
  ranks = _figures(workdir, "compositional/image_to_text/R@10")
  found = results["compositional"]["image_to_text"]["R@10"]
  assert found == pytest.approx(ranks[best])
  # Later tasks and runs read it.
  told = runner.run(
    workdir, "--task=evaluate", f"--out={tmp_path}/out", config=None
  )
  assert told.code == 0, told.stderr
  again = json.loads((tmp_path / "out" / "results.json").read_text())
  assert again["compositional"]["image_to_text"]["R@10"] == found

  # Killed after step 30 was judged, the run selects the same again.
  for folder in (workdir / "checkpoints").iterdir():
    if int(folder.name) > 20:
      shutil.rmtree(folder)
  (workdir / "results.json").unlink()
  before = runs.saved_arrays(workdir / "selected", runner.cache_dir)
  result = runner.run(workdir, *_SELECT, config=_CONFIG)
  assert result.code == 0, result.stderr
  assert "Resuming from the checkpoint of step 20" in result.stderr
  after = runs.saved_arrays(workdir / "selected", runner.cache_dir)
  assert before.keys() == after.keys()
  for name, value in before.items():
    np.testing.assert_array_equal(value, after[name])


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (("--config.checkpoint.select=loss",), "select must be SET/FIGURE"),
    (("--config.checkpoint.select=compositional/loss",), "every_steps must be"),
    (
      (
        "--config.checkpoint.select=compositional/loss",
        "--config.evaluate.every_steps=5",
      ),
      "evaluate.loss must be True",
    ),
  ],
)
def test_a_figure_that_no_evaluation_has(flags, message):
  config = tiny.get_config()
  for flag in flags:
    name, _, value = flag.removeprefix("--config.").partition("=")
    section, _, field = name.partition(".")
    old = config[section][field]
    config[section][field] = type(old)(value)
  with pytest.raises(ValueError, match=message):
    config_lib.checked(config.to_dict())
