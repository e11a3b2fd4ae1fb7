"""Photographs that scikit-image and scikit-learn carry, and squares of them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

# Photographs that are trained on, and those that are held out.
TRAIN = (
  *("astronaut", "coffee", "motorcycle", "hubble_deep_field", "china"),
  *("immunohistochemistry", "gravel"),
)
TEST = ("chelsea", "rocket", "flower", "grass")
# Shares of a photograph's shorter side that a square has.
_SHARES = (0.4, 1.0)


def read(names: Sequence[str]) -> list[np.ndarray]:
  """Return photographs, uint8 [Y, X, 3]."""
  from skimage import data  # pyrefly: ignore[missing-import]
  from sklearn import datasets

  photos = []
  for name in names:
    if name in ("china", "flower"):
      photo = datasets.load_sample_image(f"{name}.jpg")
    elif name == "motorcycle":
      photo = data.stereo_motorcycle()[0]
    else:
      photo = getattr(data, name)()
    if photo.ndim == 2:
      photo = np.repeat(photo[..., None], 3, axis=2)
    photos.append(np.ascontiguousarray(photo[..., :3]))
  return photos


def square(
  rng: np.random.Generator, photo: np.ndarray, size: int
) -> Image.Image:
  """Return a random square of a photograph, `size` pixels a side."""
  height, width = photo.shape[:2]
  side = int(min(height, width) * rng.uniform(*_SHARES))
  top = int(rng.integers(height - side + 1))
  left = int(rng.integers(width - side + 1))
  part = Image.fromarray(photo[top : top + side, left : left + side])
  return part.resize((size, size), Image.Resampling.BICUBIC)
