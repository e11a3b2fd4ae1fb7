"""Choice of the trials that go on, from files of metrics."""

import json

import pytest

from experiments.sweeps import halving, records, study, trials
from runtime import failures

_SEEDS = range(5)
_BASE = trials.Base((study.Task("train", ()),), lambda words: {}, print)


@pytest.fixture
def listed(tmp_path):
  """Trials whose loss at step 10 rises, and at step 20 falls, with the seed."""
  made = [trials.Trial({"seed": seed}, steps=40) for seed in _SEEDS]
  for trial in made:
    seed = trial.changes["seed"]
    lines = [
      {"step": 10, "train/loss": 1.0 + seed, "set/R@1": 0.1 * seed},
      {"step": 20, "train/loss": 9.0 - seed, "set/R@1": 0.9 - 0.1 * seed},
    ]
    folder = tmp_path / trial.id
    folder.mkdir()
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + '{"step": 30, "train')
    records.write(tmp_path, trial, state=records.PAUSED)
  return made


def _seeds(tmp_path, listed, *args):
  kept = halving.best(
    tmp_path, listed, _BASE, halving.Halving(args[0], (10, 20), 0.4), args[1]
  )
  return [trial.changes["seed"] for trial in kept]


def test_best(tmp_path, listed):
  assert _seeds(tmp_path, listed, "train/loss", 10) == [0, 1]
  states = [records.read(tmp_path, trial.id)["state"] for trial in listed]
  assert states == [records.PAUSED] * 2 + [records.STOPPED] * 3
  reason = records.read(tmp_path, listed[2].id)["reason"]
  assert reason == "step 10: train/loss 3.000, kept 2.000"
  # Between the rungs, what was last.
  assert _seeds(tmp_path, listed, "train/loss", 15) == [0, 1]
  assert _seeds(tmp_path, listed, "train/loss", 20) == [3, 4]
  # Of a recall, more is better.
  assert _seeds(tmp_path, listed, "set/R@1", 10) == [3, 4]


def test_a_failed_trial_does_not_go_on(tmp_path, listed):
  records.write(tmp_path, listed[0], state=records.FAILED, reason="x")
  assert _seeds(tmp_path, listed, "train/loss", 10) == [1, 2]
  assert records.read(tmp_path, listed[0].id)["reason"] == "x"


def test_no_figure(tmp_path, listed):
  with pytest.raises(failures.RunError, match="--figure=set/R@5 must be in"):
    _seeds(tmp_path, listed, "set/R@5", 10)


@pytest.mark.parametrize(
  ("rungs", "keep", "message"),
  [
    ((20, 10), 0.5, r"--rungs must be rising steps.*got \[20, 10\]"),
    ((0, 10), 0.5, "--rungs must be between 1 and total_steps=40"),
    ((10, 40), 0.5, "--rungs must be between 1 and total_steps=40"),
    ((10,), 1.0, "--keep must be between 0 and 1; got 1.0"),
  ],
)
def test_check(listed, rungs, keep, message):
  with pytest.raises(failures.RunError, match=message):
    halving.Halving("train/loss", rungs, keep).check(listed)


def test_a_figure_of_evaluations_is_known_at_the_first_rung():
  settings = halving.Halving("set/R@1", (10, 20), 0.5)
  settings.check([trials.Trial({}, steps=40, evaluates_every=10)])
  for every in (0, 11):
    with pytest.raises(failures.RunError, match=f"1 to 10, .*got {every} in"):
      settings.check([trials.Trial({}, steps=40, evaluates_every=every)])
