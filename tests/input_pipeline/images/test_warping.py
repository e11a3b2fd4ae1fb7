"""The fused warp beside one resampling in float64, and what is drawn for it."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from input_pipeline.images import warping
from tests.input_pipeline.images import augmentations, encoded

# PLIP's, with a perspective in every image.
PLIP = warping.WarpConfig(
  degrees=10.0,
  translate=(0.1, 0.1),
  scale=(0.8, 1.2),
  shear=(15.0, 15.0),
  distortion=0.3,
  perspective_probability=1.0,
)


def _image(height: int, width: int) -> np.ndarray:
  rng = np.random.default_rng(height)
  return rng.integers(0, 256, (height, width, 3), np.uint8)


def _shifted(x: float, y: float) -> np.ndarray:
  return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def _forward_affine(height, width, degrees, translation, scale, shear):
  """Return where a point goes: factors from torchvision's documentation."""
  a, x, y = np.deg2rad([degrees, *shear])
  x_shear = np.array([[1, -np.tan(x), 0], [0, 1, 0], [0, 0, 1]])
  y_shear = np.array([[1, 0, 0], [-np.tan(y), 1, 0], [0, 0, 1]])
  scaled = np.diag([scale, scale, 1])
  turned = np.array(
    [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
  )
  moved, centre = _shifted(*translation), _shifted(width / 2, height / 2)
  back = _shifted(-width / 2, -height / 2)
  return moved @ centre @ turned @ scaled @ y_shear @ x_shear @ back


def _forward_perspective(corners, moved):
  """Return where points go, as the null space of the direct transform."""
  rows = []
  for (x, y), (u, v) in zip(corners, moved, strict=True):
    rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y, -u]]
    rows += [[0, 0, 0, x, y, 1, -v * x, -v * y, -v]]
  return np.linalg.svd(np.array(rows, float))[2][-1].reshape(3, 3)


def _resampled(image, forward, fill):
  """Return the levels of one bilinear resampling, float64, not rounded."""
  height, width, _ = image.shape
  y, x = np.mgrid[:height, :width] + 0.5
  points = np.linalg.inv(forward) @ [x.ravel(), y.ravel(), np.ones(x.size)]
  x, y = points[:2] / points[2]
  is_inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
  levels = [
    ndimage.map_coordinates(
      image[..., colour].astype(float),
      [y - 0.5, x - 0.5],
      order=1,
      mode="nearest",
    )
    for colour in range(3)
  ]
  levels = np.where(is_inside, levels, fill)
  return levels.T.reshape(image.shape)


@pytest.mark.parametrize("seed", range(12))
def test_equals_one_resampling_with_the_composed_matrix(seed):
  rng = np.random.default_rng(seed)
  height, width = (int(side) for side in rng.integers(20, 80, 2))
  image, fill = _image(height, width), int(rng.integers(256))
  changes = {
    "degrees": rng.uniform(-180, 180),
    "translation": tuple(rng.integers(-9, 10, 2)),
    "scale": rng.uniform(0.5, 2),
    "shear": tuple(rng.uniform(-40, 40, 2)),
  }
  right, bottom = width - 1, height - 1
  corners = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]])
  moved = corners + rng.integers(-5, 6, (4, 2))
  matrix = warping.affine(height, width, **changes)
  matrix = matrix @ warping.perspective(corners, moved)
  forward = _forward_perspective(corners, moved) @ _forward_affine(
    height, width, *changes.values()
  )
  expected = _resampled(image, forward, fill)
  # Pillow rounds down: the levels are less by up to 1.
  lost = expected - warping.warp(image, matrix, fill)
  assert lost.min() > -1e-6
  assert lost.max() < 1 + 1e-6
  assert 0.3 < lost[expected != fill].mean() < 0.7


def test_the_perspective_follows_the_affine_change():
  image = _image(50, 70)
  got = warping.random_warp(image, np.random.default_rng(4), PLIP)
  rng = np.random.default_rng(4)
  forward = np.linalg.inv(warping.draw_affine(50, 70, rng, PLIP))
  rng.random()  # whether there is a perspective
  forward = np.linalg.inv(warping.draw_perspective(50, 70, rng, 0.3)) @ forward
  lost = _resampled(image, forward, 127) - got
  assert lost.min() > -1e-6
  assert lost.max() < 1 + 1e-6


def test_the_identity_is_exact():
  image = _image(31, 48)
  still = warping.affine(
    31, 48, degrees=0.0, translation=(0, 0), scale=1.0, shear=(0.0, 0.0)
  )
  corners = np.array([[0, 0], [47, 0], [47, 30], [0, 30]])
  matrix = still @ warping.perspective(corners, corners)
  np.testing.assert_array_equal(matrix, np.eye(3))
  np.testing.assert_array_equal(warping.warp(image, matrix, 127), image)
  # The resampling itself is exact too, where only fill and image meet.
  np.testing.assert_array_equal(
    warping.warp(image, _shifted(-3, 2), 127)[:-2, 3:], image[2:, :-3]
  )


def test_what_lies_outside_is_fill():
  out = warping.warp(_image(30, 30), _shifted(100, 0), 91)
  assert (out == 91).all()


def test_nothing_is_drawn_when_off():
  rng = np.random.default_rng(0)
  image, before = _image(20, 30), rng.bit_generator.state
  assert warping.random_warp(image, rng, warping.WarpConfig()) is image
  assert rng.bit_generator.state == before


def test_draws_stay_in_their_ranges():
  """And reach them: 200 pixels times 0.1, and 0.3 of 100 and of 50."""
  rng = np.random.default_rng(0)
  shifts = warping.WarpConfig(translate=(0.1, 0.2))
  moves = np.array(
    [warping.draw_affine(100, 200, rng, shifts)[:2, 2] for _ in range(400)]
  )
  np.testing.assert_array_equal(moves, np.rint(moves))
  assert np.abs(moves).max(0).tolist() == [20, 20]
  scales = warping.WarpConfig(scale=(0.5, 2.0))
  drawn = [1 / warping.draw_affine(9, 9, rng, scales)[0, 0] for _ in range(400)]
  assert 0.5 <= min(drawn) < 0.52 < 1.98 < max(drawn) <= 2
  corners = np.array([[0, 0], [199, 0], [199, 99], [0, 99], [0, 0]])
  reached = []
  for _ in range(400):
    matrix = warping.draw_perspective(100, 200, rng, 0.3)
    u, v, w = np.linalg.inv(matrix) @ [*corners[:4].T, [1] * 4]
    reached.append(np.abs(np.stack([u, v], 1) / w[:, None] - corners[:4]))
  assert np.max(reached, axis=0) == pytest.approx(np.array([[30, 15]] * 4))
  assert np.min(reached, axis=0) == pytest.approx(0, abs=1e-9)


def test_perspectives_are_as_frequent_as_said():
  config = warping.WarpConfig(perspective_probability=0.3)
  image, rng = _image(12, 12), np.random.default_rng(0)
  num = sum(
    warping.random_warp(image, rng, config) is not image for _ in range(1000)
  )
  # Five standard deviations of a binomial count: 72.
  assert abs(num - 300) < 72


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("degrees", -1.0, "between 0 and 180"),
    ("translate", (0.1, 1.5), "between 0 and 1"),
    ("scale", (0.0, 1.0), "0 < low <= high"),
    ("shear", (0.0, 90.0), r"in \[0, 90\)"),
    ("distortion", 0.6, "between 0 and 0.5"),
    ("perspective_probability", 2.0, "between 0 and 1"),
    ("fill", 256, "between 0 and 255"),
  ],
)
def test_fields_of_no_use(field, value, message):
  made = augmentations.make(warp={field: value})
  with pytest.raises(
    ValueError, match=rf"data\.augmentation\.warp\.{field} must be .*{message}"
  ):
    made.check(32)


def test_a_perspective_of_tiny_images_is_refused():
  made = augmentations.make(warp={"perspective_probability": 0.3})
  made.check(5)
  with pytest.raises(
    ValueError, match=r"below 5 pixels a side; got 0\.3 for 4"
  ):
    made.check(4)


@pytest.mark.parametrize("resize", ["square", "naflex"])
def test_in_the_section(resize):
  """A warp of an image in its own shape too."""
  made = augmentations.make(
    resize=resize,
    patch_size=8,
    max_num_patches=30,
    warp={"degrees": 30.0, "perspective_probability": 1.0, "fill": 0},
  )
  still = augmentations.make(resize=resize, patch_size=8, max_num_patches=30)
  made.check(32)
  data = encoded.by_pillow(Image.fromarray(_image(40, 56)), "PNG")
  rngs = [np.random.default_rng(3) for _ in range(2)]
  got = made.apply(data, 32, rngs[0])["images"]
  plain = still.apply(data, 32, rngs[1])["images"]
  assert got.shape == plain.shape
  if resize == "square":
    expected = warping.random_warp(plain, rngs[1], made.warp)
    np.testing.assert_array_equal(got, expected)
  else:
    assert (got != plain).any()
