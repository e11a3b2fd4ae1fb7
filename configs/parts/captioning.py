"""Section `config.captioning`: CoCa's captioner beside a dual encoder.

The captioner reads the tokens of the text tower and those that the image
tower's other queries pool, and predicts each next token of the caption
(docs/decoder.md). It is open_clip's (coca_ViT-B-32, coca_ViT-L-14).
"""

import dataclasses

import ml_collections

from models.decoding import captioner

Rules = tuple[tuple[str, tuple[str | None, ...]], ...]
# Ratio of MLP to width of open_clip's captioner, whatever the text tower's.
_MLP_RATIO = 4


def section() -> ml_collections.ConfigDict:
  """Return the defaults: none; fields of models/decoding/captioner.py."""
  captioning = ml_collections.ConfigDict()
  # Weight of the captioner's loss, the mean over all tokens that are not
  # padding, beside that of pairs, whose weight is 1. open_clip: 2
  # (--coca-caption-loss-weight, --coca-contrastive-loss-weight). 0: none.
  captioning.weight = 0.0
  captioning.captioner = ml_collections.ConfigDict(
    dataclasses.asdict(captioner.CaptionerConfig())
  )
  return captioning


def set_on(config: ml_collections.ConfigDict) -> None:
  """Set the weight, the towers' pooling, the captioner's shape, its rules.

  Args:
    config: config whose towers and data are set; the image tower is a ViT and
      the text tower causal.
  """
  config.captioning.weight = 2.0
  text = config.model.text
  config.model.image.pool = "queries"
  # As open_clip's weights were trained: see models/text_transformer.py.
  text.pool = "cls"
  text.mask_padding = True
  made = config.captioning.captioner
  for field in ("width", "depth", "num_heads", "activation", "norm_epsilon"):
    made[field] = text[field]
  made.mlp_width = _MLP_RATIO * text.width
  made.vocab_size = config.data.vocab_size
  made.num_tokens = config.data.num_tokens
  config.partition_rules = (*partition_rules(), *config.partition_rules)


def partition_rules() -> Rules:
  """Return rules that split the vectors of words, by words and width.

  They are for parameters named "captioner", and stand before those of base.py,
  which split its attention and MLPs.
  """
  return ((r"captioner/words", ("tensor", "fsdp")),)
