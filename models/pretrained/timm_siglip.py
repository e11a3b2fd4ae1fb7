"""SigLIP's image tower as open_clip holds it: timm's Vision Transformer."""

import math
import types
from collections.abc import Mapping
from typing import Any

from models import vit
from models.pretrained import forms, mapping, positions, settings, torch_links

_TRUNK = "visual.trunk"
# Heads by width, and the norms' epsilon: timm 1.0.31, vision_transformer.py.
_NUM_HEADS: Mapping[int, int] = types.MappingProxyType(
  {768: 12, 1024: 16, 1152: 16, 1536: 16}
)
_NORM_EPSILON = 1e-6
# Models there with the approximation of GELU; the others have the exact one.
_TANH_MODELS = (
  "vit_base_patch32_siglip",
  "vit_large_patch16_siglip_512",
  "vit_so400m_patch16_siglip",
  "vit_giantopt_patch16_siglip",
)
# Of a layer but for its attention, ours and theirs.
_LAYER: Mapping[str, str] = types.MappingProxyType(
  {
    "attn_norm": "norm1",
    "attn/out": "attn.proj",
    "mlp_norm": "norm2",
    "mlp/up": "mlp.fc1",
    "mlp/down": "mlp.fc2",
  }
)
_POOL: Mapping[str, str] = types.MappingProxyType(
  {
    "attn/query": "q",
    "attn/out": "proj",
    "mlp_norm": "norm",
    "mlp/up": "mlp.fc1",
    "mlp/down": "mlp.fc2",
  }
)


def recognises_image(tensors: mapping.Tensors) -> bool:
  """Return whether the image tower is a SigLIP of timm."""
  return f"{_TRUNK}.attn_pool.latent" in tensors


def read_image(
  config: Mapping[str, Any], tensors: mapping.Tensors
) -> vit.ViTConfig:
  """Return the tower.

  Args:
    config: "vision_cfg" of open_clip_config.json.
    tensors: of the file; their shapes are the sizes.

  Raises:
    ValueError: a setting of SigLIP's models is another one here.
  """
  settings.expect(config, "vision_cfg", "timm_pool", "map")
  settings.expect(config, "vision_cfg", "timm_proj", "none", "")
  kernel = tensors[f"{_TRUNK}.patch_embed.proj.weight"]
  width, patch_size = kernel.shape[0], kernel.shape[-1]
  if width not in _NUM_HEADS:
    raise ValueError(
      f"{_TRUNK} must have one of the widths {', '.join(map(str, _NUM_HEADS))};"
      f" got {width}"
    )
  depth = 0
  while f"{_TRUNK}.blocks.{depth}.norm1.weight" in tensors:
    depth += 1
  num_patches = tensors[f"{_TRUNK}.pos_embed"].shape[1]
  is_tanh = config["timm_model_name"].startswith(_TANH_MODELS)
  return vit.ViTConfig(
    tower="vit",
    image_size=patch_size * math.isqrt(num_patches),
    patch_size=patch_size,
    width=width,
    depth=depth,
    num_heads=_NUM_HEADS[width],
    mlp_width=len(tensors[f"{_TRUNK}.blocks.0.mlp.fc1.weight"]),
    activation="gelu_tanh" if is_tanh else "gelu",
    position="learned",
    pool="map",
    pre_norm=False,
    projection=False,
    projection_bias=False,
    norm_epsilon=_NORM_EPSILON,
    dropout=0.0,
    patch_dropout=0.0,
  )


def links(config: vit.ViTConfig) -> tuple[mapping.Link, ...]:
  """Return the links of the tower."""
  layer, pool = f"{_TRUNK}.blocks.{mapping.LAYER}", f"{_TRUNK}.attn_pool"
  patch = f"{_TRUNK}.patch_embed.proj"
  return (
    mapping.link(
      "img/patch/kernel", f"{patch}.weight", forms.patch(config.patch_size)
    ),
    mapping.link("img/patch/bias", f"{patch}.bias"),
    mapping.link(
      "img/position",
      f"{_TRUNK}.pos_embed",
      forms.BATCHED,
      resize=positions.resize_grid(0),
    ),
    *torch_links.block("img/blocks", layer, _LAYER),
    *_side_by_side("img/blocks/attn", f"{layer}.attn.qkv", "query key value"),
    *torch_links.norm("img/norm", f"{_TRUNK}.norm"),
    mapping.link("img/pool/probe", f"{pool}.latent", forms.BATCHED),
    *torch_links.block("img/pool", pool, _POOL),
    *_side_by_side("img/pool/attn", f"{pool}.kv", "key value"),
  )


def _side_by_side(
  ours: str, theirs: str, names: str
) -> tuple[mapping.Link, ...]:
  """Return the links of several affine maps of the same input."""
  paths = [f"{ours}/{name}" for name in names.split()]
  return (
    mapping.link(
      [f"{path}/kernel" for path in paths],
      f"{theirs}.weight",
      forms.kernels(len(paths)),
    ),
    mapping.link(
      [f"{path}/bias" for path in paths],
      f"{theirs}.bias",
      forms.biases(len(paths)),
    ),
  )
