"""Patches of a large image: overlapping squares at several scales.

A scale of 4 stands for the image at a quarter of its size. Of a patch counts
which share of it is set in a mask, as of tumour, and which is not background.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image


def boxes(
  pixels: np.ndarray,
  mask: np.ndarray,
  *,
  side: int,
  overlap: float,
  scales: Sequence[float],
  white: int,
  min_tissue: float,
) -> Iterator[tuple[list[int], float]]:
  """Yield box (left, top, right, bottom) and set share of each patch.

  Args:
    pixels: uint8 [Y, X, 3].
    mask: bool [Y, X].
    side: side of a patch in pixels of its scale.
    overlap: share of the side that neighbours have in common.
    scales: factors of reduction; those at which no patch fits have none.
    white: level from which on a pixel is background, in all three colours.
    min_tissue: least share of a patch that is no background.

  >>> pixels, mask = np.zeros((4, 4, 3), np.uint8), np.eye(4) > 0
  >>> constants = {"scales": (1,), "white": 200, "min_tissue": 0.5}
  >>> list(boxes(pixels, mask, side=2, overlap=0.0, **constants))[0]
  ([0, 0, 2, 2], 0.5)
  """
  image, set_ = Image.fromarray(pixels), Image.fromarray(mask)
  step = side * (1 - overlap)
  for scale in scales:
    size = (round(image.width / scale), round(image.height / scale))
    if min(size) < side:
      continue
    is_white = np.all(np.asarray(image.resize(size)) >= white, axis=2)
    is_set = np.asarray(set_.resize(size, Image.Resampling.NEAREST))
    factor = np.tile(image.size, 2) / np.tile(size, 2)
    for top in np.arange(0, size[1] - side + 1, step).astype(int):
      for left in np.arange(0, size[0] - side + 1, step).astype(int):
        part = slice(top, top + side), slice(left, left + side)
        if 1 - is_white[part].mean() >= min_tissue:
          box = np.array([left, top, left + side, top + side]) * factor
          yield box.round().astype(int).tolist(), float(is_set[part].mean())
