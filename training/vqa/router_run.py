"""Run that trains the router alone, on the types of the training questions.

Questions, words and splits are those of a run that answers them; images and
answers are not used. Figures are accuracies of the type. One process.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from evaluators import suite
from evaluators.metrics import answering as figures
from input_pipeline import watchdog as watchdog_lib
from input_pipeline.questions import question_data
from runtime import checks
from runtime import mesh as mesh_lib
from training import config as config_lib
from training.objectives import objective as objective_lib
from training.objectives import routing
from training.run import opened_run
from training.task_runs import ending, task_run
from training.vqa import evaluation
from training.vqa import run as answers_run


def check(config: config_lib.Config, folder: pathlib.Path) -> None:
  """Raise ValueError where a run of `config` cannot begin in `folder`."""
  del folder
  with checks.collected():
    config.trackers.check_installed()
    config.vqa.check_paths()
    for field in ("init_from", "init_image_from", "init_text_from"):
      if path := getattr(config, field):
        checks.refuse(
          f'{field} must be "" with vqa.trains="{question_data.ROUTER}", which'
          f" has no towers; got {path!r}"
        )
    ending.check_batches(config)


def run(
  config: config_lib.Config, folder: pathlib.Path, *, as_json: bool = False
) -> int:
  """Train to the last epoch, take the figures of the best; resume.

  Arguments and result are those of task_run.run.
  """
  return task_run.run(config, folder, _read, _make, as_json=as_json)


def _read(
  config: config_lib.Config, folder: pathlib.Path
) -> tuple[config_lib.Config, question_data.Data]:
  del folder  # no image is read
  data = question_data.read(config.vqa, None, config.seed)
  num_questions = len(data.splits["train"])
  resolved = answers_run.resolved(
    config, num_questions, data.selection, "routing"
  )
  return resolved, data


def _make(
  config: config_lib.Config,
  data: question_data.Data,
  run: opened_run.Opened,
  watchdog: watchdog_lib.Watchdog,
) -> task_run.Parts:
  del watchdog  # the loader has no clocks
  answers_run.say(config, data)
  objective = routing.make(config, len(data.words.listed))
  return task_run.Parts(
    objective,
    question_data.make_loader(
      data, batch_size=config.batch_size, seed=config.seed, folder=run.folder
    ),
    _make_evaluator(config, run, data, objective),
    {routing.NAME: {"words": answers_run.vectors(data, run.mesh)}},
    about={
      "trains": f"router of {config.vqa.layout}",
      "epochs": f"{config.vqa.num_epochs}",
    },
    begin=lambda: answers_run.begin(run.folder, config, data),
  )


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """Questions of a run, and the function that says their types.

  Attributes:
    type_fn: (variables, batch) -> (type_B,).
    should_stop: whether the run is to end; asked before each batch.
  """

  config: config_lib.Config
  data: question_data.Data
  mesh: jax.sharding.Mesh
  type_fn: Callable[[Any, routing.Batch], tuple[jax.Array]]
  should_stop: Callable[[], bool]

  def scalars(self, variables: Any, step_seconds: float) -> dict[str, float]:
    """Return the accuracy on the split that the best epoch is chosen on.

    Raises:
      embedding.Interrupted: the run was asked to end.
    """
    del step_seconds  # each epoch evaluates the whole split
    split = self.data.selection
    name = evaluation.name_of(self.config, split)
    return {f"{name}/routing": self._record(variables, split)["routing"]}

  def final(
    self, variables: Any, selected: Mapping[str, Any] | None
  ) -> suite.Results:
    """Return results of the best epoch: of all splits but the training's.

    Args:
      variables: those of the best epoch.
      selected: facts about it.
    """
    protocol = {
      "selected": dict(selected or {}),
      "legacy_protocol": self.config.vqa.legacy_protocol,
      "dtype": "float32",
      "data_digest": self.data.digest(),
    }
    return {
      evaluation.name_of(self.config, split): self._record(variables, split)
      | {"protocol": protocol | {"num_examples": len(part)}}
      for split, part in self.data.splits.items()
      if split != "train"
    }

  def _record(self, variables: Any, split: str) -> dict[str, Any]:
    (said_N,) = evaluation.in_batches(
      self.data,
      split,
      lambda arrays: self.type_fn(
        variables, mesh_lib.make_global(routing.batch_of(arrays), self.mesh)
      ),
      size=self.config.evaluate.batch_size,
      mesh=self.mesh,
      should_stop=self.should_stop,
    )
    type_N = self.data.splits[split].type_N
    return figures.routing_record(said_N == type_N, type_N)


def _make_evaluator(
  config: config_lib.Config,
  run: opened_run.Opened,
  data: question_data.Data,
  objective: objective_lib.Objective,
) -> Evaluator:
  """Return the evaluator; compiles nothing yet."""

  def types(variables, batch: routing.Batch) -> tuple[jax.Array]:
    return (jnp.argmax(objective.embed_locked(variables, {}, batch), axis=1),)

  type_fn = jax.jit(types, out_shardings=mesh_lib.replicated(run.mesh))
  return Evaluator(config, data, run.mesh, type_fn, run.stop.requested)
