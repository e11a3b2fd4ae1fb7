"""Perceptual hashes, equal to the library's, and their invariances."""

import io

import imagehash
import numpy as np
import pytest
from PIL import Image

from curation.rules.duplicates import phash
from input_pipeline import faults


def encoded(seed, image_format, size):
  """Return a file of smooth colours."""
  rng = np.random.default_rng(seed)
  small = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
  file = io.BytesIO()
  image = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
  image.save(file, image_format)
  return file.getvalue()


def test_equals_imagehash():
  files = [
    encoded(seed, image_format, (40 + 7 * seed, 90 - 5 * seed))
    for seed in range(12)
    for image_format in ("JPEG", "PNG")
  ]
  got = phash.hashes(np.stack([phash.grey(file) for file in files]))
  expected = [
    int(str(imagehash.phash(Image.open(io.BytesIO(file)))), 16)
    for file in files
  ]
  assert got.dtype == np.uint64
  assert got.tolist() == expected
  assert len(set(expected)) > 10


def test_a_hash_does_not_depend_on_its_batch():
  grey = np.stack([phash.grey(encoded(n, "PNG", (50, 50))) for n in range(9)])
  whole = phash.hashes(grey)
  alone = [phash.hashes(grey[n : n + 1])[0] for n in range(9)]
  np.testing.assert_array_equal(whole, alone)


def test_images_of_one_colour_are_one_image():
  flat = np.stack(
    [np.full((32, 32), level, np.uint8) for level in (1, 77, 255)]
  )
  assert set(phash.hashes(flat).tolist()) == {1 << 63}
  assert len(phash.hashes(flat[:0])) == 0


def test_what_is_no_image_is_a_fault():
  with pytest.raises(faults.ExampleError):
    phash.grey(b"no image")
