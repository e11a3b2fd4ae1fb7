"""Section `config.decoding`: LocCa's decoder beside a dual encoder.

The decoder reads the image tower's tokens before pooling and predicts the
targets of config.data.regions (docs/decoder.md). It is SigLIP 2's (arXiv
2502.14786, section 2.2): the shape of the text tower, half of its layers.
"""

import dataclasses

import ml_collections

from models.decoding import decoder_config

Rules = tuple[tuple[str, tuple[str | None, ...]], ...]
# Words are filled up to a multiple of this, so that meshes divide them: ours.
_MULTIPLE = 128


def section() -> ml_collections.ConfigDict:
  """Return the defaults: no decoder; fields of models/decoding/decoder.py."""
  decoding = ml_collections.ConfigDict()
  # Weight of the decoder's loss beside that of pairs; SigLIP 2: 1. 0: none.
  decoding.weight = 0.0
  decoding.decoder = ml_collections.ConfigDict(
    dataclasses.asdict(decoder_config.DecoderConfig())
  )
  return decoding


def set_on(config: ml_collections.ConfigDict) -> None:
  """Set the weight, the decoder's shape after text tower and data, its rules.

  Args:
    config: config whose text tower and data are set.
  """
  config.decoding.weight = 1.0
  text, regions = config.model.text, config.data.regions
  if not regions.num_tokens:
    regions.num_tokens = config.data.num_tokens
  made = config.decoding.decoder
  for field in ("width", "num_heads", "mlp_width"):
    made[field] = text[field]
  made.depth = max(1, text.depth // 2)
  made.num_tokens = regions.num_tokens
  num_tasks = len(regions.probabilities) + regions.answers
  size = config.data.vocab_size + regions.num_bins + num_tasks
  made.vocab_size = -(-size // _MULTIPLE) * _MULTIPLE
  config.partition_rules = (
    *partition_rules(tied=made.tied),
    *config.partition_rules,
  )


def partition_rules(*, tied: bool) -> Rules:
  """Return rules that split the vectors of words, by words and width.

  They are for parameters named "decoder", and stand before those of base.py,
  which split its attention and MLPs.

  Args:
    tied: whether words are predicted with the vectors that they are read with.
  """
  tables = "token_embedding" if tied else "(token_embedding|words)"
  return (
    (rf"decoder/{tables}", ("tensor", "fsdp")),
    (r"decoder/word_bias", ("tensor",)),
  )
