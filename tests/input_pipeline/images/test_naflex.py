"""Images of any shape as patches."""

import numpy as np
import pytest

from input_pipeline.images import naflex


@pytest.mark.parametrize(
  ("size", "patch_size", "max_num_patches", "want"),
  [
    ((480, 640), 16, 256, (224, 288)),
    ((1000, 250), 16, 256, (512, 128)),
    ((224, 224), 16, 256, (256, 256)),
    ((37, 91), 16, 256, (160, 400)),
    ((427, 640), 16, 64, (112, 144)),
    ((427, 640), 16, 576, (304, 464)),
    ((2000, 300), 8, 32, (112, 16)),
    ((1, 4000), 16, 4, (16, 64)),
  ],
)
def test_target_size(size, patch_size, max_num_patches, want):
  """As big_vision and transformers compute them; small images are enlarged."""
  assert naflex.target_size(*size, patch_size, max_num_patches) == want


def test_target_size_is_the_largest():
  rng = np.random.default_rng(0)
  for height, width in rng.integers(20, 2000, (50, 2)):
    rows, columns = (
      side // 16 for side in naflex.target_size(height, width, 16, 256)
    )
    assert rows * columns <= 256
    # A patch of rounding at each side; any more would not have its shape.
    assert abs(rows / height - columns / width) <= max(1 / height, 1 / width)
    larger = max((rows + 1) / height, (columns + 1) / width)
    assert np.ceil(height * larger) * np.ceil(width * larger) > 256


def test_patchify():
  image = np.arange(4 * 6 * 3).reshape(4, 6, 3).astype(np.uint8)
  patches, shape, real = naflex.patchify(image, 2, 8)
  assert patches.dtype == np.uint8
  assert shape.tolist() == [2, 3]
  assert real.tolist() == [True] * 6 + [False] * 2
  np.testing.assert_array_equal(patches[4], image[2:, 2:4].reshape(-1))
  np.testing.assert_array_equal(patches[6:], 0)


def test_a_mirror_is_that_of_the_image():
  rng = np.random.default_rng(0)
  images = [
    rng.integers(0, 256, (rows * 4, columns * 4, 3), np.uint8)
    for rows, columns in ((2, 3), (3, 1), (1, 4))
  ]
  cut = [naflex.patchify(image, 4, 7)[:2] for image in images]
  want = [naflex.patchify(image[:, ::-1], 4, 7)[:2] for image in images]
  before = np.stack([patches for patches, _ in cut])
  got, shapes = naflex.mirrored(before, np.stack([shape for _, shape in cut]))
  np.testing.assert_array_equal(got, np.stack([x for x, _ in want]))
  np.testing.assert_array_equal(shapes, np.stack([x for _, x in want]))
  assert (got != before).any()  # and the images stay


def test_resize():
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (30, 50, 3), np.uint8)
  resized = naflex.resize(image, 4, 64)
  assert resized.shape == (*naflex.target_size(30, 50, 4, 64), 3)
  assert resized.dtype == np.uint8
  flat = np.full((30, 50, 3), 77, np.uint8)
  np.testing.assert_array_equal(naflex.resize(flat, 4, 64), 77)
  np.testing.assert_array_equal(naflex.resize(resized, 4, 64), resized)


@pytest.mark.parametrize(
  ("shape", "message"),
  [
    ((5, 4, 3), "multiples of patch_size=2; got 5 x 4"),
    ((8, 8, 3), "1 to max_num_patches=8 patches; got 4 x 4"),
  ],
)
def test_messages(shape, message):
  with pytest.raises(ValueError, match=message):
    naflex.patchify(np.zeros(shape, np.uint8), 2, 8)
  with pytest.raises(ValueError, match="height must be at least 1; got 0"):
    naflex.target_size(0, 4, 2, 8)
