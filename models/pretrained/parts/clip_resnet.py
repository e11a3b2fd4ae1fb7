"""The image tower of OpenAI's CLIP ResNets, by the names of its state dict.

open_clip uses the same names.
"""

import math

from models import resnet
from models.pretrained import mapping, positions
from models.pretrained.parts import conv_links, torch_links

IGNORED = conv_links.IGNORED
# Channels of a head of the attention pool in every published model.
HEAD_WIDTH = 64
# PyTorch's defaults, unchanged in CLIP's code.
_NORM_EPSILON = 1e-5
_NORM_MOMENTUM = 0.9
# Three convolutions with their norms, in the stem and in each block.
_CONVS = {
  **{f"conv{i}": f"conv{i}" for i in (1, 2, 3)},
  **{f"norm{i}": f"bn{i}" for i in (1, 2, 3)},
}
_SHORTCUT = {"shortcut": "downsample.0", "shortcut_norm": "downsample.1"}
_PREFIX = "visual."


def recognises_image(tensors: mapping.Tensors) -> bool:
  """Return whether the image tower is a ResNet."""
  return f"{_PREFIX}layer1.0.conv1.weight" in tensors


def read_image(tensors: mapping.Tensors) -> tuple[resnet.ResNetConfig, int]:
  """Return the tower, and the width of its embeddings, from shapes."""
  width = tensors[f"{_PREFIX}conv3.weight"].shape[0]
  num_tokens = len(tensors[f"{_PREFIX}attnpool.positional_embedding"])
  depths = [
    mapping.count(tensors, f"{_PREFIX}layer{stage}.{{}}.conv1.weight")
    for stage in range(1, 5)
  ]
  image = resnet.ResNetConfig(
    tower="resnet",
    image_size=resnet.STRIDE * math.isqrt(num_tokens - 1),
    width=width,
    depths=tuple(depths),
    num_heads=width * resnet.STRIDE // HEAD_WIDTH,
    batch_norm_group=0,
    norm_epsilon=_NORM_EPSILON,
    norm_momentum=_NORM_MOMENTUM,
  )
  return image, len(tensors[f"{_PREFIX}attnpool.c_proj.weight"])


def links(image: resnet.ResNetConfig) -> tuple[mapping.Link, ...]:
  """Return the links of the image tower."""
  result = [
    *conv_links.block("img/stem", _PREFIX.rstrip("."), _CONVS),
    mapping.link(
      "img/position",
      f"{_PREFIX}attnpool.positional_embedding",
      resize=positions.resize_grid(1),
    ),
  ]
  for ours, theirs in (
    ("query", "q_proj"),
    ("key", "k_proj"),
    ("value", "v_proj"),
    ("out", "c_proj"),
  ):
    result += torch_links.dense(
      f"img/attn/{ours}", f"{_PREFIX}attnpool.{theirs}"
    )
  for i, depth in enumerate(image.depths):
    ours, theirs = f"img/stages/{i}", f"{_PREFIX}layer{i + 1}"
    # The first block of a stage changes the width.
    result += conv_links.block(
      f"{ours}/first", f"{theirs}.0", {**_CONVS, **_SHORTCUT}
    )
    if depth > 1:
      rest = [f"{theirs}.{j}" for j in range(1, depth)]
      result += conv_links.block(f"{ours}/blocks", rest, _CONVS)
  return tuple(result)
