"""Florence's detection in miniature, on icons placed on photographs.

  pairs     dual encoder of a ResNet and a text transformer, on one icon a
            picture and its name; the detector begins with its tower
  boxes     detector of any object, the tower held
  trained   the same, the tower trained too
  still     boxes, with the places of deformable convolutions held at those of
            an ordinary one, their masks at one half: the ablation
Data: python -m experiments.florence.detection.prepare (README.md).
Every number is this project's.
"""

import ml_collections

from configs import base
from configs.parts import sources, towers, variants

_FOLDER = "cache/placed"
# Pixels of a side of pairs.jsonl's pictures, and of the others.
_PAIR_PIXELS, _PIXELS = 64, 128


def get_config(arg: str = "boxes") -> ml_collections.ConfigDict:
  """Return a variant."""
  make = variants.pick(__file__, arg, _VARIANTS)
  config = base.get_config()
  config.data.image_size = _PAIR_PIXELS
  config.model.dtype = "float32"
  config.model.embed_dim = 128
  image = config.model.image = towers.resnet(config.data)
  image.width, image.depths, image.num_heads = 16, (1, 1, 1, 1), 8
  text = config.model.text
  text.width, text.depth, text.num_heads, text.mlp_width = 128, 2, 4, 512
  text.pool = "mean"
  make(config)
  return config


def _set_pairs(config: ml_collections.ConfigDict) -> None:
  config.data.sources.main = sources.source(
    format="table", path=f"{_FOLDER}/pairs.jsonl"
  )
  config.data.num_tokens = 12
  config.data.vocab_size = 1024
  # Not mirrored: names of icons contain "right".
  config.data.augmentation.resize = "squash"
  config.data.augmentation.resize_size = 70
  config.loss.name = "softmax"
  config.batch_size = 128
  config.total_steps = 1500
  config.optimizer.learning_rate = 1e-3
  config.optimizer.weight_decay = 0.1
  config.evaluate.holdout = 0.02


def _set_boxes(config: ml_collections.ConfigDict) -> None:
  config.partition_rules = ((r".*", ()),)
  config.batch_size = 16
  config.total_steps = 200
  config.evaluate.batch_size = 16
  config.optimizer.learning_rate = 1e-3
  config.optimizer.weight_decay = 0.05
  config.optimizer.warmup_steps = 50
  config.optimizer.freeze = ((r"img/.*", True), (r".*", False))
  detection = config.detection
  detection.layout = "table"
  detection.path = _FOLDER
  detection.train, detection.test = "train", "test"
  detection.height = detection.width = _PIXELS
  detection.scale = (0.9, 1.3)
  detection.max_boxes = 4
  detection.model.width = 64
  detection.model.num_blocks = 2
  detection.model.scan_blocks = False  # on a CPU
  # Icons have 24 to 56 pixels: anchors of 32 to 512.
  detection.model.anchor_scale = 4.0


def _set_trained(config: ml_collections.ConfigDict) -> None:
  _set_boxes(config)
  config.optimizer.freeze = (
    (r"img/(position|attn)(/.*)?", True),
    (r".*", False),
  )


def _set_still(config: ml_collections.ConfigDict) -> None:
  _set_boxes(config)
  config.optimizer.freeze = (
    (r"img/.*|detector/blocks/places/.*", True),
    (r".*", False),
  )


_VARIANTS = {
  "pairs": _set_pairs,
  "boxes": _set_boxes,
  "trained": _set_trained,
  "still": _set_still,
}
