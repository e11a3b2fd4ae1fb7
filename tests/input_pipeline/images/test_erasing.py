"""A box of noise, of the sizes and levels of the published rule."""

import io

import numpy as np
from PIL import Image

from input_pipeline.images import erasing
from tests.input_pipeline.images import augmentations


def _box(erased: np.ndarray, image: np.ndarray) -> tuple[int, int, int, int]:
  """Return top, left, height and width of what differs."""
  rows, columns = np.nonzero((erased != image).any(-1))
  top, left = rows.min(), columns.min()
  return top, left, rows.max() + 1 - top, columns.max() + 1 - left


def test_boxes_and_noise():
  rng = np.random.default_rng(0)
  image = np.full((60, 90, 3), 44, np.uint8)
  areas, ratios, noise = [], [], []
  for _ in range(300):
    erased = erasing.erase(image, rng)
    top, left, high, wide = _box(erased, image)
    areas.append(high * wide / 5400)
    ratios.append(high / wide)
    inside = erased[top : top + high, left : left + wide]
    noise.append(inside.reshape(-1, 3))
    outside = erased.copy()
    outside[top : top + high, left : left + wide] = image[0, 0]
    np.testing.assert_array_equal(outside, image)
  # Sides are rounded, and noise may equal the image at an edge: one pixel of
  # about 10.
  assert 0.02 * 0.85 < min(areas) < 0.03
  assert 0.3 < max(areas) < 1 / 3 * 1.1
  assert min(ratios) < 0.4 < 2.5 < max(ratios)
  # Levels of red, green and blue: OpenAI's mean 122.8, 116.7, 104.1 and
  # deviation 68.5, 66.6, 70.3, of which cutting off takes a little.
  levels = np.concatenate(noise).astype(float)
  np.testing.assert_allclose(levels.mean(0), [122.8, 116.7, 104.1], atol=4)
  np.testing.assert_allclose(levels.std(0), [68.5, 66.6, 70.3], atol=6)


def test_as_often_as_said():
  rng = np.random.default_rng(0)
  buffer = io.BytesIO()
  Image.new("RGB", (16, 16), (255,) * 3).save(buffer, "PNG")
  white = buffer.getvalue()
  section = augmentations.make(erase_probability=0.35)
  num = sum(
    (section.apply(white, 16, rng)["images"] != 255).any() for _ in range(1000)
  )
  # Five standard deviations of a binomial count: 75.
  assert abs(num - 350) < 75
  assert (augmentations.make().apply(white, 16, rng)["images"] == 255).all()
