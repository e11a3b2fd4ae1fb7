"""Crops against torchvision's: the pixels, and the distribution of boxes."""

import io

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from PIL import Image

from input_pipeline.images import cropping, picture
from tests.input_pipeline.images.golden import make_augmented

SIZE = make_augmented.SIZE


def _rng(seed: int = 0) -> np.random.Generator:
  return np.random.default_rng(seed)


def _png(image: np.ndarray) -> picture.Picture:
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, "PNG")
  return picture.open_picture(buffer.getvalue())


def _assert_close(got: np.ndarray, expected: np.ndarray) -> None:
  # SIMD sums the same weights in another precision: a level, on these images
  # of noise and edges (two at a kernel's end), far below 1 on the average.
  difference = np.abs(got.astype(int) - expected)
  assert difference.max() <= 3
  assert difference.mean() < 0.5


def _resize_and_crop(image, rng, *, size, resize_size, squash, interpolation):
  sides, corner = cropping.draw_resized(
    image, rng, size=size, resize_size=resize_size, squash=squash
  )
  return cropping.cut_resized(
    image, sides, corner, size=size, interpolation=interpolation
  )


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pixels_are_torchvisions(interpolation):
  with np.load(
    make_augmented.FOLDER / "torchvision_images.npz", allow_pickle=False
  ) as golden:
    for number, array in enumerate(make_augmented.images()):
      image = _png(array)
      top, left, high, wide = make_augmented.CROP
      box = picture.Box(left, top, left + wide, top + high)
      got = image.resized(box, SIZE, SIZE, interpolation)
      _assert_close(got, golden[f"resized_crop_{interpolation}_{number}"])
      for name, squash, larger in (("shortest", False, 0), ("squash", True, 7)):
        whole = golden[f"{name}_{interpolation}_{number}"]
        got = _resize_and_crop(
          image,
          _rng(5),
          size=SIZE,
          resize_size=SIZE + larger,
          squash=squash,
          interpolation=interpolation,
        )
        rng = _rng(5)  # top, then left
        top, left = (int(rng.integers(n - SIZE + 1)) for n in whole.shape[:2])
        _assert_close(got, whole[top : top + SIZE, left : left + SIZE])


def test_the_centre_is_taken_without_a_generator():
  image = np.broadcast_to(
    np.arange(0, 200, 5, dtype=np.uint8)[None, :, None], (20, 40, 3)
  )
  got = _resize_and_crop(
    _png(image),
    None,
    size=20,
    resize_size=20,
    squash=False,
    interpolation="bicubic",
  )
  np.testing.assert_array_equal(got, image[:, 10:30])


@pytest.mark.parametrize("height", [1, 3000])
def test_a_strip_takes_no_gigabyte(height):
  """Its crop is as if it were resized whole, to 150 million pixels."""
  levels = np.arange(3000, dtype=np.int64) * 255 // 2999
  strip = np.repeat(levels.astype(np.uint8)[None, :, None], 3, 2)
  image = _png(strip if height == 1 else strip.swapaxes(0, 1))
  got = _resize_and_crop(
    image,
    None,
    size=224,
    resize_size=224,
    squash=False,
    interpolation="bicubic",
  )
  # The centre, where each pixel of 1500 has become 224.
  assert got.shape == (224, 224, 3)
  assert set(np.unique(got)) <= {127, 128}
  drawn = _resize_and_crop(
    image,
    _rng(),
    size=224,
    resize_size=224,
    squash=False,
    interpolation="bicubic",
  )
  assert np.ptp(drawn.astype(int)) <= 1


def test_boxes_are_drawn_as_torchvision_draws():
  with np.load(
    make_augmented.FOLDER / "torchvision_draws.npz", allow_pickle=False
  ) as golden:
    moments = golden["moments"]
  num_draws = 4000
  for ((height, width), scale), (mean, std) in zip(
    make_augmented.DRAWS, moments, strict=True
  ):
    rng = _rng(7)
    boxes = np.array(
      [
        cropping.area_box(height, width, rng, scale=scale, ratio=(3 / 4, 4 / 3))
        for _ in range(num_draws)
      ]
    )
    left, top, right, bottom = boxes.T
    drawn = np.stack([top, left, bottom - top, right - left], 1)
    # Five standard errors of the difference of two means; the spread of such
    # samples differs by a few per cent.
    error = std * (1 / num_draws + 1 / make_augmented.NUM_DRAWS) ** 0.5
    assert (np.abs(drawn.mean(0) - mean) <= 5 * error).all()
    np.testing.assert_allclose(drawn.std(0), std, rtol=0.08, atol=1e-9)


@hypothesis.given(
  strategies.integers(1, 60),
  strategies.integers(1, 60),
  strategies.floats(0.01, 1.0),
  strategies.integers(0, 2**32),
)
def test_boxes_lie_in_the_image(height, width, lowest, seed):
  box = cropping.area_box(
    height, width, _rng(seed), scale=(lowest, 1.0), ratio=(3 / 4, 4 / 3)
  )
  assert 0 <= box.left < box.right <= width
  assert 0 <= box.top < box.bottom <= height
  assert all(isinstance(side, int) for side in box)
