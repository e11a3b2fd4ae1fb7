import io

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as np_strategies
from PIL import Image

from input_pipeline.images import image_ops

IMAGES = strategies.tuples(
  strategies.integers(1, 24), strategies.integers(1, 24)
).flatmap(lambda shape: np_strategies.arrays(np.uint8, (*shape, 3)))
SEEDS = strategies.integers(0, 2**32)
SCALES = strategies.lists(
  strategies.floats(0.05, 3.0), min_size=2, max_size=2
).map(lambda pair: tuple(sorted(pair)))


def _encode(image: Image.Image, form: str = "PNG", **options) -> bytes:
  buffer = io.BytesIO()
  image.save(buffer, form, **options)
  return buffer.getvalue()


def _rng(seed: int = 0) -> np.random.Generator:
  return np.random.default_rng(seed)


@hypothesis.given(IMAGES)
def test_decode_png_is_exact(image):
  got = image_ops.decode(_encode(Image.fromarray(image)))
  np.testing.assert_array_equal(got, image)
  assert got.dtype == np.uint8


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_decode_other_formats(form):
  image = Image.new("RGB", (20, 10), (200, 100, 50))
  got = image_ops.decode(_encode(image, form, quality=95))
  assert got.shape == (10, 20, 3)
  # Both codecs keep a flat colour within a few levels.
  assert np.abs(got.astype(int) - (200, 100, 50)).max() <= 4


@pytest.mark.parametrize(
  ("mode", "colour", "expected"),
  [
    ("RGBA", (0, 0, 0, 0), 255),  # transparent black shows the white below
    ("RGBA", (0, 0, 0, 51), 204),  # 0.2 black on white
    ("RGBA", (7, 7, 7, 255), 7),
    ("LA", (0, 0), 255),
    ("L", 9, 9),
    ("1", 1, 255),
    ("I;16", 0x80FF, 0x80),
    ("CMYK", (0, 0, 0, 255), 0),
  ],
)
def test_decode_modes(mode, colour, expected):
  form = "TIFF" if mode == "CMYK" else "PNG"
  got = image_ops.decode(_encode(Image.new(mode, (4, 3), colour), form))
  np.testing.assert_array_equal(got, np.full((3, 4, 3), expected, np.uint8))


def test_decode_transparent_palette():
  image = Image.new("P", (2, 2), 1)
  image.putpalette([255, 0, 0, 0, 0, 255])
  got = image_ops.decode(_encode(image, transparency=1))
  np.testing.assert_array_equal(got, np.full((2, 2, 3), 255, np.uint8))


def test_decode_refuses_what_is_no_image():
  with pytest.raises(ValueError, match="cannot decode image of 4 bytes"):
    image_ops.decode(b"text")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_decode_refuses_a_cut_file(form):
  noise = Image.fromarray(_rng().integers(0, 256, (32, 32, 3), np.uint8))
  data = _encode(noise, form)
  with pytest.raises(ValueError, match="cannot decode image"):
    image_ops.decode(data[: len(data) // 2])


def test_decode_refuses_too_many_pixels(monkeypatch):
  data = _encode(Image.new("1", (9000, 9000)))
  assert len(data) < 20_000
  with pytest.raises(ValueError, match="9000 x 9000 .* at most 64000000"):
    image_ops.decode(data)


def _random_crop(image, rng, *, size, scale):
  square = image_ops.draw_square(*image.shape[:2], rng, scale=scale)
  return image_ops.cut_square(image, square, size)


@hypothesis.given(IMAGES, SEEDS, SCALES, strategies.integers(1, 16))
def test_random_crop(image, seed, scale, size):
  def crop(seed):
    return _random_crop(image, _rng(seed), size=size, scale=scale)

  got = crop(seed)
  assert got.shape == (size, size, 3)
  assert got.dtype == np.uint8
  np.testing.assert_array_equal(got, crop(seed))


@hypothesis.given(SEEDS, SCALES, strategies.integers(1, 16))
def test_random_crop_of_white_is_white(seed, scale, size):
  # Neither canvas nor resampling brings in another colour.
  image = np.full((12, 17, 3), 255, np.uint8)
  got = _random_crop(image, _rng(seed), size=size, scale=scale)
  assert got.min() == 255


@hypothesis.given(SEEDS)
def test_random_crop_at_scale_one_changes_nothing(seed):
  image = _rng(1).integers(0, 256, (16, 16, 3), np.uint8)
  got = _random_crop(image, _rng(seed), size=16, scale=(1.0, 1.0))
  np.testing.assert_array_equal(got, image)


@hypothesis.given(SEEDS)
def test_random_crop_above_one_keeps_the_whole_image(seed):
  # A black square of 16 on a canvas of 32, no resampling: its area is kept.
  image = np.zeros((16, 16, 3), np.uint8)
  got = _random_crop(image, _rng(seed), size=32, scale=(2.0, 2.0))
  assert got.shape == (32, 32, 3)
  # Placed at a fraction of a pixel, its borders are grey; the sum stays.
  darkness = (255 - got[..., 0].astype(float)).sum() / 255
  assert darkness == pytest.approx(16 * 16, rel=0.02)


def test_random_crop_places_differ():
  image = np.zeros((16, 16, 3), np.uint8)
  crops = {
    _random_crop(image, _rng(seed), size=32, scale=(2.0, 2.0)).tobytes()
    for seed in range(20)
  }
  assert len(crops) == 20


def test_random_crop_below_one_cuts():
  # Each column has its own level, so a crop shows where it was taken.
  image = np.broadcast_to(
    np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], (64, 64, 3)
  )
  lefts = []
  for seed in range(50):
    got = _random_crop(image, _rng(seed), size=32, scale=(0.5, 0.5))
    # 32 columns to 32 pixels: 124 levels from the first to the last.
    assert int(got[0, -1, 0]) - int(got[0, 0, 0]) == pytest.approx(124, abs=3)
    lefts.append(got[0, 0, 0] / 4)
  assert min(lefts) < 4
  assert max(lefts) > 28


def test_resize_is_antialiased():
  # A checkerboard of single pixels shrinks to grey, not to black or white.
  image = np.indices((64, 64)).sum(0) % 2 * 255
  image = np.repeat(image[..., None], 3, -1).astype(np.uint8)
  got = image_ops.resize(image, 8).astype(int)
  assert np.abs(got - 127).max() <= 2


@hypothesis.given(IMAGES, SEEDS)
def test_random_flip(image, seed):
  def flip(probability):
    return image_ops.random_flip(image, _rng(seed), probability=probability)

  np.testing.assert_array_equal(flip(0.0), image)
  np.testing.assert_array_equal(flip(1.0), image[:, ::-1])


def test_random_flip_probability():
  image = np.array([[[0, 0, 0], [1, 1, 1]]], np.uint8)
  rng = _rng()
  flips = [
    image_ops.random_flip(image, rng, probability=0.3)[0, 0, 0]
    for _ in range(2000)
  ]
  # Five standard deviations of a binomial share: 0.051.
  assert np.mean(flips) == pytest.approx(0.3, abs=0.051)
