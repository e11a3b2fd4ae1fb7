"""Augmentations beside torchvision's, on Pillow's images and on tensors."""

import functools

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional

from input_pipeline.images import cropping, warping
from tests.input_pipeline.images import augmentations, encoded

BILINEAR = transforms.InterpolationMode.BILINEAR
BICUBIC = transforms.InterpolationMode.BICUBIC
PLIP = {
  "degrees": 10.0,
  "translate": (0.1, 0.1),
  "scale": (0.8, 1.2),
  "shear": (15.0, 15.0),
  "distortion": 0.3,
  "perspective_probability": 0.3,
}


def _noise(height: int, width: int, seed: int = 0) -> np.ndarray:
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (height, width, 3), np.uint8)


def _photo(height: int, width: int, seed: int = 0) -> np.ndarray:
  """Return smooth colours with some edges."""
  small = Image.fromarray(_noise(height // 16, width // 16, seed))
  return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def _difference(got: np.ndarray, expected: object) -> np.ndarray:
  return np.abs(got.astype(int) - np.asarray(expected))


@pytest.mark.parametrize("seed", range(10))
def test_affine(seed):
  """Equal to the bit, as Pillow has the same matrix."""
  rng = np.random.default_rng(seed)
  image = _noise(*(int(side) for side in rng.integers(30, 250, 2)))
  angle, scale = rng.uniform(-180, 180), rng.uniform(0.5, 2)
  shear, shift = rng.uniform(-30, 30, 2).tolist(), rng.integers(-9, 10, 2)
  expected = functional.affine(
    *(Image.fromarray(image), angle, shift.tolist(), scale, shear),
    interpolation=BILINEAR,
    fill=127,
  )
  matrix = warping.affine(
    *image.shape[:2],
    degrees=angle,
    translation=tuple(shift),
    scale=scale,
    shear=tuple(shear),
  )
  np.testing.assert_array_equal(warping.warp(image, matrix, 127), expected)


@pytest.mark.parametrize("seed", range(10))
def test_perspective(seed):
  """A level apart, and at the edge a pixel: torchvision's matrix is float32."""
  torch.manual_seed(seed)
  image = _photo(224, 200, seed)
  start, end = transforms.RandomPerspective.get_params(200, 224, 0.5)
  expected = functional.perspective(
    Image.fromarray(image), start, end, BILINEAR, fill=127
  )
  matrix = warping.perspective(np.array(start), np.array(end))
  got = warping.warp(image, matrix, 127)
  difference = _difference(got, expected)
  assert (difference > 0).mean() < 1e-3
  assert (difference > 1).mean() < 2e-4


def test_draws():
  """Means and deviations of 4,000 draws, within five standard errors."""
  size, num = (120, 90), 4000  # width, height
  config, rng = warping.WarpConfig(**PLIP), np.random.default_rng(0)
  torch.manual_seed(0)
  theirs, ours = [], []
  centre = np.array([*size, 2]) / 2
  for _ in range(num):
    angle, shift, scale, shear = transforms.RandomAffine.get_params(
      (-10.0, 10.0), (0.1, 0.1), (0.8, 1.2), (-15.0, 15.0, -15.0, 15.0), size
    )
    theirs.append(
      warping.affine(
        *size[::-1], degrees=angle, translation=shift, scale=scale, shear=shear
      )
    )
    ours.append(warping.draw_affine(*size[::-1], rng, config))
  # The linear part, and where the centre comes from.
  for matrices in (theirs, ours):
    matrices[:] = [np.append(m[:2, :2], (m @ centre)[:2]) for m in matrices]
  _assert_same_moments(np.array(ours), np.array(theirs))
  theirs, ours = [], []
  corners = np.array([[0, 0], [119, 0], [119, 89], [0, 89]])
  points = np.append(corners, np.ones((4, 1)), 1).T
  for _ in range(num):
    _, end = transforms.RandomPerspective.get_params(*size, 0.3)
    theirs.append(np.ravel(end))
    matrix = warping.draw_perspective(*size[::-1], rng, 0.3)
    x, y, w = np.linalg.inv(matrix) @ points
    ours.append(np.stack([x / w, y / w], 1).ravel())
  _assert_same_moments(np.array(ours), np.array(theirs))


def _assert_same_moments(ours: np.ndarray, theirs: np.ndarray) -> None:
  std, num = theirs.std(0), len(theirs)
  error = std * (2 / num) ** 0.5
  assert (np.abs(ours.mean(0) - theirs.mean(0)) <= 5 * error).all()
  # The standard error of a deviation is at most 1 / sqrt(2 num) of it.
  np.testing.assert_allclose(ours.std(0), std, rtol=5 / num**0.5)


@pytest.mark.parametrize(
  ("fields", "function", "arguments"),
  [
    ({"flip_probability": 1.0}, "hflip", ()),
    ({"vertical_flip_probability": 1.0}, "vflip", ()),
    ({"quarter_turns": True}, "rotate", (90, 180, 270)),
  ],
)
def test_mirrors_and_turns(fields, function, arguments):
  image = _noise(48, 48)
  data = encoded.by_pillow(Image.fromarray(image), "PNG")
  made = augmentations.make(resize="squash", **fields)
  got = {
    made.apply(data, 48, np.random.default_rng(seed))["images"].tobytes()
    for seed in range(30)
  }
  call, pillow = getattr(functional, function), Image.fromarray(image)
  expected = [call(pillow, a) for a in arguments] or [call(pillow)]
  if arguments:
    expected.append(pillow)
  assert got == {np.asarray(x).tobytes() for x in expected}


@pytest.mark.parametrize("shape", [(224, 224), (500, 300)])
@pytest.mark.parametrize("kind", ["pillow", "tensor"])
def test_the_order_of_clip_rsicd(shape, kind):
  """Its transforms with the numbers that ours draw, one after the other.

  Equal to the bit on Pillow's images. On tensors, as it ran, torchvision
  resizes in other precision: two levels at most.
  """
  section = augmentations.make(
    resize="area",
    pre_crop=179,
    crop_scale=(0.8, 1.2),
    crop_ratio=(1.0, 1.0),
    first_size=179,
    interpolation="bicubic",
    flip_probability=0.5,
    vertical_flip_probability=0.5,
  )
  section.check(224)
  for seed in range(6):
    image = _photo(*shape, seed)
    got = section.apply(
      encoded.by_pillow(Image.fromarray(image), "PNG"),
      224,
      np.random.default_rng(seed),
    )["images"]
    rng = np.random.default_rng(seed)
    top, left = (int(rng.integers(side - 179 + 1)) for side in shape)
    theirs = Image.fromarray(image)
    if kind == "tensor":
      theirs = functional.pil_to_tensor(theirs)
    theirs = functional.crop(theirs, top, left, 179, 179)
    theirs = transforms.ColorJitter()(theirs)
    for mirror in (functional.hflip, functional.vflip):
      theirs = mirror(theirs) if rng.random() < 0.5 else theirs
    box = cropping.area_box(179, 179, rng, scale=(0.8, 1.2), ratio=(1.0, 1.0))
    left, top, right, bottom = box
    theirs = functional.resized_crop(
      theirs, top, left, bottom - top, right - left, [179, 179], BILINEAR
    )
    theirs = functional.resize(theirs, [224], BICUBIC)
    theirs = functional.center_crop(theirs, [224])
    if kind == "tensor":
      theirs = theirs.numpy().transpose(1, 2, 0)
    difference = _difference(got, theirs)
    assert difference.max() <= (0 if kind == "pillow" else 2)
    assert difference.mean() < 0.4


def test_the_order_of_plip():
  """One resampling in place of two, of the same points.

  Without a perspective two levels apart, as our resize is. With one,
  torchvision interpolates and rounds down twice, and loses what its affine
  change moves out of the frame, so only its pixels without fill are compared.
  """
  section = augmentations.make(
    resize="shortest",
    resize_size=512,
    interpolation="bicubic",
    flip_probability=0.5,
    warp=PLIP,
  )
  section.check(224)
  num_perspectives = 0
  for seed in range(8):
    image = _photo(600, 800, seed)
    got = section.apply(
      encoded.by_pillow(Image.fromarray(image), "PNG"),
      224,
      np.random.default_rng(seed),
    )["images"]
    rng = np.random.default_rng(seed)
    whole = functional.resize(Image.fromarray(image), [512], BICUBIC)
    top, left = (int(rng.integers(n - 223)) for n in whole.size[::-1])
    theirs = functional.crop(whole, top, left, 224, 224)
    theirs = functional.hflip(theirs) if rng.random() < 0.5 else theirs
    most = np.array([10, 22.4, 22.4, 1.2, 15, 15])
    low = np.where(most == 1.2, 0.8, -most)
    angle, right, down, scale, *shear = rng.uniform(low, most)
    change = functools.partial(
      _changed,
      numbers=(angle, [round(right), round(down)], scale, shear),
      inwards=rng.integers(0, 34, (4, 2)) if rng.random() < 0.3 else None,
    )
    difference = _difference(got, change(theirs, fill=127))
    if change.keywords["inwards"] is None:
      assert difference.max() <= 2
      assert difference.mean() < 0.1
    else:
      num_perspectives += 1
      white = Image.new("RGB", (224, 224), (255,) * 3)
      is_image = np.asarray(change(white, fill=0)).min(-1) >= 254
      assert is_image.mean() > 0.5
      assert difference[is_image].max() <= 10
      assert difference[is_image].mean() < 0.7
  assert 0 < num_perspectives < 8


def _changed(image, *, fill, numbers, inwards):
  """Return an image after torchvision's affine change and perspective."""
  image = functional.affine(image, *numbers, interpolation=BILINEAR, fill=fill)
  if inwards is None:
    return image
  start = np.array([[0, 0], [223, 0], [223, 223], [0, 223]])
  end = np.abs(start - inwards)
  return functional.perspective(
    image, start.tolist(), end.tolist(), BILINEAR, fill=fill
  )
