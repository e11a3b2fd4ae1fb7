"""Run of a detector: main.py's training loop with pictures and boxes.

Loop, step, checkpoints, metrics and signals are those of training/session.py;
data, model, loss and evaluation are of boxes. One process.
"""

import dataclasses
import pathlib

from evaluators.metrics import detection as figures
from input_pipeline import watchdog as watchdog_lib
from input_pipeline.detecting import detection_data
from models.detecting import backbone
from runtime import checks
from training import config as config_lib
from training import metrics, train_step
from training import session as session_lib
from training.detecting import evaluation
from training.objectives import detection as detection_lib
from training.run import opened_run, starting_weights, workdir
from training.vqa import ending


def check(config: config_lib.Config, folder: pathlib.Path) -> None:
  """Raise ValueError where a run of `config` cannot begin in `folder`."""
  with checks.collected():
    if not config.detection.is_on:
      checks.refuse(
        'detection.layout must be "coco" or "table" for --task=detect; got ""'
      )
      return
    figures.check_installed()
    config.trackers.check_installed()
    config.detection.check_paths()
    if config.init_text_from:
      checks.refuse(
        'init_text_from must be "" for --task=detect, which has no text tower;'
        f" got {config.init_text_from!r}"
      )
    if config.text_lengths:
      checks.refuse(
        "text_lengths must be () for --task=detect, which reads no text; got"
        f" {config.text_lengths}"
      )
    with checks.collected():
      backbone.check(config.model)
      if not workdir.has_checkpoint(folder):
        starting_weights.check_early(starting_weights.of_image_tower(config))
    ending.check_batches(config)


def run(
  config: config_lib.Config, folder: pathlib.Path, *, as_json: bool = False
) -> int:
  """Train to the last step, take the figures of the test split; resume.

  Args:
    config: config of the run, accepted by `check`.
    folder: folder of the run, made if it is not there.
    as_json: whether results are printed as JSON instead of a table.

  Returns:
    The exit code, one of stopping.CODES where a signal ended the run early.
  """
  # No scale: there are no pairs.
  model = dataclasses.replace(config.model, scale_max=0.0)
  config = dataclasses.replace(config, model=model)
  section = config.detection
  with opened_run.opened(config, folder) as run:
    if workdir.is_done(folder, config, run.steps):
      return ending.say_complete(folder, as_json)
    pictures, test = section.read("train"), section.read("test")
    metrics.say(
      f"Pictures: {len(pictures):,} of {section.train}, {len(test):,} of"
      f" {section.test}; {section.num_classes} classes"
    )
    # Read before the config is written: a failure leaves no run behind.
    initial = {}
    if not run.steps:
      initial = starting_weights.read(
        starting_weights.of_image_tower(config), run.mesh
      )
    objective = detection_lib.make(config)
    evaluator = evaluation.make(
      config, run.mesh, test, folder=folder, should_stop=run.stop.requested
    )
    watchdog = run.stack.enter_context(watchdog_lib.watch(config.data))
    iterator = detection_data.make_loader(
      section,
      config.data,
      pictures,
      batch_size=config.batch_size,
      seed=config.seed,
      folder=folder,
    )
    run.take(iterator)
    workdir.write_config(folder, config)
    part = session_lib.Part(
      config_lib.stages(config)[0],
      train_step.make(config, run.mesh, objective),
      iterator,
      evaluator.scalars,
      warned={},
    )
    session, state = session_lib.start(
      *(config, run, part, watchdog), initial=initial
    )
    results = session.train(state, evaluator.final)
    if results is None:
      return run.stop.exit_code
    if config.checkpoint.select:
      results[evaluator.name]["protocol"]["selected"] = (
        session.selection.facts()
      )
    session.close_trackers()
  ending.finish(
    folder,
    config,
    session.facts,
    results,
    about={
      "pictures": f"{len(pictures):,} of {section.layout} {section.train}",
      "frame": f"{section.height} x {section.width} pixels",
    },
    as_json=as_json,
  )
  return 0
