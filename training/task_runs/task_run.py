"""Run of a task whose model is no dual encoder: what such tasks share.

A task says which data, objective and figures its run has (`Parts`). Folder,
loop, checkpoints and signals are the same for all (training/session.py).
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from evaluators import suite
from input_pipeline import loader
from input_pipeline import watchdog as watchdog_lib
from runtime import cluster
from training import config as config_lib
from training import session as session_lib
from training import train_step
from training.objectives import objective as objective_lib
from training.run import opened_run, workdir
from training.task_runs import ending

T = TypeVar("T")


class Evaluator(Protocol):
  """Maker of a run's figures."""

  def scalars(self, variables: Any, step_seconds: float) -> dict[str, float]:
    """Return figures by name, as the loop writes them.

    Raises:
      embedding.Interrupted: the run was asked to end.
    """
    ...

  def final(
    self, variables: Any, selected: Mapping[str, Any] | None
  ) -> suite.Results:
    """Return the results of the run.

    Args:
      variables: those of the last step, or of the selected one.
      selected: facts about the selected step; None without checkpoint.select.
    """
    ...


@dataclasses.dataclass(frozen=True)
class Parts:
  """Data, objective and figures of a run.

  Attributes:
    initial: arrays that take the place of drawn parameters.
    about: first facts of the report.
    begin: function that writes the run's config, and all that its folder holds
      beside it; called on the first process.
  """

  objective: objective_lib.Objective
  iterator: loader.Loader
  evaluator: Evaluator
  initial: Mapping[str, Any]
  about: Mapping[str, str]
  begin: Callable[[], None]


# Function from a checked config and the folder of the run to the config in
# force and to data that it was resolved with.
ReadFn = Callable[
  [config_lib.Config, pathlib.Path], tuple[config_lib.Config, T]
]
# Function from these, the opened run and its clocks to its parts. It raises
# ValueError before anything is written where the run cannot begin.
MakeFn = Callable[
  [config_lib.Config, T, opened_run.Opened, watchdog_lib.Watchdog], Parts
]


def without_scale(
  config: config_lib.Config, folder: pathlib.Path
) -> tuple[config_lib.Config, None]:
  """Return the config of a model without pairs, and no data: a ReadFn."""
  del folder
  model = dataclasses.replace(config.model, scale_max=0.0)
  return dataclasses.replace(config, model=model), None


def run(
  config: config_lib.Config,
  folder: pathlib.Path,
  read: ReadFn[T],
  make: MakeFn[T],
  *,
  as_json: bool,
) -> int:
  """Train to the last step, take the figures, write the report; resume.

  Args:
    config: config of the run, accepted by the task's check.
    folder: folder of the run, made if it is not there.
    read: function that reads what the config depends on.
    make: function that makes the run's parts.
    as_json: whether results are printed as JSON instead of a table.

  Returns:
    The exit code, one of stopping.CODES where a signal ended the run early.
  """
  with opened_run.opened(config, folder) as run:
    config, data = read(config, folder)
    steps = run.steps
    if cluster.on_first(lambda: workdir.is_done(folder, config, steps)):
      return ending.say_complete(folder, as_json)
    watchdog = run.stack.enter_context(watchdog_lib.watch(config.data))
    made = make(config, data, run, watchdog)
    run.take(made.iterator)
    cluster.on_first(made.begin)
    part = session_lib.Part(
      config_lib.stages(config)[0],
      train_step.make(config, run.mesh, made.objective),
      made.iterator,
      made.evaluator.scalars,
      warned={},
    )
    session, state = session_lib.start(
      *(config, run, part, watchdog), initial=made.initial
    )

    def judge(variables: Any) -> suite.Results:
      facts = session.selection.facts() if config.checkpoint.select else None
      return made.evaluator.final(variables, facts)

    results = session.train(state, judge)
    if results is None:
      return run.stop.exit_code
    session.close_trackers()
  ending.finish(
    folder, config, session.facts, results, about=made.about, as_json=as_json
  )
  return 0
