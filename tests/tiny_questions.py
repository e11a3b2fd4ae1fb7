"""A run of seconds that answers the questions of a fixture; --task=vqa."""

import ml_collections

from configs.parts import sources
from tests import tiny


def get_config(kind: str = "mevf") -> ml_collections.ConfigDict:
  """Return tests/tiny.py's image tower and small other parts; no path.

  Args:
    kind: of the model, "autoencoder" for a run of 4 steps that trains it, or
      "router" for one of 2 epochs that trains that of "qcr".
  """
  config = tiny.get_config()
  config.evaluate.sets = ml_collections.ConfigDict()
  config.batch_size = 4
  config.evaluate.batch_size = 4
  config.checkpoint.every_steps = 100
  config.optimizer.warmup_steps = 0
  config.partition_rules = ((r".*", ()),)
  config.model.image.depth = 1
  config.data.image_protocol = "clip_squash"
  vqa = config.vqa
  vqa.layout = "vqa_rad"
  vqa.validation_share = 0.3
  vqa.num_epochs = 2
  model = vqa.model
  if kind == "autoencoder":
    return _autoencoder(config)
  if kind == "router":
    vqa.trains = "router"
  model.kind = "qcr" if kind == "router" else kind
  model.width, model.word_width = 16, 4
  model.rank = model.glimpses = 1
  model.autoencoder_size = 8
  return config


def _autoencoder(
  config: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  config.vqa.trains = "autoencoder"
  config.vqa.layout = ""
  config.vqa.model.autoencoder_size = config.data.image_size
  config.data.sources.main = sources.source(format="table")
  config.data.augmentation.resize = "squash"
  config.evaluate.holdout = 0.5
  config.evaluate.every_steps = 2
  config.total_steps = 4
  return config
