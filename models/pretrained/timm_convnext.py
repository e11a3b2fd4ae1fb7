"""The image tower of open_clip's ConvNeXt models, timm's with a projection."""

from collections.abc import Mapping
from typing import Any

from models import convnext
from models.pretrained import conv_links, mapping, torch_links

IGNORED: tuple[str, ...] = ()
_TRUNK = "visual.trunk"
_HEAD = "visual.head"
# timm's convnext.py: `norm_eps` of its norms is LayerNorm's own there.
_NORM_EPSILON = 1e-6


def recognises_image(tensors: mapping.Tensors) -> bool:
  """Return whether the image tower is a ConvNeXt."""
  return f"{_TRUNK}.stages.0.blocks.0.gamma" in tensors


def read_image(
  tensors: mapping.Tensors, config: Mapping[str, Any]
) -> tuple[convnext.ConvNeXtConfig, int]:
  """Return the tower, and the width of its embeddings.

  Args:
    tensors: of the file.
    config: vision_cfg of the model in open_clip; all of the tower's fields but
      these follow from shapes: image_size and timm_drop_path.
  """
  depths, widths = [], []
  while f"{_TRUNK}.stages.{len(depths)}.blocks.0.gamma" in tensors:
    stage = f"{_TRUNK}.stages.{len(depths)}.blocks"
    widths.append(len(tensors[f"{stage}.0.gamma"]))
    depth = 1
    while f"{stage}.{depth}.gamma" in tensors:
      depth += 1
    depths.append(depth)
  is_mlp = f"{_HEAD}.mlp.fc1.weight" in tensors
  last = f"{_HEAD}.mlp.fc2" if is_mlp else f"{_HEAD}.proj"
  image = convnext.ConvNeXtConfig(
    tower="convnext",
    image_size=config.get("image_size", 224),
    depths=tuple(depths),
    widths=tuple(widths),
    head="mlp" if is_mlp else "linear",
    head_bias=f"{last}.bias" in tensors,
    norm_epsilon=_NORM_EPSILON,
    drop_path=float(config.get("timm_drop_path") or 0.0),
  )
  return image, len(tensors[f"{last}.weight"])


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
