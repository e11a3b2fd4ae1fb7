"""Perceptual hashes of images: 64 bits that small changes of an image keep.

The DCT hash: the image in grey at 32 x 32, the 8 x 8 lowest frequencies of its
two-dimensional DCT-II, a bit for each that is above their median; row by row,
the first in the highest bit. The number equals the hex digits of
`imagehash.phash`, save for coefficients that lie within rounding of the median,
and for transparent images, which are put on white here.

Cosines are integers of COSINE_BITS bits, so that a hash depends neither on the
machine nor on the other images of a batch, and images of one colour all hash
alike (black to 0, all others to their mean), where floats leave noise.
"""

import numpy as np
from PIL import Image

from input_pipeline.images import image_ops

SIDE = 32
LOW = 8
# 8 bits of grey, 2 sums of 32 and 2 cosines: 8 + 5 + 5 + 2 * 20 < 63 bits.
COSINE_BITS = 20
NUM_BITS = LOW * LOW


def grey(data: bytes) -> np.ndarray:
  """Decode to grey levels, uint8 [32, 32].

  Raises:
    faults.ExampleError: the bytes are no image.
  """
  image = Image.fromarray(image_ops.decode(data)).convert("L")
  return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def hashes(grey_NYX: np.ndarray) -> np.ndarray:
  """Return uint64 [N] of grey levels [N, 32, 32]."""
  cosine_FX = _cosines()
  low_NFX = np.einsum("fy,nyx->nfx", cosine_FX, grey_NYX.astype(np.int64))
  low_NFG = np.einsum("gx,nfx->nfg", cosine_FX, low_NFX)
  flat = low_NFG.reshape(-1, NUM_BITS)
  ordered = np.sort(flat, axis=1)
  # The median is the mean of the middle two; doubled, it is not rounded.
  middle = ordered[:, NUM_BITS // 2 - 1] + ordered[:, NUM_BITS // 2]
  bits = 2 * flat > middle[:, None]
  return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def _cosines() -> np.ndarray:
  """Return int64 [8, 32]: the DCT-II's lowest rows."""
  angles = np.outer(np.arange(LOW), 2 * np.arange(SIDE) + 1)
  cosines = np.cos(np.pi * angles / (2 * SIDE))
  return np.round(cosines * (1 << COSINE_BITS)).astype(np.int64)
