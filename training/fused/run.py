"""Run of a model in which images or videos meet texts: ClipBERT or METER.

Data are those of data.sources, as batches of training/objectives/fused.py;
figures are those of the splits of data.tests. Several processes share a run as
a dual encoder's do.
"""

import pathlib

import jax

from input_pipeline import loader
from input_pipeline import watchdog as watchdog_lib
from input_pipeline.asking import asked
from input_pipeline.fusing import fused_data
from input_pipeline.images import image_protocols
from models.fusion import fusion_config
from runtime import checks, cluster
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import metrics, objectives, train_step
from training.fused import evaluation, weights
from training.run import opened_run, run_inputs, workdir
from training.task_runs import ending, task_run


def check(config: config_lib.Config, folder: pathlib.Path) -> None:
  """Raise ValueError where a run of `config` cannot begin in `folder`."""
  with checks.collected():
    if not config.fusion.kind:
      checks.refuse(
        'fusion.kind must be "clipbert" or "meter" for --task=fuse; got ""'
      )
      return
    config.trackers.check_installed()
    config.check_paths()
    fused_data.check(config.fusion, config.data)
    check_tests(config)
    if config.evaluate.sets:
      checks.refuse(
        "evaluate.sets must be {} for --task=fuse, whose splits are data.tests;"
        f" got {', '.join(config.evaluate.sets)}"
      )
    if config.evaluate.holdout:
      checks.refuse(
        "evaluate.holdout must be 0 for --task=fuse, whose figures are those"
        f" of data.tests; got {config.evaluate.holdout}"
      )
    with checks.collected():
      run_inputs.check_early(folder, config)
    if not workdir.has_checkpoint(folder):
      weights.check_early(config)
    train_step.check(config, mesh_lib.make_mesh(config.mesh))
    ending.check_batches(config)


def check_tests(config: config_lib.Config) -> None:
  """Refuse splits whose questions the task's model cannot answer."""
  task = config.fusion.task
  for name, source in config.data.tests.items():
    fields = {field for field, _ in source.question_fields}
    got = ", ".join(sorted(fields)) or "()"
    field = f"data.tests.{name}.question_fields"
    if task == fusion_config.PRETRAINING and fields:
      checks.refuse(
        f"{field} must be () with fusion.task={task!r}, whose figures are those"
        f" of captions; got {got}"
      )
    is_choice = asked.OPTIONS in fields
    if task == fusion_config.RETRIEVAL and fields and not is_choice:
      checks.refuse(
        f"{field} must be (), or have options, with fusion.task={task!r}; got"
        f" {got}"
      )
    if task == fusion_config.CHOICES and not is_choice:
      checks.refuse(
        f"{field} must have options with fusion.task={task!r}; got {got}"
      )
    if task in (fusion_config.ANSWERS, fusion_config.VQA) and (
      is_choice or asked.QUESTION not in fields
    ):
      checks.refuse(
        f"{field} must have question and answer or answers, and no options,"
        f" with fusion.task={task!r}; got {got}"
      )


def run(
  config: config_lib.Config, folder: pathlib.Path, *, as_json: bool = False
) -> int:
  """Train to the last step, take the figures of data.tests; resume.

  Arguments and result are those of task_run.run.
  """
  read = task_run.without_scale
  return task_run.run(config, folder, read, _make, as_json=as_json)


def _make(
  config: config_lib.Config,
  read: None,
  run: opened_run.Opened,
  watchdog: watchdog_lib.Watchdog,
) -> task_run.Parts:
  del read
  folder, mesh = run.folder, run.mesh
  objective = objectives.make(config)
  # Read before the config is written: a failure leaves no run behind.
  initial = {} if run.steps else weights.read(config, objective, mesh)
  inputs = cluster.first_then_all(
    lambda: run_inputs.find(folder, config, begun=bool(run.steps))
  )
  # `check` refuses patches.
  assert isinstance(inputs.image_protocol, image_protocols.Protocol)
  rows = cluster.first_then_all(
    lambda: fused_data.make_rows(
      config.fusion, config.data, folder=folder if run.steps else None
    )
  )
  evaluator = cluster.first_then_all(
    lambda: evaluation.make(
      *(config, mesh, objective),
      inputs=inputs,
      answers=rows.answers,
      folder=folder,
      should_stop=run.stop.requested,
    )
  )
  iterator = cluster.together(
    lambda: loader.make_loader(
      config.data,
      folder=folder,
      batch_size=config.batch_size,
      seed=config.seed,
      rows=mesh_lib.local_rows(config.batch_size, mesh),
      process_index=jax.process_index(),
      tokenizer=inputs.tokenizer,
      clocks=watchdog.clocks,
      fused=rows,
    )
  )
  for name, split in evaluator.splits.items():
    metrics.say(f"Split {name}: {len(split):,} examples, {split.kind}")

  def begin() -> None:
    workdir.begin(folder, config, inputs)
    fused_data.keep(rows, folder)

  return task_run.Parts(
    objective,
    iterator,
    evaluator,
    initial,
    about={
      "model": f"{config.fusion.kind}, {config.fusion.task}",
      "examples": f"{sum(iterator.num_examples.values()):,}",
      **_about_clips(config),
    },
    begin=begin,
  )


def _about_clips(config: config_lib.Config) -> dict[str, str]:
  video = config.data.video
  if not video.is_on:
    return {"images": f"{config.data.image_size} pixels"}
  return {
    "clips": f"{video.clips} of {video.frames} frames, {config.data.image_size}"
    " pixels"
  }
