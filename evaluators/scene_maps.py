"""Map of a large picture for texts: how alike each of its tiles is.

CLIP-RSICD's demo finds a feature in an aerial picture so: the picture is cut
into tiles, each is embedded as a picture of its own and compared with the text.
Here tiles overlap, and a place has the mean of the tiles that cover it.
"""

import math
from collections.abc import Callable

import numpy as np

from evaluators import saliency
from runtime import checks


def tiles(
  embed_fn: saliency.EmbedFn,
  image_YXC: np.ndarray,
  ztxt_TE: np.ndarray,
  *,
  tile: int,
  stride: int,
  num_at_once: int,
  shape: tuple[int, int],
  advance: Callable[[int], None] = lambda number: None,
) -> tuple[np.ndarray, np.ndarray]:
  """Return the map of each text, and the similarities of the tiles.

  Args:
    embed_fn: function that embeds tiles, uint8 [n, tile, tile, 3].
    image_YXC: uint8 [H, W, 3], the whole picture.
    ztxt_TE: float32 of length 1.
    tile: side of a tile, in pixels of the picture.
    stride: distance of two tiles; the last ones touch the edge.
    num_at_once: tiles that are embedded together.
    shape: height and width of the maps, at most those of the picture.
    advance: called with the number of tiles after each part.

  Returns:
    float32 [T, *shape], cosine similarities, and float32 [M, T].
  """
  height, width = image_YXC.shape[:2]
  checks.between("the side of a tile", tile, 1, min(height, width))
  checks.between("the stride of tiles", stride, 1, tile)
  corners = _corners(height, width, tile, stride)
  parts = []
  for start in range(0, len(corners), num_at_once):
    some = corners[start : start + num_at_once]
    crops = [
      image_YXC[top : top + tile, left : left + tile] for top, left in some
    ]
    parts.append(embed_fn(np.stack(crops)) @ ztxt_TE.T)
    advance(len(some))
  sim_MT = np.concatenate(parts)
  heat_TYX = np.zeros((len(ztxt_TE), *shape), np.float32)
  count_YX = np.zeros(shape, np.float32)
  down, across = shape[0] / height, shape[1] / width
  for (top, left), sim_T in zip(corners, sim_MT, strict=True):
    rows = _pixels(top, top + tile, down)
    columns = _pixels(left, left + tile, across)
    heat_TYX[:, rows, columns] += sim_T[:, None, None]
    count_YX[rows, columns] += 1
  return heat_TYX / count_YX, sim_MT


def num_tiles(height: int, width: int, *, tile: int, stride: int) -> int:
  """Return the number of tiles that `tiles` makes of a picture."""
  return len(_corners(height, width, tile, stride))


def _corners(
  height: int, width: int, tile: int, stride: int
) -> list[tuple[int, int]]:
  """Return top and left of the tiles of a picture."""
  return [
    (top, left)
    for top in saliency.starts(height, tile, stride)
    for left in saliency.starts(width, tile, stride)
  ]


def _pixels(start: int, stop: int, factor: float) -> slice:
  """Return the pixels of a map, at least one, of a part of the picture's axis.

  Parts that cover the axis have pixels that cover the map's.
  """
  first = math.floor(start * factor + 1e-6)
  return slice(first, max(round(stop * factor), first + 1))
