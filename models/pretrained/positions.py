"""Position tables made to fit another resolution."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from models.pretrained import mapping


def resize_grid(num_prefix: int) -> mapping.Resize:
  """Return the resize of image positions, [num_prefix + side * side, D].

  Rows of the prefix (such as the cls token's) stay; the square grid is resized
  by anti-aliased bicubic interpolation, as open_clip does.

  Raises:
    ValueError: by what is returned, where a grid is not square.
  """

  def resize(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    sides = [math.isqrt(n - num_prefix) for n in (len(array), shape[0])]
    rows = [num_prefix + side**2 for side in sides]
    if rows != [len(array), shape[0]] or array.shape[1:] != shape[1:]:
      raise ValueError(
        f"positions of {array.shape} cannot be resized to {shape}: expected"
        f" {num_prefix} rows and a square grid, and the same width"
      )
    prefix, grid = array[:num_prefix], array[num_prefix:]
    resized = jax.image.resize(
      jnp.asarray(grid).reshape(sides[0], sides[0], -1),
      (sides[1], sides[1], grid.shape[-1]),
      "cubic",
      antialias=True,
    )
    return np.concatenate(
      [prefix, np.asarray(resized).reshape(rows[1] - num_prefix, -1)]
    )

  return resize


def resize_length(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """Return the first rows of a table of text positions.

  Raises:
    ValueError: the table has fewer rows than are wanted.
  """
  if len(array) < shape[0] or array.shape[1:] != shape[1:]:
    raise ValueError(
      f"text positions of {array.shape} cannot be cut to {shape}: expected at"
      " least as many rows, and the same width"
    )
  return array[: shape[0]]
