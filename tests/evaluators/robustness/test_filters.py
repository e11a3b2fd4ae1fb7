import numpy as np
import pytest
import scipy.ndimage

from evaluators.robustness import blur, filters

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("sigma", [0, 0.3, 2.5, 40])
def test_smooth_field_is_scipys_with_reflection(sigma):
  field = RNG.uniform(-1, 1, (20, 31))
  wanted = scipy.ndimage.gaussian_filter(
    field, sigma, mode="reflect", truncate=3
  )
  # The same sum in another order.
  np.testing.assert_allclose(
    filters.smooth_field(field, sigma), wanted, atol=1e-12
  )


@pytest.mark.parametrize("factor", [1, 1.01, 1.37, 2, 4.5])
def test_zoom_is_scipys(factor):
  image = RNG.uniform(size=(30, 30, 2))
  crop = int(np.ceil(30 / factor))
  start = (30 - crop) // 2
  wanted = scipy.ndimage.zoom(
    image[start : start + crop, start : start + crop],
    (factor, factor, 1),
    order=1,
  )
  trimmed = (len(wanted) - 30) // 2
  wanted = wanted[trimmed : trimmed + 30, trimmed : trimmed + 30]
  np.testing.assert_allclose(filters.zoom(image, factor), wanted, atol=1e-12)


def test_zoom_of_one_pixel_high():
  image = RNG.uniform(size=(2, 9, 1))
  assert filters.zoom(image, 4.5).shape == (2, 9, 1)


@pytest.mark.parametrize("radius", [1, 4])
def test_correlate_mirrors_edges(radius):
  image = RNG.uniform(size=(17, 23, 3))
  kernel = RNG.uniform(size=(radius + 1, radius + 1))
  kernel = np.block([[kernel, np.fliplr(kernel)[:, 1:]]])
  kernel = np.vstack([kernel, np.flipud(kernel)[1:]])
  wanted = scipy.ndimage.correlate(image, kernel[..., None], mode="mirror")
  np.testing.assert_allclose(
    filters.correlate(image, kernel), wanted, atol=1e-10
  )


def test_motion_of_a_point_is_a_line_of_taps():
  image = np.zeros((21, 21, 1), np.uint8)
  image[10, 10] = 255
  # A pixel is the mean of those from it on: the point is drawn out backwards.
  got = filters.motion(image, 2, 1.0, 0.0)[..., 0]
  weight = np.exp(-0.5 * np.arange(5) ** 2)
  weight /= weight.sum()
  wanted = np.zeros((21, 21), np.uint8)
  wanted[10, 6:11] = np.floor(255 * weight[::-1])
  np.testing.assert_array_equal(got, wanted)
  # At -90 degrees it is drawn from the pixel above.
  upright = filters.motion(image, 2, 1.0, -90.0)[..., 0]
  np.testing.assert_array_equal(upright, np.rot90(wanted))
  # At 45 degrees the taps lie at 0, 0.7, 1.4, 2.1 and 2.8 pixels.
  slanted = filters.motion(image, 2, 10.0, 45.0)[..., 0]
  assert list(zip(*np.nonzero(slanted), strict=True)) == [
    (10 - n, 10 - n) for n in (3, 2, 1, 0)
  ]
  assert slanted[9, 9] > 1.9 * slanted[10, 10]


def test_values_are_truncated():
  got = filters.truncated(np.array([-3.0, 0.99, 7 - 1e-9, 7.0, 254.9, 300]))
  np.testing.assert_array_equal(got, [0, 0, 7, 7, 254, 255])
  assert got.dtype == np.uint8


def test_moved_pixels_are_those_of_moves_one_by_one():
  for num_moves in (1, 5, 40):
    pixels = RNG.permutation(60)[:num_moves]
    taken = RNG.integers(0, 60, num_moves)
    values = RNG.uniform(size=60)
    wanted = values.copy()
    for pixel, source in zip(pixels, taken, strict=True):
      wanted[pixel] = wanted[source]
    got = values[blur._sources(pixels, taken, 60)]
    np.testing.assert_array_equal(got, wanted)
