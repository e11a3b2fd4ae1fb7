"""Config that the studies on emoji of four artists begin with.

Data: python -m experiments.parts.emoji_styles. Pictures of 64 pixels are cut by
  up to a fifth and shown at 48; towers have some 1.1 M parameters.
Sets: `test`, 1,138 emoji whose name was trained as other artists draw it, and
  `style`, 1,423 by an artist that training has not seen. `val` is for choices,
  and is evaluated in no study.
"""

from collections.abc import Mapping

import ml_collections

from configs import base
from configs.parts import sources
from evaluators.sets import kinds

FOLDER = "cache/emoji_styles"
TRAIN_PICTURES = 5714
NUM_TEST, NUM_STYLE = 1138, 1423


def get_config() -> ml_collections.ConfigDict:
  """Return towers, data and sets; the caller sets length, loss and rate."""
  config = base.get_config()
  data = config.data
  data.sources.main = records("train")
  data.image_size = 48
  data.num_tokens = 16
  data.tokenizer, data.vocab_size = "bpe", 1024
  data.augmentation.resize = "square"
  data.augmentation.crop_scale = (0.8, 1.2)
  # Names of drawings contain "facing right".
  data.augmentation.flip_probability = 0.0

  model = config.model
  model.dtype = "float32"  # bfloat16 is not faster on a CPU
  model.remat = "none"
  model.embed_dim = 128
  model.image.update(
    {"patch_size": 12, "width": 128, "depth": 3, "num_heads": 4}
  )
  model.image.mlp_width, model.image.pool = 512, "gap"
  model.text.update({"width": 128, "depth": 1, "num_heads": 4})
  model.text.mlp_width, model.text.pool = 512, "mean"
  config.optimizer.weight_decay = 0.1
  config.evaluate.sets = retrieval_sets("test", "style")
  return config


def set_examples(
  config: ml_collections.ConfigDict, num_examples: int, batch_size: int
) -> None:
  """Set the steps that see `num_examples` pairs, and a tenth as warm-up."""
  config.batch_size = batch_size
  config.total_steps = num_examples // batch_size
  config.optimizer.warmup_steps = max(config.total_steps // 10, 1)
  config.checkpoint.every_steps = config.total_steps
  config.log_every_steps = max(config.total_steps // 60, 1)


def length_changes(num_examples: int, batch_size: int) -> Mapping[str, int]:
  """Return the fields of `set_examples` for a trial, but for the batch size."""
  config = get_config()
  set_examples(config, num_examples, batch_size)
  return {
    "total_steps": config.total_steps,
    "optimizer.warmup_steps": config.optimizer.warmup_steps,
    "checkpoint.every_steps": config.checkpoint.every_steps,
    "log_every_steps": config.log_every_steps,
  }


def gflops(
  num_examples: float,
  *,
  width: int = 128,
  num_patches: float = 16,
  num_tokens: float = 16,
) -> float:
  """Return the GFLOPs of a run's matrix products, forward and backward.

  A layer of width D has 12 D^2 weights, and each weight costs 6 FLOPs a token:
  patches go through 3 layers, tokens of text through 1. Attention's products of
  two activations and the optimizer are not counted.

  Args:
    num_examples: pairs of the run.
    width: width of both towers.
    num_patches: patches of a picture.
    num_tokens: tokens of a text, padding too.
  """
  weights = 12 * width**2
  return 6 * weights * (3 * num_patches + num_tokens) * num_examples / 1e9


def records(split: str) -> ml_collections.ConfigDict:
  """Return the source of a split of emoji_styles."""
  return sources.source(
    format="array_record", path=f"{FOLDER}/records", split=split
  )


def retrieval_sets(*names: str) -> ml_collections.ConfigDict:
  """Return retrieval of a picture's name, and of a name's picture."""
  return ml_collections.ConfigDict(
    {name: kinds.retrieval(records(name).to_dict()) for name in names}
  )
