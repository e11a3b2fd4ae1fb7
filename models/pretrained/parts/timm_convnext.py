"""The image tower of open_clip's ConvNeXt models, timm's with a projection."""

import types
from collections.abc import Mapping
from typing import Any

from models import convnext
from models.pretrained import mapping
from models.pretrained.parts import conv_links, timm_trunk, torch_links

IGNORED: tuple[str, ...] = ()
_TRUNK = "visual.trunk"
_HEAD = "visual.head"
# timm 1.0.31, convnext.py: depths and widths of the models in open_clip's
# model_configs; the norms' epsilon is 1e-6 except in the largest.
_NORM_EPSILON = 1e-6
_DEEP = (3, 3, 27, 3)
_MODELS: Mapping[str, tuple[tuple[int, ...], tuple[int, ...], float]] = (
  types.MappingProxyType(
    {
      "convnext_tiny": ((3, 3, 9, 3), (96, 192, 384, 768), _NORM_EPSILON),
      "convnext_small": (_DEEP, (96, 192, 384, 768), _NORM_EPSILON),
      "convnext_base": (_DEEP, (128, 256, 512, 1024), _NORM_EPSILON),
      "convnext_large": (_DEEP, (192, 384, 768, 1536), _NORM_EPSILON),
      "convnext_xlarge": (_DEEP, (256, 512, 1024, 2048), _NORM_EPSILON),
      "convnext_xxlarge": ((3, 4, 30, 3), (384, 768, 1536, 3072), 1e-5),
    }
  )
)
# Architecture that a tower without a name in timm is described with.
_ARCHITECTURE = "convnext_base"
ARGS = ("depths", "dims", "norm_eps")


def recognises_image(tensors: mapping.Tensors) -> bool:
  """Return whether the image tower is a ConvNeXt."""
  return f"{_TRUNK}.stages.0.blocks.0.gamma" in tensors


def read_image(
  tensors: mapping.Tensors,
  config: Mapping[str, Any],
  args: Mapping[str, Any] | None = None,
) -> tuple[convnext.ConvNeXtConfig, int]:
  """Return the tower, and the width of its embeddings.

  Args:
    tensors: tensors of the file.
    config: vision_cfg of the model in open_clip. It is read for image_size,
      timm_drop_path and, by timm_model_name, the norms' epsilon; the tower's
      other fields follow from shapes.
    args: timm's arguments (all of ARGS) for a tower that is described, else
      None.
  """
  depths, widths = [], []
  while f"{_TRUNK}.stages.{len(depths)}.blocks.0.gamma" in tensors:
    stage = f"{_TRUNK}.stages.{len(depths)}.blocks"
    widths.append(len(tensors[f"{stage}.0.gamma"]))
    depths.append(mapping.count(tensors, f"{stage}.{{}}.gamma"))
  is_mlp = f"{_HEAD}.mlp.fc1.weight" in tensors
  last = f"{_HEAD}.mlp.fc2" if is_mlp else f"{_HEAD}.proj"
  name = (config.get("timm_model_name") or "").partition(".")[0]
  *_, norm_epsilon = _MODELS.get(name, (_NORM_EPSILON,))
  image = convnext.ConvNeXtConfig(
    tower="convnext",
    image_size=config.get("image_size", 224),
    depths=tuple(depths),
    widths=tuple(widths),
    head="mlp" if is_mlp else "linear",
    head_bias=f"{last}.bias" in tensors,
    norm_epsilon=args["norm_eps"] if args else norm_epsilon,
    drop_path=float(config.get("timm_drop_path") or 0.0),
  )
  return image, len(tensors[f"{last}.weight"])


def unlike_image(image: convnext.ConvNeXtConfig) -> list[str]:
  """Return a line for each field that timm's tower cannot express."""
  if len(image.depths) == len(_DEEP):
    return []
  return [
    f"model.image.depths: expected {len(_DEEP)} stages; got {image.depths!r}"
  ]


def write_image(image: convnext.ConvNeXtConfig) -> dict[str, Any]:
  """Return "vision_cfg" of open_clip_config.json."""
  config: dict[str, Any] = {
    "image_size": image.image_size,
    "timm_model_name": timm_trunk.name(_find_name(image)),
    "timm_pool": "",  # timm's own
    "timm_proj": image.head,
    "timm_proj_bias": image.head_bias,
  }
  if image.drop_path:
    config["timm_drop_path"] = image.drop_path
  return config


def describe_image(image: convnext.ConvNeXtConfig) -> dict[str, Any] | None:
  """Return timm's description of a tower without a name in timm."""
  if _find_name(image):
    return None
  return timm_trunk.describe(
    _ARCHITECTURE,
    depths=list(image.depths),
    dims=list(image.widths),
    norm_eps=image.norm_epsilon,
  )


def links(image: convnext.ConvNeXtConfig) -> tuple[mapping.Link, ...]:
  """Return the links of the image tower."""
  conv, dense = conv_links.conv, torch_links.dense
  result = [
    *conv("img/stem/conv", f"{_TRUNK}.stem.0", use_bias=True),
    *torch_links.norm("img/stem/norm", f"{_TRUNK}.stem.1"),
    *torch_links.norm("img/norm", f"{_TRUNK}.head.norm"),
  ]
  last = "mlp.fc2" if image.head == "mlp" else "proj"
  result += dense("img/projection", f"{_HEAD}.{last}", use_bias=image.head_bias)
  if image.head == "mlp":
    result += dense("img/hidden", f"{_HEAD}.mlp.fc1")
  for i in range(len(image.depths)):
    ours, theirs = f"img/stages/{i}", f"{_TRUNK}.stages.{i}"
    if i > 0:
      down = f"{ours}/downsample"
      result += torch_links.norm(f"{down}/norm", f"{theirs}.downsample.0")
      result += conv(f"{down}/conv", f"{theirs}.downsample.1", use_bias=True)
    ours, theirs = f"{ours}/blocks", f"{theirs}.blocks.{mapping.LAYER}"
    result += conv(f"{ours}/depthwise", f"{theirs}.conv_dw", use_bias=True)
    result += torch_links.norm(f"{ours}/norm", f"{theirs}.norm")
    result += dense(f"{ours}/mlp/up", f"{theirs}.mlp.fc1")
    result += dense(f"{ours}/mlp/down", f"{theirs}.mlp.fc2")
    result.append(mapping.link(f"{ours}/scale", f"{theirs}.gamma"))
  return tuple(result)


def _find_name(image: convnext.ConvNeXtConfig) -> str | None:
  wanted = (image.depths, image.widths, image.norm_epsilon)
  names = [name for name, known in _MODELS.items() if known == wanted]
  return names[0] if names else None
