"""SigLIP's image tower as open_clip holds it: timm's Vision Transformer."""

import types
from collections.abc import Iterator, Mapping
from typing import Any

from models import vit
from models.pretrained import forms, mapping, positions
from models.pretrained.parts import (
  clip_transformers,
  hf_json,
  timm_trunk,
  torch_links,
)
from runtime import checks

_TRUNK = "visual.trunk"
# The norms' epsilon, and the towers of SigLIP 1 and 2: timm 1.0.31,
# vision_transformer.py. Width, depth, heads, width of the MLP:
_NORM_EPSILON = 1e-6
_SIZES: Mapping[str, tuple[int, int, int, int]] = types.MappingProxyType(
  {
    "base": (768, 12, 12, 3072),
    "large": (1024, 24, 16, 4096),
    "so400m": (1152, 27, 16, 4304),
    "giantopt": (1536, 40, 16, 6144),
  }
)
# Size, patch size and image sizes of towers with the exact GELU, and of towers
# with the approximation that big_vision and transformers use for all.
_EXACT = (
  ("base", 16, (224, 256, 384, 512)),
  ("large", 16, (256, 384)),
  ("so400m", 14, (224, 378, 384)),
)
_TANH = (
  ("base", 32, (256,)),
  ("large", 16, (512,)),
  ("so400m", 16, (256, 384, 512)),
  ("giantopt", 16, (256, 384)),
)
_ACTIVATIONS = ("gelu", "gelu_tanh")  # the same names here and in timm
# Description of a tower without a name in timm: arguments there, fields here.
_ARCHITECTURE = "vit_base_patch16_siglip_224"
_ARGS: Mapping[str, str] = types.MappingProxyType(
  {
    "img_size": "image_size",
    "patch_size": "patch_size",
    "embed_dim": "width",
    "depth": "depth",
    "num_heads": "num_heads",
  }
)
ARGS = (*_ARGS, "mlp_ratio", "act_layer")
_FREE = (*_ARGS.values(), "mlp_width", "activation")
_FIXED: dict[str, Any] = {
  "tower": "vit",
  "position": "learned",
  "pool": "map",
  "pre_norm": False,
  "projection": False,
  "projection_bias": False,
  "norm_epsilon": _NORM_EPSILON,
}
# Defaults for open_clip_config.json (open_clip 3.3, model.py).
_DEFAULTS: dict[str, Any] = {
  "timm_model_name": None,
  "timm_pool": "avg",
  "timm_proj": "linear",
}
# Modules of a layer except attention: name here, name in the file.
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
  config: Mapping[str, Any], args: Mapping[str, Any] | None
) -> vit.ViTConfig:
  """Return the tower.

  Args:
    config: "vision_cfg" of open_clip_config.json.
    args: timm's arguments (all of ARGS) for a tower that is described, else
      None.

  Raises:
    ValueError: the tower is not one of SigLIP's.
  """
  config = {**_DEFAULTS, **config}
  hf_json.expect(config, "vision_cfg", "timm_pool", "map")
  hf_json.expect(config, "vision_cfg", "timm_proj", "none", "")
  if args is None:
    name = (config["timm_model_name"] or "").partition(".")[0]
    checks.one_of("vision_cfg: timm_model_name", name, _MODELS)
    return _MODELS[name]
  hf_json.expect(args, timm_trunk.KEY, "act_layer", *_ACTIVATIONS)
  return _make_image(
    **{ours: args[theirs] for theirs, ours in _ARGS.items()},
    mlp_width=int(args["embed_dim"] * args["mlp_ratio"]),
    activation=args["act_layer"],
  )


def unlike_image(image: vit.ViTConfig) -> list[str]:
  """Return a line for each field that timm's tower cannot express."""
  problems = clip_transformers.unlike("model.image", image, _FIXED)
  if image.activation not in _ACTIVATIONS:
    problems.append(
      "model.image.activation: expected 'gelu' or 'gelu_tanh' with pool 'map';"
      f" got {image.activation!r}"
    )
  return problems


def write_image(image: vit.ViTConfig) -> dict[str, Any]:
  """Return "vision_cfg" of open_clip_config.json."""
  return {
    "image_size": image.image_size,
    "timm_model_name": timm_trunk.name(_find_name(image)),
    "timm_pool": "map",
    "timm_proj": "none",
  }


def describe_image(image: vit.ViTConfig) -> dict[str, Any] | None:
  """Return timm's description of a tower without a name in timm."""
  if _find_name(image):
    return None
  return timm_trunk.describe(
    _ARCHITECTURE,
    **{theirs: getattr(image, ours) for theirs, ours in _ARGS.items()},
    mlp_ratio=clip_transformers.mlp_ratio(image.width, image.mlp_width),
    act_layer=image.activation,
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
    *torch_links.side_by_side(
      "img/blocks/attn", "query key value", f"{layer}.attn.qkv."
    ),
    *torch_links.norm("img/norm", f"{_TRUNK}.norm"),
    mapping.link("img/pool/probe", f"{pool}.latent", forms.BATCHED),
    *torch_links.block("img/pool", pool, _POOL),
    *torch_links.side_by_side("img/pool/attn", "key value", f"{pool}.kv."),
  )


def _make_image(**sizes: Any) -> vit.ViTConfig:
  return vit.ViTConfig(
    **_FIXED | {"dropout": 0.0, "patch_dropout": 0.0} | sizes
  )


def _find_name(image: vit.ViTConfig) -> str | None:
  wanted = _make_image(**{field: getattr(image, field) for field in _FREE})
  names = [name for name, known in _MODELS.items() if known == wanted]
  return names[0] if names else None


def _models() -> Iterator[tuple[str, vit.ViTConfig]]:
  for activation, models in zip(_ACTIVATIONS, (_EXACT, _TANH), strict=True):
    for size, patch_size, image_sizes in models:
      width, depth, num_heads, mlp_width = _SIZES[size]
      for image_size in image_sizes:
        yield (
          f"vit_{size}_patch{patch_size}_siglip_{image_size}",
          _make_image(
            image_size=image_size,
            patch_size=patch_size,
            width=width,
            depth=depth,
            num_heads=num_heads,
            mlp_width=mlp_width,
            activation=activation,
          ),
        )


# Towers by their names in timm.
_MODELS: Mapping[str, vit.ViTConfig] = types.MappingProxyType(dict(_models()))
