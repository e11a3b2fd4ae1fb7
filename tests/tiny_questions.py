"""A run of seconds that answers the questions of a fixture; --task=vqa."""

import ml_collections

from tests import tiny


def get_config(kind: str = "mevf") -> ml_collections.ConfigDict:
  """Return tests/tiny.py's image tower and small other parts; no path."""
  config = tiny.get_config()
  config.evaluate.sets = ml_collections.ConfigDict()
  config.batch_size = 4
  config.evaluate.batch_size = 4
  config.checkpoint.every_steps = 1
  config.partition_rules = ((r".*", ()),)
  config.model.image.depth = 1
  config.data.image_protocol = "clip_squash"
  vqa = config.vqa
  vqa.layout = "vqa_rad"
  vqa.validation_share = 0.3
  vqa.num_epochs = 3
  model = vqa.model
  model.kind = kind
  model.width, model.word_width = 16, 4
  model.rank = model.glimpses = 1
  model.autoencoder_size = 8
  return config
