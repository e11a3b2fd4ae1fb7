"""Names of the tensors in OpenAI's CLIP, which open_clip's models extend."""

import math
import types
from collections.abc import Mapping
from typing import Any

from models import text_transformer, vit
from models.pretrained import forms, mapping, positions
from models.pretrained.parts import torch_links

# Whole numbers beside the parameters; only OpenAI's archives have them.
ARCHIVE_ONLY = ("input_resolution", "context_length", "vocab_size")

# Head width of the text tower in every published model.
_TEXT_HEAD_WIDTH = 64
# Modules of a layer except attention: name here, name in the file.
_LAYER: Mapping[str, str] = types.MappingProxyType(
  {
    "attn_norm": "ln_1",
    "mlp_norm": "ln_2",
    "mlp/up": "mlp.c_fc",
    "mlp/down": "mlp.c_proj",
  }
)


def image_sizes(tensors: mapping.Tensors, head_width: int) -> dict[str, Any]:
  """Return fields of a Vision Transformer from the shapes of its tensors."""
  width, _, _, patch_size = tensors["visual.conv1.weight"].shape
  num_patches = len(tensors["visual.positional_embedding"]) - 1
  return {
    "image_size": patch_size * math.isqrt(num_patches),
    "patch_size": patch_size,
    "width": width,
    "num_heads": max(1, width // head_width),
    **_layer_sizes(tensors, "visual.transformer"),
  }


def text_sizes(tensors: mapping.Tensors, prefix: str = "") -> dict[str, Any]:
  """Return fields of a text transformer from the shapes of its tensors."""
  vocab_size, width = tensors[f"{prefix}token_embedding.weight"].shape
  return {
    "vocab_size": vocab_size,
    "num_tokens": len(tensors[f"{prefix}positional_embedding"]),
    "width": width,
    "num_heads": max(1, width // _TEXT_HEAD_WIDTH),
    **_layer_sizes(tensors, f"{prefix}transformer"),
  }


def _layer_sizes(tensors: mapping.Tensors, tower: str) -> dict[str, int]:
  kernel = f"{tower}.resblocks.{{}}.mlp.c_fc.weight"
  depth = mapping.count(tensors, kernel)
  return {"depth": depth, "mlp_width": len(tensors[kernel.format(0)])}


def image_links(
  config: vit.ViTConfig, embed_dim: int
) -> tuple[mapping.Link, ...]:
  """Return the links of a Vision Transformer, with CoCa's pooling or without.

  Args:
    config: config of the image tower.
    embed_dim: length of the model's embeddings.
  """
  links = [
    mapping.link(
      "img/patch/kernel",
      "visual.conv1.weight",
      forms.patch(config.patch_size),
    ),
    mapping.link("img/cls", "visual.class_embedding", forms.ROW),
    mapping.link(
      "img/position",
      "visual.positional_embedding",
      resize=positions.resize_grid(1),
    ),
    *torch_links.norm("img/pre_norm", "visual.ln_pre"),
    *blocks("img/blocks", "visual.transformer"),
    *torch_links.norm("img/norm", "visual.ln_post"),
    mapping.link("img/projection/kernel", "visual.proj"),
  ]
  if config.pool == "queries":
    links += _query_pool(fused=config.width == embed_dim)
  return tuple(links)


def text_links(
  config: text_transformer.TextTransformerConfig, prefix: str = ""
) -> tuple[mapping.Link, ...]:
  """Return the links of a text transformer.

  Args:
    config: config of the text tower.
    prefix: prefix of the names in the file.
  """
  links = [
    mapping.link("txt/token_embedding", f"{prefix}token_embedding.weight"),
    mapping.link(
      "txt/position",
      f"{prefix}positional_embedding",
      resize=positions.resize_length,
    ),
    *blocks("txt/blocks", f"{prefix}transformer"),
    *torch_links.norm("txt/norm", f"{prefix}ln_final"),
  ]
  if config.pool == "cls":
    links.append(mapping.link("txt/cls", f"{prefix}cls_emb", forms.ROW))
  if config.projection_bias:
    links += torch_links.dense("txt/projection", f"{prefix}text_projection")
  elif config.projection:
    links.append(
      mapping.link("txt/projection/kernel", f"{prefix}text_projection")
    )
  return tuple(links)


def blocks(ours: str, theirs: str) -> list[mapping.Link]:
  """Return the links of layers that are the "resblocks" of `theirs`."""
  theirs = f"{theirs}.resblocks.{mapping.LAYER}"
  return [
    *torch_links.block(ours, theirs, _LAYER),
    *torch_links.fused_attention(f"{ours}/attn", f"{theirs}.attn"),
  ]


def _query_pool(*, fused: bool) -> list[mapping.Link]:
  ours, theirs = "img/pool", "visual.attn_pool"
  links = [
    mapping.link(f"{ours}/queries", f"{theirs}.query"),
    *torch_links.norm(f"{ours}/query_norm", f"{theirs}.ln_q"),
    *torch_links.norm(f"{ours}/key_norm", f"{theirs}.ln_k"),
  ]
  ours, theirs = f"{ours}/attn", f"{theirs}.attn"
  if fused:
    return [*links, *torch_links.fused_attention(ours, theirs)]
  # torch.nn.MultiheadAttention with keys of another width than the queries.
  parts = [f"{ours}/{name}" for name in ("query", "key", "value")]
  return [
    *links,
    *(
      mapping.link(
        f"{part}/kernel", f"{theirs}.{letter}_proj_weight", forms.DENSE
      )
      for part, letter in zip(parts, "qkv", strict=True)
    ),
    mapping.link(
      [f"{part}/bias" for part in parts],
      f"{theirs}.in_proj_bias",
      forms.biases(3),
    ),
    *torch_links.dense(f"{ours}/out", f"{theirs}.out_proj"),
  ]
