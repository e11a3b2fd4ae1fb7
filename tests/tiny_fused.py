"""Runs of seconds of fused models on the fixtures of videos; --task=fuse."""

import pathlib

import ml_collections

from configs import clipbert
from configs.parts import mini, sources, towers
from tests.input_pipeline.fusing import fixture

# Task -> variant of configs/clipbert.py that has its shapes.
_VARIANTS = {
  "pretraining": "mini_pretraining",
  "retrieval": "mini_retrieval",
  "answers": "mini_qa",
  "choices": "mini_qa",
  "vqa": "mini_qa",
}
SIZE = 64


def get_config(arg: str) -> ml_collections.ConfigDict:
  """Return a tiny ClipBERT, 4 steps of 4 rows, on files that it writes.

  Args:
    arg: "TASK,FOLDER": fusion.task, "retrieval" or "answers" of MSR-VTT,
      "choices" of TGIF-QA; and the folder of the data, made if it is not there.
  """
  task, _, path = arg.partition(",")
  folder = pathlib.Path(path)
  config = clipbert.get_config(_VARIANTS[task])
  config.batch_size = config.evaluate.batch_size = 4
  config.total_steps = 4
  config.evaluate.every_steps = config.checkpoint.every_steps = 2
  config.log_every_steps = 1
  config.optimizer.warmup_steps = 0
  config.optimizer.schedule = "constant"  # the same whatever total_steps is
  data = config.data
  data.cache_dir = str(folder / "cache")
  data.image_size = config.model.image.image_size = SIZE
  data.num_tokens = config.model.text.num_tokens = 24
  data.num_threads = 2
  data.augmentation.resize = "squash"
  data.video.update({"clips": 2, "frames": 1, "fps": 5.0})
  text = config.model.text
  text.update({"width": 16, "depth": 1, "num_heads": 2, "mlp_width": 32})
  config.model.embed_dim = 16
  config.fusion.task = task
  config.fusion.cnn.width = 2
  layout, fields = {
    "retrieval": ("msrvtt.captions", ()),
    "answers": ("msrvtt.qa", fixture.TYPED),
    "choices": ("tgif_qa.action", fixture.CHOICES),
  }.get(task, ("msrvtt.captions", ()))
  files = folder / layout.partition(".")[0]
  if not files.exists():
    (fixture.tgif if task == "choices" else fixture.msrvtt)(files)
  source = {
    "format": "layout",
    "layout": layout,
    "path": str(files),
    "question_fields": fields,
  }
  train = "train_7k" if task == "retrieval" else "train"
  data.sources = ml_collections.ConfigDict(
    {"main": sources.source(**source, split=train)}
  )
  data.tests = ml_collections.ConfigDict(
    {"test": sources.source(**source, split="test")}
  )
  if task == "answers":
    config.fusion.num_answers = 3
  return config


def with_images(
  config: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  """Return a config that reads the project's drawn emoji instead of videos."""
  config.data.video.clips = 0
  emoji = sources.source(format="emoji", split="unseen_concept")
  config.data.sources = ml_collections.ConfigDict({"main": emoji})
  config.data.tests = ml_collections.ConfigDict({"test": emoji})
  return config


def meter(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Return a config with METER on a ViT in place of ClipBERT."""
  config.fusion.kind = "meter"
  config.model.image = towers.vit(config.data)
  config.model.image.update(mini.TRANSFORMER)
  config.fusion.meter.update(
    {"depth": 1, "width": 16, "num_heads": 2, "mlp_ratio": 2}
  )
  return config
