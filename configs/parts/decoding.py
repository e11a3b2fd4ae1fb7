"""Section `config.decoding`: LocCa's decoder beside a dual encoder.

The decoder reads the image tower's tokens before pooling and predicts the
targets of config.data.regions (docs/decoder.md). It is SigLIP 2's (arXiv
2502.14786, section 2.2): the shape of the text tower, half of its layers.
"""

import dataclasses

import ml_collections

from models.decoding import decoder


def section() -> ml_collections.ConfigDict:
  """Return the defaults: no decoder; fields of models/decoding/decoder.py."""
  decoding = ml_collections.ConfigDict()
  # Weight of the decoder's loss beside that of pairs; SigLIP 2: 1. 0: none.
  decoding.weight = 0.0
  decoding.decoder = ml_collections.ConfigDict(
    dataclasses.asdict(decoder.DecoderConfig())
  )
  return decoding


def set_on(config: ml_collections.ConfigDict) -> None:
  """Set the weight, and the decoder's shape after text tower and data."""
  config.decoding.weight = 1.0
  text, regions = config.model.text, config.data.regions
  if not regions.num_tokens:
    regions.num_tokens = config.data.num_tokens
  made = config.decoding.decoder
  for field in ("width", "num_heads", "mlp_width"):
    made[field] = text[field]
  made.depth = max(1, text.depth // 2)
  made.num_tokens = regions.num_tokens
  num_tasks = len(regions.probabilities)
  made.vocab_size = config.data.vocab_size + regions.num_bins + num_tasks
