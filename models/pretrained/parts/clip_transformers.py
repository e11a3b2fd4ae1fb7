"""Fields and checks shared by all formats of CLIP's two transformers."""

import math
from collections.abc import Sequence
from typing import Any

from models import dual_encoder, text_transformer, vit
from models.pretrained.parts import fresh

# Statistics of OpenAI's pixels (CLIP's `_transform`), also used by open_clip,
# MetaCLIP and DFN.
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)
# CLIP (arXiv 2103.00020), section 2.5: at most 100, initially 1 / 0.07.
SCALE_MAX = 100.0
SCALE_INIT = 1 / 0.07
# Padding of OpenAI's tokenizer: 0, which is also its token "!".
PAD_ID = 0
# Entries of OpenAI's vocabulary; the last one is the end of text.
VOCAB_SIZE = 49_408
# Default of torch.nn.LayerNorm.
NORM_EPSILON = 1e-5
# Fields of both towers that are the same in all models.
_IMAGE: dict[str, Any] = {
  "position": "learned",
  "pool": "cls",
  "pre_norm": True,
  "projection_bias": False,
}
_TEXT: dict[str, Any] = {
  "causal": True,
  "pool": "eot",
  "mask_padding": False,
  "projection_bias": False,
}


def make_image(**fields: Any) -> vit.ViTConfig:
  """Return CLIP's image tower; `fields` has its sizes and exceptions."""
  defaults: dict[str, Any] = {
    "dropout": 0.0,
    "patch_dropout": 0.0,
    "projection": True,
  }
  return vit.ViTConfig(tower="vit", **_IMAGE | defaults | fields)


def make_text(**fields: Any) -> text_transformer.TextTransformerConfig:
  """Return CLIP's text tower; `fields` has its sizes and exceptions."""
  defaults: dict[str, Any] = {
    "dropout": 0.0,
    "pad_id": PAD_ID,
    "projection": True,
  }
  return text_transformer.TextTransformerConfig(
    tower="transformer", **_TEXT | defaults | fields
  )


def highest_id(vocab_size: int) -> dict[str, Any]:
  """Return the fields of a text tower that pools the token of the highest id.

  OpenAI's code, old configs of transformers and open_clip's "argmax" do so. In
  CLIP's own vocabulary that token is the end of text, and no other follows it.
  """
  pool = "eot" if vocab_size == VOCAB_SIZE else "argmax"
  return {"pool": pool, "eot_id": vocab_size - 1}


def make_model(
  embed_dim: int,
  image: dual_encoder.ImageConfig | None,
  text: dual_encoder.TextConfig | None,
  **fields: Any,
) -> dual_encoder.ModelConfig:
  """Return the model of these towers; `fields` has exceptions."""
  defaults: dict[str, Any] = {
    "scale_init": SCALE_INIT,
    "bias_init": 0.0,
    "image_mean": PIXEL_MEAN,
    "image_std": PIXEL_STD,
  }
  return fresh.make_model(
    embed_dim=embed_dim,
    scale_max=SCALE_MAX,
    image=image,
    text=text,
    **defaults | fields,
  )


def mlp_ratio(width: int, mlp_width: int) -> float:
  """Return the ratio that open_clip and timm need for this width of an MLP.

  Both multiply the tower's width with it and cut the product's fraction off.
  """
  ratio = mlp_width / width
  while int(width * ratio) < mlp_width:
    ratio = math.nextafter(ratio, math.inf)
  return ratio


def unlike_image(config: Any, **exceptions: Any) -> list[str]:
  """Return a line for each field that CLIP's image tower has otherwise."""
  return unlike("model.image", config, {"tower": "vit"} | _IMAGE | exceptions)


def unlike_text(config: Any, **exceptions: Any) -> list[str]:
  """Return a line for each field that CLIP's text tower has otherwise."""
  return unlike(
    "model.text", config, {"tower": "transformer"} | _TEXT | exceptions
  )


def unlike(section: str, config: Any, expected: dict[str, Any]) -> list[str]:
  """Return a line for each field that is not as expected."""
  return [
    f"{section}.{field}: expected {value!r}; got {got!r}"
    for field, value in expected.items()
    if (got := getattr(config, field, None)) != value
  ]


def refuse(name: str, problems: Sequence[str]) -> None:
  """Raise ValueError if there are problems.

  Args:
    name: name of the format that cannot express the model.
    problems: lines, one for each problem.
  """
  if problems:
    raise ValueError(
      f"{name} cannot express this model:\n  " + "\n  ".join(problems)
    )
