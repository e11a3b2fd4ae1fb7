"""Run of a model that answers questions: main.py's training loop, other parts.

Loop, step, checkpoints, metrics and signals are those of training/session.py;
data, model, loss and evaluation are of questions. One process.
"""

import dataclasses
import json
import pathlib
from typing import Any

import jax

from evaluators import embedding
from input_pipeline import model_inputs
from input_pipeline import watchdog as watchdog_lib
from input_pipeline.images import image_protocols
from input_pipeline.questions import question_data
from models import naflex
from runtime import checks
from runtime import mesh as mesh_lib
from runtime.storage import whole_files
from training import config as config_lib
from training import metrics
from training.objectives import answers as answers_lib
from training.objectives import routing
from training.run import opened_run, run_inputs, starting_weights, workdir
from training.task_runs import ending, task_run
from training.vqa import evaluation, parts


def check(config: config_lib.Config, folder: pathlib.Path) -> None:
  """Raise ValueError where a run of `config` cannot begin in `folder`."""
  with checks.collected():
    if not config.vqa.is_on:
      checks.refuse(
        'vqa.layout must be "vqa_rad" or "slake" for --task=vqa; got ""'
      )
      return
    config.trackers.check_installed()
    config.vqa.check_paths()
    if config.init_text_from:
      checks.refuse(
        'init_text_from must be "" for --task=vqa, which has no text tower;'
        f" got {config.init_text_from!r}"
      )
    if isinstance(config.model.image, naflex.NaFlexConfig):
      checks.refuse(
        "model.image.tower must be one of square images for --task=vqa; got"
        " 'naflex'"
      )
    if not workdir.has_checkpoint(folder):
      starting_weights.check_early(starting_weights.of_image_tower(config))
      parts.check_early(config)
    ending.check_batches(config)


def resolved(
  config: config_lib.Config,
  num_questions: int,
  selection: str,
  figure: str = "overall",
) -> config_lib.Config:
  """Return the config with steps in place of epochs, the router frozen.

  The router is frozen where vqa.router_from names one.

  Args:
    config: checked.
    num_questions: questions of the training split.
    selection: split that the best epoch is chosen on.
    figure: figure of it that decides.

  Raises:
    ValueError: vqa.epoch_factors that the schedule cannot use.
  """
  vqa = config.vqa
  every = max(num_questions // config.batch_size, 1)
  total = every * vqa.num_epochs
  optimizer = config.optimizer
  if vqa.epoch_factors:
    factors = tuple((epoch * every, x) for epoch, x in vqa.epoch_factors)
    optimizer = dataclasses.replace(
      optimizer, schedule="factors", factors=factors
    )
  if vqa.router_from:
    freeze = ((rf"{routing.NAME}/.*", True), *optimizer.freeze)
    optimizer = dataclasses.replace(optimizer, freeze=freeze)
  optimizer.check(total)
  return dataclasses.replace(
    config,
    total_steps=total,
    optimizer=optimizer,
    evaluate=dataclasses.replace(config.evaluate, every_steps=every),
    checkpoint=dataclasses.replace(
      config.checkpoint,
      select=f"{evaluation.name_of(config, selection)}/{figure}",
    ),
    # No scale: there are no pairs.
    model=dataclasses.replace(config.model, scale_max=0.0),
  )


def run(
  config: config_lib.Config, folder: pathlib.Path, *, as_json: bool = False
) -> int:
  """Train to the last epoch, take the test figures of the best; resume.

  Arguments and result are those of task_run.run.
  """
  return task_run.run(config, folder, _read, _make, as_json=as_json)


def _read(
  config: config_lib.Config, folder: pathlib.Path
) -> tuple[config_lib.Config, question_data.Data]:
  data = question_data.read(config.vqa, _protocol(config, folder), config.seed)
  return resolved(config, len(data.splits["train"]), data.selection), data


def _protocol(
  config: config_lib.Config, folder: pathlib.Path
) -> image_protocols.Protocol:
  protocol = run_inputs.find_protocol(folder, config)
  assert isinstance(protocol, image_protocols.Protocol)  # `check` did
  return protocol


def _make(
  config: config_lib.Config,
  data: question_data.Data,
  run: opened_run.Opened,
  watchdog: watchdog_lib.Watchdog,
) -> task_run.Parts:
  del watchdog  # the loader has no clocks
  folder, mesh = run.folder, run.mesh
  protocol = _protocol(config, folder)
  say(config, data)
  initial = {}
  if not run.steps:
    parts.check_words(config, data.words.listed)
    initial = starting_weights.read(
      starting_weights.of_image_tower(config), mesh
    )
    initial |= parts.read(config, mesh, len(data.words.listed))
  objective = answers_lib.make(config, len(data.words.listed), data.num_answers)

  def begin_here() -> None:
    model_inputs.write_protocol(protocol, folder)
    begin(folder, config, data)

  return task_run.Parts(
    objective,
    question_data.make_loader(
      data, batch_size=config.batch_size, seed=config.seed, folder=folder
    ),
    evaluation.make(
      *(config, mesh, data, objective),
      folder=folder,
      protocol=protocol,
      should_stop=run.stop.requested,
    ),
    _vectors(config, data, mesh) | initial,
    about={
      "questions": f"{config.vqa.layout}, model {config.vqa.model.kind}",
      "epochs": f"{config.vqa.num_epochs}",
    },
    begin=begin_here,
  )


def say(config: config_lib.Config, data: question_data.Data) -> None:
  """Print notes about the data, and the number of steps."""
  for note in data.notes:
    metrics.say(note)
  metrics.say(
    f"{config.vqa.num_epochs} epochs of {config.evaluate.every_steps} steps"
  )


def begin(
  folder: pathlib.Path, config: config_lib.Config, data: question_data.Data
) -> None:
  """Write a run's config, words and answers into its folder."""
  workdir.write_config(folder, config)
  text = json.dumps(
    {"words": data.words.listed, "answers": data.answers.heads},
    ensure_ascii=False,
    indent=2,
  )
  whole_files.write(folder / parts.VOCABULARY, text.encode() + b"\n")


def _vectors(
  config: config_lib.Config,
  data: question_data.Data,
  mesh: jax.sharding.Mesh,
) -> dict[str, Any]:
  """Return initial vectors of words, for all modules that have some."""
  made: dict[str, Any] = {"words": vectors(data, mesh, 2)}
  if len(config.vqa.model.heads) > 1:
    for name in ("reasoning", routing.NAME):
      made[name] = {"words": vectors(data, mesh)}
  return made


def vectors(
  data: question_data.Data, mesh: jax.sharding.Mesh, num_tables: int = 1
) -> dict[str, jax.Array]:
  """Return initial parameters of a models.vqa.questions.Words."""
  tables = data.vectors_TVW[:num_tables]
  return {"tables": embedding.to_global(tables, mesh_lib.replicated(mesh))}
