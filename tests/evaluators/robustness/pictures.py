"""Pictures drawn with whole numbers, the same on every machine."""

import numpy as np


def picture(height: int, width: int) -> np.ndarray:
  """Return uint8 [height, width, 3]: waves, a disc, squares, two corners."""
  y, x = np.mgrid[:height, :width]
  red = (x * x + 3 * y * y) // (4 + height // 16) % 256
  disc = (5 * x - 2 * width) ** 2 + (5 * y - 3 * height) ** 2 < 2 * height**2
  green = 200 * disc + 40 * x // width
  squares = (8 * x // width + 8 * y // height) % 2
  blue = 170 * squares + 60 * y // height
  image = np.stack([red, green, blue], axis=-1).astype(np.uint8)
  image[: height // 8, : width // 8] = 0
  image[-(height // 8) :, -(width // 8) :] = 255
  return image


def textures(side: int) -> tuple[np.ndarray, ...]:
  """Return two uint8 textures, one larger than the other, not square."""
  return tuple(
    picture(side + more, side + 2 * more)[::-1].copy() for more in (8, 40)
  )
