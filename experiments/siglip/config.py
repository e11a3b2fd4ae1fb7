"""Sigmoid and softmax losses over batch sizes, in miniature (README.md).

Data, towers: experiments/parts/emoji_run.py. Each run sees the same number of
pairs. The rate grows with the root of the batch size, from one rate at 256 that
was chosen on `val` for both losses.
"""

import ml_collections

from experiments.parts import emoji_run

NUM_EXAMPLES = 65_536
BATCH_SIZES = (16, 64, 256, 1024)
# Rate at a batch of 256 pairs.
_RATE = 2e-3


def get_config() -> ml_collections.ConfigDict:
  """Return a run of the sigmoid loss at a batch of 256."""
  config = emoji_run.get_config()
  emoji_run.set_examples(config, NUM_EXAMPLES, 256)
  config.loss.name = "sigmoid"
  config.optimizer.learning_rate = _RATE
  return config


def changes(
  loss: str, batch_size: int, rate: float = _RATE
) -> dict[str, str | float]:
  """Return the fields of a trial: loss, batch size and what follows from it."""
  made: dict[str, str | float] = {
    "loss.name": loss,
    "batch_size": batch_size,
    "optimizer.learning_rate": rate * (batch_size / 256) ** 0.5,
    **emoji_run.length_changes(NUM_EXAMPLES, batch_size),
  }
  if loss == "softmax":
    made |= {"model.scale_init": 1 / 0.07, "model.bias_init": 0.0}
  return made
