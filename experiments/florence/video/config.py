"""Florence's videos in miniature: a dual encoder of pictures meets videos.

  pictures   CoSwin and a text transformer, by UniCL's loss, on pictures; at its
             end, retrieval of the videos of `validate`
  test       the same on the videos of `test`: --task=evaluate alone
Data: python -m experiments.florence.video.prepare (README.md).
Every number is this project's.
"""

import ml_collections

from configs import base
from configs.parts import sources, towers, variants
from evaluators.sets import kinds

_FOLDER = "cache/moving"
_PIXELS = 48
# Videos have 3 s at 8 frames a second: 4 clips of half a second, or one of all.
_CLIPS = {"clips": 4, "frames": 4, "fps": 8.0}
_WHOLE = {"clips": 1, "frames": 12, "fps": 4.0}
_INFLATION = {"stem_frames": 2, "merge_frames": 3, "windows": (2, 2, 4)}


def get_config(arg: str = "pictures") -> ml_collections.ConfigDict:
  """Return a variant."""
  split = variants.pick(__file__, arg, _SPLITS)
  config = base.get_config()
  config.data.image_size = _PIXELS
  config.data.num_tokens = 24
  config.data.vocab_size = 512
  config.data.sources.main = sources.source(
    format="table", path=f"{_FOLDER}/pictures.jsonl"
  )
  config.data.augmentation.crop_scale = (0.8, 1.0)
  config.model.dtype = "float32"
  config.model.embed_dim = 64
  image = config.model.image = towers.swin(config.data)
  image.embedding = image.merging = "conv"
  image.widths, image.depths = (32, 64, 128), (2, 2, 2)
  image.num_heads, image.windows = (2, 4, 8), (4, 6, 3)
  image.drop_path = 0.0
  text = config.model.text
  text.width, text.depth, text.num_heads, text.mlp_width = 64, 2, 4, 256
  config.loss.name = "unicl"
  config.batch_size = 64
  config.total_steps = 300
  config.optimizer.warmup_steps = 50
  config.log_every_steps = 10
  config.model.bias_init = 0.0
  config.evaluate.batch_size = 32
  config.evaluate.sets = _sets(split)
  return config


def _sets(split: str) -> dict:
  """Return the same videos by each tower, with one frame and with several."""
  source = sources.source(
    format="table", path=f"{_FOLDER}/{split}.jsonl", image=("video",)
  ).to_dict()
  inflated = {"tower": "inflated", "inflation": _INFLATION}
  views = {
    "one_frame": {"clips": 1, "frames": 1, "fps": 8.0},
    "frames": _CLIPS,
    "frames_mean": {**_CLIPS, "aggregation": "mean"},
    "inflated": {**_CLIPS, **inflated},
    "inflated_whole": {**_WHOLE, **inflated},
    "frames_whole": _WHOLE,
  }
  sets = {
    name: kinds.retrieval(source, video=kinds.videos(crops=1, **fields))
    for name, fields in views.items()
  }
  if split == "test":
    # Captions say moves too, in words that no picture's caption has.
    said = sources.source(
      format="layout",
      layout="msrvtt.captions",
      path=_FOLDER,
      split="test",
    ).to_dict()
    sets |= {
      f"{name}_said": kinds.retrieval(said, video=section["video"])
      for name, section in sets.items()
      if name in ("frames", "inflated")
    }
  return sets


_SPLITS = {"pictures": "validate", "test": "test"}
