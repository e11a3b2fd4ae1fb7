"""Successive halving: training pauses at rungs, and the best trials go on.

Source: Jamieson and Talwalkar (2016), "Non-stochastic best arm identification
and hyperparameter optimization" (arXiv 1502.07943). All trials of a rung are
trained to its step before one goes on, so that the choice depends on no order.
"""

import dataclasses
import math
import pathlib
from collections.abc import Iterator, Sequence

from experiments.sweeps import records, runner
from experiments.sweeps import trials as trials_lib
from runtime import failures
from runtime.storage import jsonl
from training.comparison import figures as figures_lib


@dataclasses.dataclass(frozen=True)
class Halving:
  """Settings of successive halving.

  Attributes:
    figure: name of the figure that ranks trials.
    rungs: steps to compare trials at, rising.
    keep: part of the trials that goes on from each rung, at least one.
  """

  figure: str
  rungs: tuple[int, ...]
  keep: float

  def check(self, trials: Sequence[trials_lib.Trial]) -> None:
    """Raise RunError for rungs that no trial, or not every one, reaches."""
    if not self.rungs or sorted(set(self.rungs)) != list(self.rungs):
      raise failures.RunError(
        "--rungs must be rising steps, as --rungs=100,300; got"
        f" {list(self.rungs)}"
      )
    if not 0 < self.keep < 1:
      raise failures.RunError(
        f"--keep must be between 0 and 1; got {self.keep}"
      )
    shortest = min(trials, key=lambda trial: trial.steps)
    if not self.rungs[0] > 0 or self.rungs[-1] >= shortest.steps:
      raise failures.RunError(
        f"--rungs must be between 1 and total_steps={shortest.steps} of trial"
        f" {shortest.id}; got {list(self.rungs)}"
      )
    for trial in trials:
      every = trial.evaluates_every
      if self.figure != figures_lib.LOSS and not 0 < every <= self.rungs[0]:
        raise failures.RunError(
          f"--figure={self.figure} is known after an evaluation; expected"
          f" evaluate.every_steps from 1 to {self.rungs[0]}, the first of"
          f" --rungs; got {every} in trial {trial.id}"
        )


def run(
  runner_: runner.Runner,
  root: pathlib.Path,
  trials: Sequence[trials_lib.Trial],
  base: trials_lib.Base,
  settings: Halving,
) -> Iterator[trials_lib.Trial]:
  """Run trials from rung to rung; yield each where it ends or pauses."""
  left = list(trials)
  for rung in settings.rungs:
    yield from runner_.run(left, until=rung, all_trials=trials)
    if runner_.is_halted or any(
      runner_.step(trial) < rung and not _has_failed(root, trial)
      for trial in left
    ):
      return  # a choice among some of them would not be that of all
    left = best(root, left, base, settings, rung)
  yield from runner_.run(left, all_trials=trials)


def best(
  root: pathlib.Path,
  trials: Sequence[trials_lib.Trial],
  base: trials_lib.Base,
  settings: Halving,
  rung: int,
) -> list[trials_lib.Trial]:
  """Return the trials that go on from a rung; note it in those that do not.

  Raises:
    RunError: no trial has the figure at the rung.
  """
  scores = {}
  for trial in trials:
    lines = [
      line
      for task in base.chain
      for line in jsonl.read(
        base.folder(root, trial, task.name) / runner.METRICS
      )
    ]
    score = figures_lib.at_step(lines, rung).get(settings.figure)
    if (
      score is not None
      and math.isfinite(score)
      and not _has_failed(root, trial)
    ):
      scores[trial.id] = score
  if not scores:
    raise failures.RunError(
      f"--figure={settings.figure} must be in metrics.jsonl by step {rung}"
      " (evaluate.every_steps); no trial has it"
    )
  sign = -1 if figures_lib.rises(settings.figure) else 1
  ranked = sorted(scores, key=lambda name: (sign * scores[name], name))
  count = max(1, math.ceil(settings.keep * len(trials)))
  kept = set(ranked[:count])
  for trial in trials:
    record = records.read(root, trial.id)
    if trial.id in kept or record["state"] in (records.FAILED, records.DONE):
      continue
    score = figures_lib.number(scores.get(trial.id)) or "missing"
    records.write(
      root,
      trial,
      state=records.STOPPED,
      reason=f"step {rung}: {settings.figure} {score}, kept"
      f" {figures_lib.number(scores[ranked[min(count, len(ranked)) - 1]])}",
    )
  return [trial for trial in trials if trial.id in kept]


def _has_failed(root: pathlib.Path, trial: trials_lib.Trial) -> bool:
  return records.read(root, trial.id)["state"] == records.FAILED
