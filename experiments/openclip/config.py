"""Scaling law in miniature: model size and pairs seen (README.md).

Data, towers: experiments/parts/emoji_run.py; widths of both towers and the
number of pairs change together with nothing else but the schedule's length.
"""

from collections.abc import Mapping
from typing import Any

import ml_collections

from experiments.parts import emoji_run

BATCH_SIZE = 256
# Width of both towers -> heads.
WIDTHS = {32: 2, 64: 4, 128: 4}
NUM_EXAMPLES = (16_384, 32_768, 65_536)
# Width and pairs of the arm that the law does not see: the largest compute.
HELD_OUT = (max(WIDTHS), max(NUM_EXAMPLES))


def get_config() -> ml_collections.ConfigDict:
  """Return the arm of HELD_OUT: the widest towers with the most pairs."""
  config = emoji_run.get_config()
  emoji_run.set_examples(config, HELD_OUT[1], BATCH_SIZE)
  config.loss.name = "softmax"
  config.model.scale_init = 1 / 0.07
  config.model.bias_init = 0.0
  config.optimizer.learning_rate = 2e-3
  return config


def changes(width: int, num_examples: int) -> Mapping[str, Any]:
  """Return the fields of a trial."""
  sizes = {"width": width, "num_heads": WIDTHS[width], "mlp_width": 4 * width}
  return {
    **{
      f"model.{tower}.{field}": value
      for tower in ("image", "text")
      for field, value in sizes.items()
    },
    "model.embed_dim": width,
    **emoji_run.length_changes(num_examples, BATCH_SIZE),
  }


def compute(width: int, num_examples: int) -> float:
  """Return the GFLOPs of a run's matrix products."""
  return emoji_run.gflops(num_examples, width=width)
