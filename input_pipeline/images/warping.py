"""Random affine and perspective changes of an image, as one resampling.

The section `data.augmentation.warp`. What is drawn is torchvision's
RandomAffine and then RandomPerspective, in its order and with its matrices for
Pillow's images. Both matrices are multiplied, so that an image is interpolated
once: bilinearly, by Pillow, which rounds levels down. A pixel whose centre
comes from outside the image is `fill`. Unlike in torchvision, parts that the
affine change moves out of the frame are not lost to the perspective.

Matrices are float64 [3, 3]. They map a point (x, y, 1) of the result to a point
of the image, both in pixels from the upper left corner; the centre of the first
pixel is (0.5, 0.5).
"""

import dataclasses
import math

import numpy as np
from PIL import Image

from runtime import checks, marks

# Largest share of half a side that a corner moves. Corners of more than 2/3 can
# fold the image; at 1/2 only images below 5 pixels a side fold.
_MAX_DISTORTION = 0.5
_MIN_SIDE = 5


@dataclasses.dataclass(frozen=True)
class WarpConfig:
  """Fields of the section; configs/base.py explains them."""

  degrees: marks.Fixed[float] = 0.0
  translate: marks.Fixed[tuple[float, float]] = (0.0, 0.0)
  scale: marks.Fixed[tuple[float, float]] = (1.0, 1.0)
  shear: marks.Fixed[tuple[float, float]] = (0.0, 0.0)
  distortion: marks.Fixed[float] = 0.5
  perspective_probability: marks.Fixed[float] = 0.0
  fill: marks.Fixed[int] = 127

  def check(self, prefix: str, side: int) -> None:
    """Raise ValueError, naming the field, for a value that cannot be used.

    Args:
      prefix: prefix of the fields' names in messages.
      side: shortest side of the images in pixels.
    """
    checks.between(f"{prefix}degrees", self.degrees, 0, 180)
    for share in self.translate:
      checks.between(f"{prefix}translate", share, 0, 1)
    low, high = self.scale
    if not 0 < low <= high < math.inf:
      checks.refuse(
        f"{prefix}scale must be (low, high) with 0 < low <= high; got "
        f"{self.scale!r}"
      )
    for angle in self.shear:
      checks.in_range(f"{prefix}shear", angle, 0, 90)
    checks.between(f"{prefix}distortion", self.distortion, 0, _MAX_DISTORTION)
    checks.between(
      f"{prefix}perspective_probability", self.perspective_probability, 0, 1
    )
    if self.perspective_probability and side < _MIN_SIDE:
      checks.refuse(
        f"{prefix}perspective_probability must be 0 for images below "
        f"{_MIN_SIDE} pixels a side; got {self.perspective_probability} for "
        f"{side} pixels"
      )
    checks.between(f"{prefix}fill", self.fill, 0, 255)

  @property
  def is_affine(self) -> bool:
    """Whether an affine matrix is drawn."""
    return bool(
      self.degrees
      or any(self.translate)
      or any(self.shear)
      or self.scale != (1, 1)
    )


def random_warp(
  image: np.ndarray, rng: np.random.Generator, config: WarpConfig
) -> np.ndarray:
  """Return an image uint8 [Y, X, 3] changed by a matrix of `draw_matrix`."""
  height, width, _ = image.shape
  return warp(image, draw_matrix(height, width, rng, config), config.fill)


def draw_matrix(
  height: int, width: int, rng: np.random.Generator, config: WarpConfig
) -> np.ndarray:
  """Return the matrix of a section, [3, 3]: the identity where nothing is on.

  `rng` draws, each only if its fields enable it: the numbers of `draw_affine`;
  one for whether the perspective changes, and those of `draw_perspective`.
  """
  matrix = np.eye(3)
  if config.is_affine:
    matrix = draw_affine(height, width, rng, config)
  probability = config.perspective_probability
  if probability and rng.random() < probability:
    # The perspective comes second, so its points are looked up first.
    matrix = matrix @ draw_perspective(height, width, rng, config.distortion)
  return matrix


def draw_affine(
  height: int, width: int, rng: np.random.Generator, config: WarpConfig
) -> np.ndarray:
  """Draw 6 numbers: angle, shift to the right and down, scale, x and y shear.

  Shifts are rounded to whole pixels, as in torchvision's RandomAffine.
  """
  shift = np.array(config.translate) * (width, height)
  most = np.array([config.degrees, *shift, 0, *config.shear])
  low, high = -most, most
  low[3], high[3] = config.scale
  angle, right, down, scale, *shear = rng.uniform(low, high)
  return affine(
    height,
    width,
    degrees=angle,
    translation=(round(right), round(down)),
    scale=scale,
    shear=(shear[0], shear[1]),
  )


def affine(
  height: int,
  width: int,
  *,
  degrees: float,
  translation: tuple[float, float],
  scale: float,
  shear: tuple[float, float],
) -> np.ndarray:
  """Return the matrix of a shear, scale, rotation and shift, in this order.

  Args:
    height, width: size of image and result in pixels, whose centre is fixed.
    degrees: angle of the rotation, clockwise.
    translation: shift to the right and down in pixels.
    scale: factor of enlargement.
    shear: angles in degrees, along x (first) and along y.
  """
  angle = math.radians(degrees)
  cos, sin = math.cos(angle), math.sin(angle)
  along_x, along_y = (math.tan(math.radians(one)) for one in shear)
  forward = scale * (
    np.array([[cos, -sin], [sin, cos]])
    @ np.array([[1, 0], [-along_y, 1]])
    @ np.array([[1, -along_x], [0, 1]])
  )
  centre = np.array([width / 2, height / 2])
  matrix = np.eye(3)
  matrix[:2, :2] = np.linalg.inv(forward)
  matrix[:2, 2] = centre - matrix[:2, :2] @ (centre + translation)
  return matrix


def draw_perspective(
  height: int, width: int, rng: np.random.Generator, distortion: float
) -> np.ndarray:
  """Draw 8 integers: x and y of the four corners' new places, clockwise.

  As in torchvision's RandomPerspective, a corner moves inwards by up to
  `distortion` times half a side.
  """
  reach = np.array([int(distortion * (side // 2)) for side in (width, height)])
  inwards = rng.integers(0, reach + 1, size=(4, 2))
  corners = _corners(height, width)
  return perspective(
    corners, np.where(corners == 0, inwards, corners - inwards)
  )


def perspective(corners: np.ndarray, moved: np.ndarray) -> np.ndarray:
  """Return the matrix that takes four points of the result from the corners.

  Args:
    corners: points of the image, [4, 2], x and y in pixels.
    moved: where they come to lie in the result, [4, 2].
  """
  if np.array_equal(corners, moved):
    return np.eye(3)
  rows, values = [], []
  for (u, v), (x, y) in zip(corners, moved, strict=True):
    rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y]]
    rows += [[0, 0, 0, x, y, 1, -v * x, -v * y]]
    values += [u, v]
  solved = np.linalg.solve(np.array(rows, float), np.array(values, float))
  return np.append(solved, 1.0).reshape(3, 3)


def warp(image: np.ndarray, matrix: np.ndarray, fill: int) -> np.ndarray:
  """Return an image uint8 [Y, X, 3] at the matrix's points, in one resampling.

  The identity returns the image as it is.
  """
  if np.array_equal(matrix, np.eye(3)):
    return image
  coefficients = (matrix / matrix[2, 2]).ravel()[:8].tolist()
  is_affine = coefficients[6:] == [0, 0]
  source = Image.fromarray(np.ascontiguousarray(image))
  warped = source.transform(
    source.size,
    Image.Transform.AFFINE if is_affine else Image.Transform.PERSPECTIVE,
    coefficients[:6] if is_affine else coefficients,
    Image.Resampling.BILINEAR,
    fillcolor=(fill,) * 3,
  )
  return np.asarray(warped)


def _corners(height: int, width: int) -> np.ndarray:
  """Return x and y of an image's corner pixels, clockwise, [4, 2].

  torchvision takes pixels' indices for places, so its last corners lie a pixel
  inside of the image's edge.
  """
  right, bottom = width - 1, height - 1
  return np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]])
