"""UniCL (arXiv 2204.03610): its released state dicts, saved as safetensors.

Source of names and settings: github.com/microsoft/UniCL, model/. The image
tower is a Swin, the text tower CLIP's causal transformer with other norms.
Sizes follow from shapes, but for those that no tensor shows: the size of the
images, and heads of the text tower, which are said and can be given behind the
path. A window that is larger than its stage's grid was made smaller before
training, so each stage has its own.
"""

import math
from typing import Any

from models import dual_encoder, swin, text_transformer
from models.pretrained import forms, mapping, opening, positions
from models.pretrained.parts import (
  clip_transformers,
  openai_names,
  swin_links,
  torch_links,
)

_IMAGE = "image_encoder"
_TEXT = "text_encoder"
# The text tower's name in UniCL's own converter of older weights.
_OLD_TEXT = "lang_encoder"
# Buffers, and a classifier that embeds nothing.
IGNORED = (
  rf"{_IMAGE}\..*\.(relative_position_index|attn_mask)",
  rf"{_IMAGE}\.head\.(weight|bias)",
)
# PyTorch's default in the image tower, UniCL's own in the text tower.
_IMAGE_EPSILON, _TEXT_EPSILON = 1e-5, 1e-12
# Width of a head in both released models: Swin's, and 512 / 8.
_IMAGE_HEAD_WIDTH, _TEXT_HEAD_WIDTH = 32, 64
# timm's IMAGENET_DEFAULT_MEAN and STD, as its data/build.py takes them.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_BLOCK = {
  "attn_norm": "norm1",
  "attn/out": "attn.proj",
  "mlp_norm": "norm2",
  "mlp/up": "mlp.fc1",
  "mlp/down": "mlp.fc2",
}
_TABLE = "attn.relative_position_bias_table"


def recognises(files: opening.PublishedFiles) -> bool:
  """Return whether the tensors have UniCL's names."""
  return not files.config and {
    f"{_IMAGE}.patch_embed.proj.weight",
    "image_projection",
    "text_projection",
  }.issubset(files.tensors)


def read_model(files: opening.PublishedFiles) -> dual_encoder.ModelConfig:
  """Return the model that the shapes describe.

  Raises:
    ValueError: the tensors are of another model, or a field behind the path is
      not one of image_size and text_heads.
  """
  tensors = files.tensors
  prefix = _TEXT if f"{_TEXT}.token_embedding.weight" in tensors else _OLD_TEXT
  text = _text_sizes(tensors, prefix)
  chosen = opening.choose(
    files,
    {
      "image_size": 224,
      "text_heads": max(1, text["width"] // _TEXT_HEAD_WIDTH),
    },
  )
  text["num_heads"] = chosen["text_heads"]
  return clip_transformers.make_model(
    tensors["image_projection"].shape[1],
    _read_image(tensors, chosen["image_size"]),
    clip_transformers.make_text(
      **clip_transformers.highest_id(text["vocab_size"]),
      **text,
      activation="quick_gelu",
      norm_epsilon=_TEXT_EPSILON,
    ),
    scale_init=mapping.scale(tensors, "logit_scale"),
    image_mean=_MEAN,
    image_std=_STD,
  )


def links(model: dual_encoder.ModelConfig) -> tuple[mapping.Link, ...]:
  """Return the links of the whole file."""
  result = [
    mapping.link("log_scale", "logit_scale", forms.NUMBER),
    mapping.link("bias", default=0.0),
  ]
  image, text = model.image, model.text
  if isinstance(image, swin.SwinConfig):
    result += swin_links.stem(
      f"{_IMAGE}.patch_embed.proj", f"{_IMAGE}.patch_embed.norm"
    )
    layers = f"{_IMAGE}.layers"
    result += swin_links.stages(image, layers, _BLOCK, table=_TABLE)
    for i in range(len(image.depths)):
      result += torch_links.side_by_side(
        f"img/stages/{i}/blocks/attn",
        "query key value",
        f"{layers}.{i}.blocks.{mapping.LAYER}.attn.qkv.",
      )
    result += torch_links.norm("img/norm", f"{_IMAGE}.norm")
    result.append(mapping.link("img/projection/kernel", "image_projection"))
  if isinstance(text, text_transformer.TextTransformerConfig):
    entries = (
      mapping.link("txt/token_embedding", f"{_TEXT}.token_embedding.weight"),
      mapping.link(
        "txt/position",
        f"{_TEXT}.positional_embedding",
        resize=positions.resize_length,
      ),
      *openai_names.blocks("txt/blocks", _TEXT),
      *torch_links.norm("txt/norm", f"{_TEXT}.ln_final"),
    )
    result += mapping.spelled(
      entries, lambda name: name.replace(_TEXT, _OLD_TEXT, 1)
    )
    result.append(mapping.link("txt/projection/kernel", "text_projection"))
  return tuple(result)


def _read_image(tensors: mapping.Tensors, image_size: int) -> swin.SwinConfig:
  depths, widths, heads, windows = [], [], [], []
  while f"{_IMAGE}.layers.{len(depths)}.blocks.0.{_TABLE}" in tensors:
    blocks = f"{_IMAGE}.layers.{len(depths)}.blocks"
    rows, num_heads = tensors[f"{blocks}.0.{_TABLE}"].shape
    depths.append(mapping.count(tensors, f"{blocks}.{{}}.norm1.weight"))
    widths.append(len(tensors[f"{blocks}.0.norm1.weight"]))
    heads.append(num_heads)
    windows.append((math.isqrt(rows) + 1) // 2)
  if not depths:
    raise ValueError(
      f"the image tower must be a Swin; {_IMAGE}.layers.0.blocks.0.{_TABLE} is"
      " missing"
    )
  mlp_width = len(tensors[f"{_IMAGE}.layers.0.blocks.0.mlp.fc1.weight"])
  return swin.SwinConfig(
    tower="swin",
    image_size=image_size,
    embedding="patch",
    merging="patch",
    widths=tuple(widths),
    depths=tuple(depths),
    num_heads=tuple(heads),
    windows=tuple(windows),
    mlp_ratio=mlp_width / widths[0],
    activation="gelu",
    mask_padding=True,
    projection=True,
    projection_bias=False,
    norm_epsilon=_IMAGE_EPSILON,
    drop_path=0.0,
  )


def _text_sizes(tensors: mapping.Tensors, prefix: str) -> dict[str, Any]:
  vocab_size, width = tensors[f"{prefix}.token_embedding.weight"].shape
  kernel = f"{prefix}.resblocks.{{}}.mlp.c_fc.weight"
  return {
    "vocab_size": vocab_size,
    "num_tokens": len(tensors[f"{prefix}.positional_embedding"]),
    "width": width,
    "depth": mapping.count(tensors, kernel),
    "mlp_width": len(tensors[kernel.format(0)]),
  }
