"""Learned positions and maps of patches, fitted to another size or length."""

import math
import re
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from models import dual_encoder
from models.pretrained import mapping

# Channels of an image.
_COLOURS = 3


def resize_grid(num_prefix: int) -> mapping.Resize:
  """Return a function that resizes positions [num_prefix + side * side, D].

  Bicubic with antialiasing, as open_clip and timm do when they load; the first
  `num_prefix` rows (a cls token's) are kept. (big_vision's own loading is
  linear, without antialiasing.)

  Raises:
    ValueError: on use, if a table is not of a square grid.
  """

  def resize(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    prefix, grid = np.split(array, [num_prefix])
    old, new = (_side(x[0] - num_prefix) for x in (array.shape, shape))
    width = array.shape[1]
    resized = jax.image.resize(
      grid.reshape(old, old, width).astype(np.float32),
      (new, new, width),
      method="cubic",
      antialias=True,
      precision=jax.lax.Precision.HIGHEST,
    )
    return np.concatenate([prefix, np.reshape(resized, (new * new, width))])

  return resize


def resize_patches(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """Return the map of patches [side * side * C, D] for patches of another side.

  The pseudo-inverse of bilinear resizing (without antialiasing), FlexiViT's
  (arXiv 2212.08013, section 3.4): a patch that is enlarged has the token that
  it had, and of smaller patches the token is the nearest one in the mean.
  """
  channels = _COLOURS
  old, new = (math.isqrt(x[0] // channels) for x in (array.shape, shape))
  basis = np.eye(old * old, dtype=np.float32).reshape(old, old, old * old)
  resizing = jax.image.resize(
    *(basis, (new, new, old * old), "linear"),
    antialias=False,
    precision=jax.lax.Precision.HIGHEST,
  )
  matrix = np.asarray(resizing, np.float64).reshape(new * new, old * old)
  weights = array.reshape(old * old, -1)
  return (np.linalg.pinv(matrix.T) @ weights).reshape(shape).astype(np.float32)


def resize_length(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """Return the first positions of a longer text table [L, D].

  Raises:
    ValueError: the table is shorter; the rest was never learned.
  """
  if len(array) < shape[0]:
    raise ValueError(
      f"the weights have {len(array)} text positions; expected at least"
      f" model.text.num_tokens={shape[0]}"
    )
  return array[: shape[0]]


def resize_relative(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """Return tables of relative positions for windows of another side.

  Bicubic, without antialiasing, as in Swin's released code.

  Args:
    array: tables of all blocks, [depth, (2 * window - 1)^2, H].
    shape: shape of the result, with the same depth and heads.

  Raises:
    ValueError: depth or heads differ, or a table is not of a square.
  """
  if (array.shape[0], array.shape[2]) != (shape[0], shape[2]):
    raise ValueError(
      "tables of relative positions must have the blocks and heads of the"
      f" weights, {array.shape[0]} and {array.shape[2]}; got {shape[0]} and"
      f" {shape[2]}"
    )
  old, new = _side(array.shape[1]), _side(shape[1])
  resized = jax.image.resize(
    array.reshape(len(array), old, old, -1).astype(np.float32),
    (len(array), new, new, array.shape[2]),
    method="cubic",
    antialias=False,
    precision=jax.lax.Precision.HIGHEST,
  )
  return np.reshape(resized, shape)


# (regex of parameters below the tower, rule) of each.
Rules = tuple[tuple[str, mapping.Resize], ...]


def _vit(config: Any) -> Rules:
  return (
    ("position", resize_grid(int(config.pool == "cls"))),
    ("patch/kernel", resize_patches),
  )


def _resnet(config: Any) -> Rules:
  del config
  return (("position", resize_grid(1)),)  # the mean has one


def _transformer(config: Any) -> Rules:
  # With "cls", the last position is that of the learned token.
  return () if config.pool == "cls" else (("position", resize_length),)


def _bert(config: Any) -> Rules:
  del config
  return (("position", resize_length),)


def _swin(config: Any) -> Rules:
  del config
  return ((r"stages/\d+/blocks/attn/relative_position", resize_relative),)


# Tower -> function from its config to the rules of the parameters whose shape
# depends on the size of images or the length of texts. A tower that is not
# here has none.
TOWERS: Mapping[str, Callable[[Any], Rules]] = types.MappingProxyType(
  {
    "vit": _vit,
    "resnet": _resnet,
    "swin": _swin,
    "transformer": _transformer,
    "bert": _bert,
  }
)


def rule_of(
  model: dual_encoder.ModelConfig, path: str
) -> mapping.Resize | None:
  """Return the function that resizes a parameter; None if it has one size.

  Args:
    model: config of the model.
    path: path of the parameter, as "img/position".
  """
  side, _, below = path.partition("/")
  tower = {"img": model.image, "txt": model.text}.get(side)
  if tower is None or tower.tower not in TOWERS:
    return None
  rules = TOWERS[tower.tower](tower)
  return next((x for regex, x in rules if re.fullmatch(regex, below)), None)


def _side(count: int) -> int:
  side = math.isqrt(count)
  if side * side != count:
    raise ValueError(
      f"image positions can be resized from a square grid to another; got"
      f" {count} positions"
    )
  return side
