"""Colour operations against torchvision's, and what is drawn for them."""

import numpy as np
import pytest
from PIL import Image

from input_pipeline.images import colour_ops, rand_augment
from tests.input_pipeline.images.golden import make_augmented

# Operations of ours that golden/make_augmented.py has torchvision's of.
_OURS = {
  "adjust_brightness": colour_ops.adjust_brightness,
  "adjust_contrast": colour_ops.adjust_contrast,
  "adjust_saturation": colour_ops.adjust_saturation,
  "adjust_hue": colour_ops.adjust_hue,
  "to_grayscale": lambda image, channels: colour_ops.to_gray(image),
}
# Magnitudes at which RandAugment's operations do what torchvision was asked to.
_RANDAUG = {
  "posterize": ("Posterize", 1.0),
  "solarize": ("Solarize", 0.5),
  "autocontrast": ("AutoContrast", 1.0),
  "equalize": ("Equalize", 1.0),
  "invert": ("Invert", 1.0),
  "adjust_sharpness": ("Sharpness", 1.0),
}


def _rng(seed: int = 0) -> np.random.Generator:
  return np.random.default_rng(seed)


@pytest.mark.parametrize("name", make_augmented.CHANGES)
def test_equals_torchvision(name):
  function, *arguments = make_augmented.CHANGES[name]
  with np.load(
    make_augmented.FOLDER / "torchvision_images.npz", allow_pickle=False
  ) as golden:
    for number, array in enumerate(make_augmented.images()):
      image = Image.fromarray(array)
      if function in _OURS:
        got = _OURS[function](image, *arguments)
      else:
        op, level = _RANDAUG[function]
        got = rand_augment.OPS[op](image, level, _rng())
      expected = golden[f"{name}_{number}"].astype(int)
      # Another version of Pillow may round another way: 1 level.
      assert np.abs(np.asarray(got) - expected).max() <= 1
      assert np.abs(array - expected).max() > 1, "the golden can tell"


def _noise() -> Image.Image:
  return Image.fromarray(_rng(1).integers(0, 256, (8, 8, 3), np.uint8))


@pytest.mark.parametrize(
  ("strength", "highest"),
  [((0.4, 0, 0, 0), 140), ((0, 0, 0.4, 0), 100), ((0, 0, 0, 0.2), 100)],
)
def test_jitter_draws_its_range(strength, highest):
  grey = Image.new("RGB", (1, 1), (100, 100, 100))
  levels = [
    np.asarray(colour_ops.random_jitter(grey, _rng(seed), strength)).max()
    for seed in range(200)
  ]
  # Some of 200 draws lie within 5 % of either end: fails once in 10**4.
  assert max(levels) <= highest
  assert max(levels) >= highest - 4
  assert min(levels) >= 200 - highest
  assert min(levels) <= 200 - highest + 4


def test_jitter_orders_differ_and_draw_as_documented():
  strength = (0.4, 0.4, 0.4, 0.1)
  made = {
    np.asarray(
      colour_ops.random_jitter(_noise(), _rng(seed), strength)
    ).tobytes()
    for seed in range(20)
  }
  assert len(made) == 20
  rng, expected = _rng(3), _rng(3)
  colour_ops.random_jitter(_noise(), rng, (0.4, 0.0, 0.4, 0.1))
  expected.permutation(4)
  for _ in range(3):
    expected.random()
  assert rng.random() == expected.random()


def test_jitter_of_nothing_changes_nothing():
  got = colour_ops.random_jitter(_noise(), _rng(), (0.0, 0.0, 0.0, 0.0))
  np.testing.assert_array_equal(got, _noise())


def test_blur_spreads_a_point_by_sigma():
  image = Image.new("RGB", (61, 61))
  image.putpixel((30, 30), (255, 255, 255))
  # A point of 255 is too dark once it is spread: a flat square, its shadow.
  image.paste((255, 255, 255), (26, 26, 35, 35))
  got = np.asarray(colour_ops.blur(image, 2.0))[..., 0].astype(float)
  place = np.arange(61) - 30
  variance = (got.sum(0) * place**2).sum() / got.sum()
  # Sum of the variances of a box of 9 and of the blur; levels are rounded.
  assert variance == pytest.approx((9**2 - 1) / 12 + 2.0**2, rel=0.05)
