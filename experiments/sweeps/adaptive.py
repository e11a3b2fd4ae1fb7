"""Adaptive search: Optuna chooses a trial by the figures of earlier ones.

Its journal is ROOT/optuna.log, which optuna-dashboard shows; in a bucket it is
ROOT/optuna/ (bucket_journal.py). A trial that was asked for and not told, since
the sweep ended, is run again first.
"""

import logging
import pathlib
from typing import Any

from experiments.sweeps import bucket_journal
from experiments.sweeps import study as study_lib
from runtime.storage import bucket_path

JOURNAL = "optuna.log"
IN_BUCKET = "optuna"
_NAME = "sweep"


class Search:
  """A search that goes on where its journal ends."""

  def __init__(self, root: pathlib.Path, settings: study_lib.Adaptive):
    """Open the journal.

    Raises:
      ModuleNotFoundError: Optuna is not installed.
    """
    optuna = _optuna()
    backend = _backend(optuna, root)
    optuna.logging.set_verbosity(logging.WARNING)
    self._optuna = optuna
    self._settings = settings
    self._study = optuna.create_study(
      storage=optuna.storages.JournalStorage(backend),
      study_name=_NAME,
      load_if_exists=True,
      direction=settings.direction,
    )
    # Another seed after each start: the same one would draw the same trials.
    seed = settings.seed + len(self._study.get_trials())
    self._study.sampler = settings.sampler or optuna.samplers.TPESampler(
      seed=seed,
      constant_liar=True,  # trials at once keep away from each other
    )
    self._distributions = {
      field: _distribution(optuna, values)
      for field, values in settings.space.items()
    }
    self._running: list[study_lib.Changes] = []

  def changes(self) -> list[study_lib.Changes]:
    """Return the changes of all trials so far."""
    return [
      self._changes(trial)
      for trial in self._study.get_trials()
      if trial.state != self._optuna.trial.TrialState.WAITING
    ]

  def ask(self, count: int) -> list[study_lib.Changes]:
    """Return up to `count` trials: those never told, then new ones."""
    states = (self._optuna.trial.TrialState.RUNNING,)
    untold = [self._changes(x) for x in self._study.get_trials(states=states)]
    asked = [x for x in untold if x not in self._running][:count]
    left = self._settings.num_trials - len(self._study.get_trials())
    for _ in range(min(count - len(asked), left)):
      asked.append(self._changes(self._study.ask(self._distributions)))
    self._running += asked
    return asked

  def tell(self, changes: study_lib.Changes, value: float | None) -> None:
    """Note the figure of a trial that was asked for, None if it has none."""
    states = self._optuna.trial.TrialState
    for trial in self._study.get_trials(states=(states.RUNNING,)):
      if self._changes(trial) == changes:
        state = {"state": states.FAIL} if value is None else {}
        self._study.tell(trial.number, value, **state)

  def _changes(self, trial: Any) -> study_lib.Changes:
    """Return field -> value; lists of values hold their items' numbers."""
    return {
      field: value
      if isinstance(self._settings.space[field], study_lib.Range)
      else list(self._settings.space[field])[value]
      for field, value in trial.params.items()
    }


def _backend(optuna: Any, root: pathlib.Path) -> Any:
  if isinstance(root, bucket_path.BucketPath):
    return bucket_journal.BucketJournal(root / IN_BUCKET)
  return optuna.storages.journal.JournalFileBackend(str(root / JOURNAL))


def _distribution(optuna: Any, values: Any) -> Any:
  if not isinstance(values, study_lib.Range):
    # Numbers of the values, which may be tuples.
    kind = optuna.distributions.CategoricalDistribution
    return kind(list(range(len(values))))
  if values.is_integer:
    return optuna.distributions.IntDistribution(
      int(values.low), int(values.high)
    )
  return optuna.distributions.FloatDistribution(
    values.low, values.high, log=values.is_log
  )


def _optuna() -> Any:
  try:
    import optuna
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      "adaptive studies need Optuna: pip install 'optuna>=5,<6'"
    ) from error
  return optuna
