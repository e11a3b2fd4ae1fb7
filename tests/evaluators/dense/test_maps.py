"""Masks and depths: values, sizes and kinds of files, and resizing."""

import doctest
import io
import zlib

import numpy as np
import pytest
from PIL import Image

from evaluators.dense import dense_set, maps

CLASSES = dense_set.Classes(("background", "cat", "dog"), void=(255,))
ADE = dense_set.Classes(("wall", "sky", "tree"), first=1)
DEPTHS = dense_set.Depths(1000.0)
VALUES = np.array([[0, 1, 2], [2, 255, 0]], np.uint8)


def png(image, **options):
  buffer = io.BytesIO()
  image.save(buffer, format="PNG", **options)
  return buffer.getvalue()


def palette(values):
  """Return a picture of mode P, whose colours say nothing about indices."""
  image = Image.new("P", values.shape[::-1])
  image.putdata(values.ravel().tolist())
  image.putpalette([255 - i // 3 for i in range(768)])
  return image


def test_examples():
  results = doctest.testmod(maps)
  assert results.attempted >= 2
  assert not results.failed


@pytest.mark.parametrize(
  "image",
  [
    palette(VALUES),
    Image.fromarray(VALUES),
    Image.fromarray(VALUES.astype(np.uint16)),
  ],
  ids=["palette", "grey", "16 bits"],
)
def test_labels_are_indices(image):
  labels = maps.read_labels("a.png", png(image), CLASSES, (2, 3))
  assert labels.tolist() == [[0, 1, 2], [2, -1, 0]]


def test_a_palette_of_few_bits_is_read_as_indices():
  values = np.array([[0, 1, 2]], np.uint8)
  data = png(palette(values), bits=2)
  assert data[24] == 2
  labels = maps.read_labels("a.png", data, CLASSES, (1, 3))
  assert labels.tolist() == [[0, 1, 2]]


def test_values_below_the_first_are_void():
  data = png(Image.fromarray(np.array([[0, 1, 3]], np.uint8)))
  labels = maps.read_labels("a.png", data, ADE, (1, 3))
  assert labels.tolist() == [[-1, 0, 2]]


@pytest.mark.parametrize(
  ("data", "shape", "message"),
  [
    (png(Image.fromarray(VALUES)), (3, 2), "a.png must have the size of its"),
    (
      png(Image.fromarray(np.array([[0, 3, 9]], np.uint8))),
      (1, 3),
      "a.png: values must be 0 to 2 of the 3 classes, or void \\(255\\); got"
      " 3, 9",
    ),
    (png(Image.new("RGB", (3, 2))), (2, 3), "a.png must be a PNG of a palette"),
    (b"no picture", (2, 3), "a.png is no intact picture"),
    (png(Image.fromarray(VALUES))[:50], (2, 3), "a.png is no intact picture"),
  ],
)
def test_masks_that_are_none_are_refused(data, shape, message):
  with pytest.raises(ValueError, match=message):
    maps.read_labels("a.png", data, CLASSES, shape)


def test_grey_values_that_pillow_stretches_are_refused():
  data = bytearray(png(palette(np.array([[0, 1, 2]], np.uint8)), bits=2))
  # The same picture as one of grey values: without its palette, of kind 0.
  start = data.index(b"PLTE") - 4
  length = int.from_bytes(data[start : start + 4], "big") + 12
  del data[start : start + length]
  data[25] = 0
  data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
  with pytest.raises(ValueError, match="with 2 bits a channel"):
    maps.read_labels("a.png", bytes(data), CLASSES, (1, 3))


def test_depths_are_in_metres_and_none_beyond_the_bounds():
  values = np.array([[0, 1, 2, 1500, 9999, 10000, 65535]], np.uint16)
  data = png(Image.fromarray(values))
  metres = maps.read_metres("d.png", data, DEPTHS, (1, 7))
  expected = np.array([[0, 0, 0.002, 1.5, 9.999, 0, 0]], np.float32)
  np.testing.assert_array_equal(metres, expected)
  assert metres.dtype == np.float32


def test_depths_of_8_bits_are_refused():
  with pytest.raises(
    ValueError, match="d.png must be a PNG of grey values of 16"
  ):
    maps.read_metres("d.png", png(Image.fromarray(VALUES)), DEPTHS, (2, 3))


@pytest.mark.parametrize("size", [(5, 9), (7, 3), (13, 20)])
def test_nearest_is_pillows(size):
  values = np.arange(7 * 11, dtype=np.uint8).reshape(7, 11)
  pillow = Image.fromarray(values).resize(size[::-1], Image.Resampling.NEAREST)
  np.testing.assert_array_equal(maps.nearest(values, *size), np.asarray(pillow))


def test_bilinear_weights_place_a_ramp():
  """Linear interpolation keeps a ramp but for half a pixel at the ends."""
  centres = (np.arange(4) + 0.5) / 4
  enlarged = maps.bilinear(12, 4) @ centres
  expected = np.clip((np.arange(12) + 0.5) / 12, centres[0], centres[-1])
  # Weights are float32.
  np.testing.assert_allclose(enlarged, expected, rtol=1e-6)
  np.testing.assert_allclose(maps.bilinear(3, 8).sum(axis=1), 1, rtol=1e-6)
