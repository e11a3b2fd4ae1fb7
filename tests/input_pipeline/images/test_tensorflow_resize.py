"""TensorFlow's formulas, by hand; tests/evaluators has what TensorFlow made."""

import jax
import numpy as np
import pytest

from input_pipeline.images import tensorflow_resize

SHAPES = [((50, 70), (32, 40)), ((20, 33), (32, 40)), ((40, 40), (40, 40))]


def _whole(image, shape, interpolation):
  """Return a whole resized image, its shorter side at a time."""
  size = min(shape)
  rows = [
    tensorflow_resize.cut_resized(
      image, shape, (0, left), size=size, interpolation=interpolation
    )
    for left in (0, max(shape) - size)
  ]
  return np.concatenate([rows[0], rows[1][:, 2 * size - max(shape) :]], axis=1)


@pytest.mark.parametrize(("before", "after"), SHAPES)
def test_bilinear_is_jax_s_without_antialiasing(before, after):
  image = np.random.default_rng(0).integers(0, 256, (*before, 3), np.uint8)
  expected = jax.image.resize(
    image.astype(np.float32), (*after, 3), "linear", antialias=False
  )
  # Sums of two products of float32, up to 255: 4 roundings of 2 ** -17.
  low, high = (np.floor(np.asarray(expected) + sign * 1e-4) for sign in (-1, 1))
  got = _whole(image, after, "tf_bilinear")
  assert ((got >= low) & (got <= high)).all()


def _area_by_hand(image, length):
  """Return means of the rows, each pixel weighted by what it covers."""
  scale = len(image) / length
  weights = np.zeros((length, len(image)))
  for row in range(length):
    for i in range(len(image)):
      covered = min(i + 1, (row + 1) * scale) - max(i, row * scale)
      weights[row, i] = max(covered, 0) / scale
  return np.tensordot(weights, image, 1)


@pytest.mark.parametrize(("before", "after"), SHAPES)
def test_area_by_hand(before, after):
  image = np.random.default_rng(0).integers(0, 256, (*before, 3), np.uint8)
  rows = _area_by_hand(image.astype(np.float64), after[0])
  exact = np.swapaxes(_area_by_hand(np.swapaxes(rows, 0, 1), after[1]), 0, 1)
  # Fractions are cut off.
  np.testing.assert_array_equal(
    _whole(image, after, "tf_area"), np.floor(np.round(exact, 6))
  )


@pytest.mark.parametrize("interpolation", tensorflow_resize.FILTERS)
def test_a_cut_is_a_part_of_the_whole(interpolation):
  image = np.random.default_rng(0).integers(0, 256, (90, 60, 3), np.uint8)
  whole = _whole(image, (40, 50), interpolation)
  cut = tensorflow_resize.cut_resized(
    image, (40, 50), (7, 11), size=20, interpolation=interpolation
  )
  np.testing.assert_array_equal(cut, whole[7:27, 11:31])


@pytest.mark.parametrize("interpolation", tensorflow_resize.FILTERS)
@pytest.mark.parametrize("value", [0, 1, 3, 200, 255])
def test_one_colour_stays(interpolation, value):
  image = np.full((333, 500, 3), value, np.uint8)
  cut = tensorflow_resize.cut_resized(
    image, (298, 447), (37, 111), size=224, interpolation=interpolation
  )
  assert (cut == value).all()


@pytest.mark.parametrize("interpolation", tensorflow_resize.FILTERS)
def test_a_strip_that_would_not_fit_in_memory(interpolation):
  image = np.zeros((1, 40_000, 3), np.uint8)
  image[:, 20_000:] = 200
  cut = tensorflow_resize.cut_resized(
    *(image, (298, 298 * 40_000), (37, 149 * 40_000 - 112)),
    size=224,
    interpolation=interpolation,
  )
  row = cut[0, :, 0].astype(int)
  assert (cut == cut[:1, :, :1]).all()
  assert (np.diff(row) >= 0).all()
  assert row[0] < 100 < row[-1] or (row[:112] == 0).all()
