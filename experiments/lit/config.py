"""Locked, fine-tuned and new image towers, in miniature (README.md).

  test    figures on `test`, `style` and `unseen`: the study
  val     figures on `val`: choices.py
Data: experiments/parts/emoji_styles.py. Weights: cache/lit, by the commands of
  README.md. Image tower: EfficientNet-Lite0 without its classifier in every
  arm. Its 1,280 pooled channels are the embedding, as in configs/lit.py, and
  the text tower is projected to them. Arms differ in weights, in what is
  locked, and in rates.
Command:
  python main.py --config=experiments/lit/config.py --workdir=runs/locked
Hardware: one CPU core a run.
"""

from typing import Any

import ml_collections

from configs.parts import towers, variants
from experiments.parts import emoji_run

IMAGE_WEIGHTS = "cache/lit/lite0.safetensors"
# Pairs that a run sees, and pairs of a batch.
NUM_EXAMPLES, BATCH_SIZE = 8_960, 128
# Candidates of each set.
NUM_TEST, NUM_STYLE = emoji_run.NUM_TEST, emoji_run.NUM_STYLE
NUM_UNSEEN = 165
# Rate of each arm (README.md says what it was chosen on).
RATES = {"Lu": 3e-3, "Uu": 3e-3, "uu": 3e-3}
_SETS = {"test": ("test", "style", "unseen"), "val": ("val",)}
# Channels of Lite0's last convolution.
_WIDTH = 1280
# Tensors of the weights that no arm has.
_CLASSIFIER = r"_fc\..*"


def get_config(arg: str = "test") -> ml_collections.ConfigDict:
  """Return the run of a locked image tower and a new text tower.

  Args:
    arg: "test", or "val" for the figures that choices are made on.

  Raises:
    ValueError: `arg` is neither.
  """
  sets = variants.pick(__file__, arg, _SETS)
  config = emoji_run.get_config()
  emoji_run.set_examples(config, NUM_EXAMPLES, BATCH_SIZE)
  config.data.image_size = 64
  # One geometry for all arms, whatever they begin with.
  config.data.image_protocol = "training"
  _set_towers(config)
  config.loss.name = "softmax"
  config.model.scale_init = 10.0
  config.model.bias_init = 0.0
  config.optimizer.weight_decay = 0.01
  config.optimizer.weight_decay_convention = "schedule"
  config.evaluate.sets = emoji_run.retrieval_sets(*sets)
  config.update_from_flattened_dict(changes("Lu"))
  return config


def changes(arm: str, rate: float | None = None) -> dict[str, Any]:
  """Return the fields of an arm.

  Args:
    arm: key of RATES in LiT's letters, of the image tower, then of the text
      tower: L is pretrained and locked, U pretrained and trained, u random and
      trained.
    rate: learning rate; None for that of RATES.
  """
  image = arm[0]
  locked = ((r"img/.*", True),) if image == "L" else ()
  return {
    "init_image_from": "" if image == "u" else IMAGE_WEIGHTS,
    "init_except": () if image == "u" else (_CLASSIFIER,),
    "optimizer.freeze": (*locked, (r".*", False)),
    "optimizer.learning_rate": RATES[arm] if rate is None else rate,
  }


def _set_towers(config: ml_collections.ConfigDict) -> None:
  model = config.model
  model.embed_dim = _WIDTH
  # EfficientNet-Lite0 (tensorflow/tpu, models/official/efficientnet/lite).
  model.image = towers.efficientnet(config.data)
  model.image.fixed_ends = True
  model.image.squeeze = 0.0
  model.image.activation = "relu6"
  model.image.projection = False
  model.image_mean = (127 / 255,) * 3
  model.image_std = (128 / 255,) * 3
  # Ours, for runs of few steps: statistics follow sooner, no block is left out.
  model.image.norm_momentum = 0.9
  model.image.drop_path = 0.0
  model.text.projection_bias = True
