"""SigLIP, SigLIP 2 and NaFlex as big_vision releases them (npz).

Layers are separate (encoderblock_0) or stacked (encoderblock); attention
kernels are [D, H, K]. All sizes are read from shapes; the other fields have the
values of big_vision's models: tanh GELU, epsilon 1e-6, and for text the last
position pooled (models/proj/image_text/text_transformer.py, pool_type="last").
No tensor shows the activation: it can be given behind the path.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from models import dual_encoder, naflex, text_transformer, vit
from models.pretrained import forms, mapping, opening, positions
from models.pretrained.parts import fresh, hf_json

# Optimizer state in a training checkpoint.
IGNORED = (r"opt/.*",)
_EPSILON = 1e-6  # flax.linen.LayerNorm
_ACTIVATION = "gelu_tanh"  # flax.linen.gelu
_ATTENTION = "MultiHeadDotProductAttention_0"


def recognises(files: opening.PublishedFiles) -> bool:
  """Return whether the tensors have this family's names."""
  return any(
    f"{root}{tower}" in files.tensors
    for root in ("params/", "")
    for tower in (
      "img/Transformer/encoder_norm/scale",
      "txt/Encoder_0/encoder_norm/scale",
    )
  )


def read_model(files: opening.PublishedFiles) -> dual_encoder.ModelConfig:
  """Return the model's config.

  Raises:
    ValueError: the tensors are not those of a model of this family.
  """
  tensors = _Names(files.tensors)
  chosen = opening.choose(files, {"activation": _ACTIVATION})
  image = text = None
  embed_dims = []
  if "img/embedding/kernel" in tensors:
    image, embed_dim = _read_image(tensors)
    image = dataclasses.replace(image, **chosen)
    embed_dims.append(embed_dim)
  if "txt/pos_embedding" in tensors:
    text, embed_dim = _read_text(tensors)
    text = dataclasses.replace(text, **chosen)
    embed_dims.append(embed_dim)
  if not embed_dims or len({*embed_dims}) > 1:
    raise ValueError(
      f"{files.path}: towers must meet in one space; got embeddings of"
      f" {' and '.join(map(str, embed_dims)) or 'no tower'}"
    )
  return fresh.make_model(
    embed_dim=embed_dims[0],
    scale_init=tensors.scale("t") if "t" in tensors else 1.0,
    bias_init=tensors.number("b") if "b" in tensors else 0.0,
    image=image,
    text=text,
  )


def links(model: dual_encoder.ModelConfig) -> tuple[mapping.Link, ...]:
  """Return the links of the whole file."""
  entries: list[mapping.Link] = []
  if model.image is not None:
    entries += _image_links(model.image)
  if model.text is not None:
    entries += _text_links(model.text)
  if model.image is not None and model.text is not None:
    entries += (
      mapping.link("log_scale", "t", forms.ONE_NUMBER),
      # LiT has a scale only.
      mapping.link("bias", "b", forms.ONE_NUMBER, optional=True),
    )
  entries = [
    mapping.link(
      entry.ours,
      [f"params/{name}" for name in entry.theirs],
      entry.form,
      resize=entry.resize,
      optional=entry.optional,
    )
    for entry in entries
  ]

  def stacked(name: str) -> str:
    return name.replace(f"encoderblock_{mapping.LAYER}", "encoderblock")

  def bare(name: str) -> str:
    return name.removeprefix("params/")

  return mapping.spelled(
    entries, stacked, bare, lambda name: bare(stacked(name))
  )


class _Names:
  """Tensors by name, without the prefix "params/" if they have it."""

  def __init__(self, tensors: mapping.Tensors):
    self._tensors = tensors
    is_below = any(name.startswith("params/") for name in tensors)
    self._root = "params/" if is_below else ""

  def __contains__(self, name: str) -> bool:
    return self._root + name in self._tensors

  def __getitem__(self, name: str) -> np.ndarray:
    return self._tensors[self._root + name]

  def number(self, name: str) -> float:
    return mapping.number(self._tensors, self._root + name)

  def scale(self, name: str) -> float:
    return mapping.scale(self._tensors, self._root + name)


def _read_image(
  tensors: _Names,
) -> tuple[vit.ViTConfig | naflex.NaFlexConfig, int]:
  """Return the tower and the size of its embeddings."""
  kernel = tensors["img/embedding/kernel"]
  if "img/pre_logits/kernel" in tensors:
    raise ValueError("img/pre_logits: expected a tower without this layer")
  blocks = _read_blocks(tensors, "img/Transformer", kernel.shape[-1])
  projects = "img/head/kernel" in tensors
  embed_dim = blocks["width"]
  if projects:
    embed_dim = tensors["img/head/kernel"].shape[1]
  fields: dict[str, Any] = {
    **blocks,
    "projection": projects,
    "projection_bias": projects,
  }
  if kernel.ndim == 2:
    side = tensors["img/pos_embedding"].shape[0]
    patch_size = math.isqrt(kernel.shape[0] // 3)
    image = naflex.NaFlexConfig(
      tower="naflex",
      image_size=side * patch_size,
      patch_size=patch_size,
      max_num_patches=side * side,
      position_size=side,
      **fields,
    )
    return image, embed_dim
  pool = "gap"
  if "img/MAPHead_0/probe" in tensors:
    pool = "map"
  elif "img/cls" in tensors:
    pool = "cls"
  if "img/pos_embedding" not in tensors:
    raise ValueError(
      "img/pos_embedding: expected learned positions, which tell the image's"
      " size; got none"
    )
  side = math.isqrt(tensors["img/pos_embedding"].shape[1])
  patch_size = kernel.shape[0]
  image = vit.ViTConfig(
    tower="vit",
    image_size=side * patch_size,
    patch_size=patch_size,
    position="learned",
    pool=pool,
    pre_norm=False,
    patch_dropout=0.0,
    **fields,
  )
  return image, embed_dim


def _read_text(
  tensors: _Names,
) -> tuple[text_transformer.TextTransformerConfig, int]:
  """Return the tower and the size of its embeddings."""
  vocab_size, width = tensors["txt/Embed_0/embedding"].shape
  blocks = _read_blocks(tensors, "txt/Encoder_0", width)
  projects = "txt/head/kernel" in tensors
  embed_dim = tensors["txt/head/kernel"].shape[1] if projects else width
  text = text_transformer.TextTransformerConfig(
    tower="transformer",
    vocab_size=vocab_size,
    num_tokens=tensors["txt/pos_embedding"].shape[1],
    # Unused fields: padding is a token like the others, and the last position
    # is pooled.
    pad_id=1,
    eot_id=1,
    causal=False,
    pool="map" if "txt/MAPHead_0/probe" in tensors else "last",
    mask_padding=False,
    projection=projects,
    projection_bias=projects,
    **blocks,
  )
  return text, embed_dim


def _read_blocks(tensors: _Names, encoder: str, width: int) -> dict[str, Any]:
  """Return the config fields that both towers have."""
  up = "MlpBlock_0/Dense_0/kernel"
  query = f"{_ATTENTION}/query/kernel"
  if f"{encoder}/encoderblock/{up}" in tensors:
    depth, _, mlp_width = tensors[f"{encoder}/encoderblock/{up}"].shape
    num_heads = tensors[f"{encoder}/encoderblock/{query}"].shape[2]
  else:
    depth = mapping.count(tensors, f"{encoder}/encoderblock_{{}}/{up}")
    if not depth:
      raise ValueError(f"{encoder}: expected encoderblock_0 or encoderblock")
    mlp_width = tensors[f"{encoder}/encoderblock_0/{up}"].shape[1]
    num_heads = tensors[f"{encoder}/encoderblock_0/{query}"].shape[1]
  return {
    "width": width,
    "depth": depth,
    "num_heads": num_heads,
    "mlp_width": mlp_width,
    "activation": _ACTIVATION,
    "norm_epsilon": _EPSILON,
    "dropout": 0.0,
  }


def _image_links(config: dual_encoder.ImageConfig) -> list[mapping.Link]:
  image = hf_json.as_tower(
    "model.image", config, vit.ViTConfig, naflex.NaFlexConfig
  )
  is_flexible = isinstance(image, naflex.NaFlexConfig)
  entries = [
    mapping.link(
      "img/patch/kernel",
      "img/embedding/kernel",
      forms.SAME if is_flexible else forms.flat_patch(image.patch_size),
    ),
    mapping.link("img/patch/bias", "img/embedding/bias"),
    *_encoder_links("img", "img/Transformer", image.num_heads),
    *_projection_links("img", image),
  ]
  table = "img/pos_embedding"
  if is_flexible:
    grid = forms.flat_grid(image.position_size)
    entries.append(
      mapping.link("img/position", table, grid, resize=positions.resize_grid(0))
    )
    return [*entries, *_map_links("img", image.num_heads)]
  assert isinstance(image, vit.ViTConfig)
  if image.pool == "cls":
    # The cls token has no position in big_vision.
    entries.append(
      mapping.link(
        ["img/cls", "img/position"],
        ["img/cls", table],
        forms.CLS_WITHOUT_POSITION,
        resize=positions.resize_grid(1),
      )
    )
  elif image.position == "learned":
    entries.append(
      mapping.link(
        "img/position",
        table,
        forms.BATCHED,
        resize=positions.resize_grid(0),
      )
    )
  if image.pool == "map":
    entries += _map_links("img", image.num_heads)
  return entries


def _text_links(config: dual_encoder.TextConfig) -> list[mapping.Link]:
  text = hf_json.as_tower(
    "model.text", config, text_transformer.TextTransformerConfig
  )
  entries = [
    mapping.link("txt/token_embedding", "txt/Embed_0/embedding"),
    mapping.link(
      "txt/position",
      "txt/pos_embedding",
      forms.BATCHED,
      resize=positions.resize_length,
    ),
    *_encoder_links("txt", "txt/Encoder_0", text.num_heads),
    *_projection_links("txt", text),
  ]
  if text.pool == "map":
    entries += _map_links("txt", text.num_heads)
  return entries


def _encoder_links(
  tower: str, encoder: str, num_heads: int
) -> list[mapping.Link]:
  ours = f"{tower}/blocks"
  theirs = f"{encoder}/encoderblock_{mapping.LAYER}"
  return [
    *_attention_links(f"{ours}/attn", theirs, num_heads),
    *_same(f"{ours}/attn_norm", f"{theirs}/LayerNorm_0", ("scale", "bias")),
    *_same(f"{ours}/mlp_norm", f"{theirs}/LayerNorm_1", ("scale", "bias")),
    *_mlp_links(f"{ours}/mlp", theirs),
    *_same(f"{tower}/norm", f"{encoder}/encoder_norm", ("scale", "bias")),
  ]


def _map_links(tower: str, num_heads: int) -> list[mapping.Link]:
  ours, theirs = f"{tower}/pool", f"{tower}/MAPHead_0"
  return [
    mapping.link(f"{ours}/probe", f"{theirs}/probe", forms.BATCHED),
    *_attention_links(f"{ours}/attn", theirs, num_heads),
    *_same(f"{ours}/mlp_norm", f"{theirs}/LayerNorm_0", ("scale", "bias")),
    *_mlp_links(f"{ours}/mlp", theirs),
  ]


def _attention_links(
  ours: str, theirs: str, num_heads: int
) -> list[mapping.Link]:
  theirs = f"{theirs}/{_ATTENTION}"
  joined = forms.joined_heads(num_heads)
  entries = []
  for name in ("query", "key", "value"):
    for leaf in ("kernel", "bias"):
      entries.append(
        mapping.link(f"{ours}/{name}/{leaf}", f"{theirs}/{name}/{leaf}", joined)
      )
  return [
    *entries,
    mapping.link(
      f"{ours}/out/kernel",
      f"{theirs}/out/kernel",
      forms.joined_heads(num_heads, axis=-2),
    ),
    mapping.link(f"{ours}/out/bias", f"{theirs}/out/bias"),
  ]


def _mlp_links(ours: str, theirs: str) -> list[mapping.Link]:
  theirs = f"{theirs}/MlpBlock_0"
  return [
    *_same(f"{ours}/up", f"{theirs}/Dense_0", ("kernel", "bias")),
    *_same(f"{ours}/down", f"{theirs}/Dense_1", ("kernel", "bias")),
  ]


def _projection_links(
  tower: str,
  config: vit.ViTConfig
  | naflex.NaFlexConfig
  | text_transformer.TextTransformerConfig,
) -> list[mapping.Link]:
  if not config.projection:
    return []
  leaves = ("kernel", "bias") if config.projection_bias else ("kernel",)
  return _same(f"{tower}/projection", f"{tower}/head", leaves)


def _same(ours: str, theirs: str, leaves: Sequence[str]) -> list[mapping.Link]:
  return [mapping.link(f"{ours}/{x}", f"{theirs}/{x}") for x in leaves]
