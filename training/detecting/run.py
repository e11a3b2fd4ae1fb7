"""Run of a detector: main.py's training loop with pictures and boxes.

Loop, step, checkpoints, metrics and signals are those of training/session.py;
data, model, loss and evaluation are of boxes. One process.
"""

import pathlib

from evaluators.metrics import detection as figures
from input_pipeline import watchdog as watchdog_lib
from input_pipeline.detecting import detection_data
from models.detecting import backbone
from runtime import checks
from training import config as config_lib
from training import metrics
from training.detecting import evaluation
from training.objectives import detection as detection_lib
from training.run import opened_run, starting_weights, workdir
from training.task_runs import ending, task_run


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
  del read, watchdog  # the loader has no clocks
  section, folder = config.detection, run.folder
  pictures, test = section.read("train"), section.read("test")
  metrics.say(
    f"Pictures: {len(pictures):,} of {section.train}, {len(test):,} of"
    f" {section.test}; {section.num_classes} classes"
  )
  initial = {}
  if not run.steps:
    initial = starting_weights.read(
      starting_weights.of_image_tower(config), run.mesh
    )
  return task_run.Parts(
    detection_lib.make(config),
    detection_data.make_loader(
      section,
      config.data,
      pictures,
      batch_size=config.batch_size,
      seed=config.seed,
      folder=folder,
    ),
    evaluation.make(
      config, run.mesh, test, folder=folder, should_stop=run.stop.requested
    ),
    initial,
    about={
      "pictures": f"{len(pictures):,} of {section.layout} {section.train}",
      "frame": f"{section.height} x {section.width} pixels",
    },
    begin=lambda: workdir.write_config(folder, config),
  )
