"""The section `data.augmentation`: from encoded images to training inputs.

Random numbers of an example are drawn in a fixed order, so that the example
depends only on the seed and its position in the data: the crop's
(image_ops.draw_square, cropping.area_box, cropping.draw_resized), one for the
mirror, then, each only if its field enables it: one for the vertical mirror,
one for quarter turns, those of warping.draw_matrix, one for whether colours
change and those of colour_ops.random_jitter, one for grey, one for blur and one
for its sigma, those of rand_augment.random_ops, one for erasing and those of
erasing.erase. With pre_crop, those of cropping.draw_corner come first, then the
mirrors' and quarter turns', then the crop's.
"""

import dataclasses
import math

import numpy as np
from PIL import Image

from input_pipeline.images import (
  boxed,
  colour_ops,
  cropping,
  erasing,
  image_ops,
  image_protocols,
  naflex,
  picture,
  rand_augment,
  warping,
)
from runtime import checks, marks

# Values of the field `resize`; configs/base.py explains each.
RESIZES = ("square", "area", "squash", "shortest", "protocol", "naflex")


@dataclasses.dataclass(frozen=True)
class Augmented:
  """A training image, and the moves that brought it about.

  Attributes:
    arrays: arrays of `Augmentation.apply`.
    height: height of the image before, in pixels.
    width: width of the image before.
    moves: moves of its points, for `boxed.follow`; erasing moves none.
  """

  arrays: dict[str, np.ndarray]
  height: int
  width: int
  moves: tuple[boxed.Move, ...]


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """Fields of the section; configs/base.py explains them."""

  resize: marks.Fixed[str]
  crop_scale: marks.Fixed[tuple[float, float]]
  crop_ratio: marks.Fixed[tuple[float, float]]
  resize_size: marks.Fixed[int]
  random_crop: marks.Fixed[bool]
  interpolation: marks.Fixed[str]
  protocol: marks.Fixed[str]
  patch_size: marks.Fixed[int]
  max_num_patches: marks.Fixed[int]
  flip_probability: marks.Fixed[float]
  jitter: marks.Fixed[tuple[float, float, float, float]]
  jitter_probability: marks.Fixed[float]
  gray_probability: marks.Fixed[float]
  blur_sigma: marks.Fixed[tuple[float, float]]
  blur_probability: marks.Fixed[float]
  randaug_layers: marks.Fixed[int]
  randaug_magnitude: marks.Fixed[float]
  erase_probability: marks.Fixed[float]
  pre_crop: marks.Fixed[int] = 0
  first_size: marks.Fixed[int] = 0
  vertical_flip_probability: marks.Fixed[float] = 0.0
  quarter_turns: marks.Fixed[bool] = False
  warp: warping.WarpConfig = warping.WarpConfig()
  patch_counts: marks.Fixed[tuple[int, ...]] = ()

  def check(self, image_size: int) -> None:
    """Raise ValueError, naming the field, for a value that cannot be used."""
    name = "data.augmentation."
    checks.one_of(f"{name}resize", self.resize, RESIZES)
    interpolations = picture.INTERPOLATIONS
    checks.one_of(f"{name}interpolation", self.interpolation, interpolations)
    if self.protocol:
      protocols = image_protocols.PROTOCOLS
      checks.one_of(f"{name}protocol", self.protocol, protocols)
    for field in ("crop_scale", "crop_ratio", "blur_sigma"):
      low, high = getattr(self, field)
      self._check(
        field, 0 < low <= high < math.inf, "(low, high) with 0 < low <= high"
      )
    if self.resize == "area":
      low = self.crop_scale[0]
      self._check("crop_scale", low <= 1, "(low, high) with low at most 1")
    self._check(
      "protocol",
      bool(self.protocol) == (self.resize == "protocol"),
      'a name with resize="protocol", and "" without',
    )
    self._check(
      "resize_size",
      self.resize_size == 0 or self.resize_size >= image_size,
      f"0, or at least data.image_size={image_size}",
    )
    self._check(
      "first_size",
      self.first_size == 0 or self.resize == "area",
      '0 unless resize="area"',
    )
    for field in (
      "flip_probability",
      "vertical_flip_probability",
      "jitter_probability",
      "gray_probability",
      "blur_probability",
      "erase_probability",
    ):
      checks.between(f"{name}{field}", getattr(self, field), 0, 1)
    *factors, hue = self.jitter
    self._check(
      "jitter",
      all(0 <= factor < math.inf for factor in factors) and 0 <= hue <= 0.5,
      "at least 0, the last (hue) at most 0.5",
    )
    for field, lowest in (
      ("patch_size", 1),
      ("max_num_patches", 1),
      ("randaug_layers", 0),
      ("pre_crop", 0),
      ("first_size", 0),
    ):
      checks.at_least(f"{name}{field}", getattr(self, field), lowest)
    naflex.check_counts(
      f"{name}patch_counts", self.patch_counts, is_naflex=self.is_naflex
    )
    # Above 20, "Posterize" would remove more than 8 bits.
    checks.between(f"{name}randaug_magnitude", self.randaug_magnitude, 0, 20)
    side = self.patch_size if self.is_naflex else image_size
    self.warp.check(f"{name}warp.", side)

  def _check(self, field: str, is_right: bool, expected: str) -> None:
    if not is_right:
      checks.refuse(
        f"data.augmentation.{field} must be {expected}; got "
        f"{getattr(self, field)!r}"
      )

  @property
  def is_naflex(self) -> bool:
    """Whether images are cut into patches, each image in its own shape."""
    return self.resize == "naflex"

  @property
  def counts(self) -> tuple[int, ...]:
    """Return the numbers of patches that batches have; () for squares."""
    if not self.is_naflex:
      return ()
    return self.patch_counts or (self.max_num_patches,)

  def of_batch(self, seed: int, batch: int) -> "Augmentation":
    """Return the augmentation of a batch, whose patches have one number.

    Args:
      seed: seed of the run's examples.
      batch: number of the global batch.
    """
    if not self.patch_counts:
      return self
    count = naflex.count_of_batch(self.patch_counts, seed, batch)
    return dataclasses.replace(self, max_num_patches=count, patch_counts=())

  def shapes(self, size: int) -> dict[str, tuple[tuple[int, ...], type]]:
    """Return shape and dtype of each array that `apply` makes.

    With patch_counts, they are those of a batch of the largest.
    """
    if self.is_naflex:
      return {
        "images": ((self.counts[-1], 3 * self.patch_size**2), np.uint8),
        "shapes": ((2,), np.int32),
      }
    return {"images": ((size, size, 3), np.uint8)}

  def apply(
    self, data: bytes, size: int, rng: np.random.Generator
  ) -> dict[str, np.ndarray]:
    """Return the arrays of one training image.

    Args:
      data: an encoded image.
      size: side of square images, in pixels.
      rng: generator of this example and step.

    Returns:
      "images", uint8 [size, size, 3]; with resize="naflex", "images", uint8
      [max_num_patches, patch_size**2 * 3], and "shapes", int32 [2]: rows and
      columns of patches.

    Raises:
      faults.ExampleError: a broken image, or one smaller than pre_crop.
    """
    return self.apply_with_moves(data, size, rng).arrays

  def apply_with_moves(
    self, data: bytes, size: int, rng: np.random.Generator
  ) -> Augmented:
    """Return what `apply` returns, with the moves of the image's points."""
    whole = picture.open_picture(data)
    image, moves = self._changed(whole, size, rng)
    arrays = {"images": image}
    if self.is_naflex:
      patches, shape, _ = naflex.patchify(
        image, self.patch_size, self.max_num_patches
      )
      arrays = {"images": patches, "shapes": shape}
    return Augmented(arrays, whole.height, whole.width, moves)

  def changed(
    self, whole: picture.Picture, size: int, rng: np.random.Generator
  ) -> np.ndarray:
    """Return one training image, before it is cut into patches.

    Args:
      whole: image of any size.
      size: side of square images, in pixels.
      rng: generator of all that is random.

    Returns:
      uint8 [size, size, 3]; another size with resize="naflex".

    Raises:
      faults.ExampleError: a broken image, or one smaller than pre_crop.
    """
    return self._changed(whole, size, rng)[0]

  def _changed(
    self, whole: picture.Picture, size: int, rng: np.random.Generator
  ) -> tuple[np.ndarray, tuple[boxed.Move, ...]]:
    """Return the image of `changed`, and the moves of its points."""
    moves: list[boxed.Move] = []
    if self.pre_crop:
      side = self.pre_crop
      top, left = cropping.draw_corner(whole, rng, side)
      part = picture.Box(left, top, left + side, top + side)
      square = whole.pixels()[top : top + side, left : left + side]
      move = boxed.Move.of_part(part, side, side)
      square, move = self._turn(square, move, rng)
      image, last = self._cut(picture.of_pixels(square), size, rng)
      moves += [move, last]
    else:
      image, move = self._turn(*self._cut(whole, size, rng), rng)
      moves.append(move)
    height, width, _ = image.shape
    matrix = warping.draw_matrix(height, width, rng, self.warp)
    if not np.array_equal(matrix, np.eye(3)):
      image = warping.warp(image, matrix, self.warp.fill)
      moves.append(boxed.Move(np.linalg.inv(matrix), height, width))
    image = self._recolour(image, rng)
    if self.erase_probability and rng.random() < self.erase_probability:
      image = erasing.erase(image, rng)
    return image, tuple(moves)

  def evaluation_protocol(
    self, size: int, mean: tuple[float, ...], std: tuple[float, ...]
  ) -> image_protocols.Protocol | naflex.Protocol:
    """Return the steps of an evaluation that fit the training geometry.

    Crops of the image in its own shape are evaluated on the shorter side and
    the centre, as in open_clip; squashed images are squashed, as in big_vision.

    Args:
      size: side of square images, in pixels.
      mean, std: the model's statistics of red, green and blue.
    """
    if self.is_naflex:
      return naflex.Protocol(self.patch_size, self.max_num_patches, mean, std)
    if self.resize == "protocol":
      named = image_protocols.PROTOCOLS[self.protocol]
      return named.at(size).with_statistics(mean, std)
    resizes_whole = self.resize in ("squash", "shortest")
    return image_protocols.Protocol(
      name="training",
      source=f"data.augmentation.resize={self.resize}",
      size=size,
      resize="squash" if self.resize == "squash" else "shortest",
      resize_size=(self.resize_size if resizes_whole else 0) or size,
      # Squares are always cut bicubically (image_ops.cut_square).
      interpolation=(
        "bicubic" if self.resize == "square" else self.interpolation
      ),
      rounding="even",
      mean=image_protocols.HALF,
      std=image_protocols.HALF,
    ).with_statistics(mean, std)

  def _cut(
    self, image: picture.Picture, size: int, rng: np.random.Generator
  ) -> tuple[np.ndarray, boxed.Move]:
    """Return the part of an image that is seen, resized, and its move."""
    shape = image.height, image.width
    part = picture.Box(0, 0, image.width, image.height)
    if self.resize == "square":
      square = image_ops.draw_square(*shape, rng, scale=self.crop_scale)
      side, left, top = square
      part = picture.Box(left, top, left + side, top + side)
      pixels = image_ops.cut_square(image.pixels(), square, size)
    elif self.resize == "naflex":
      pixels = naflex.resize_picture(
        image, self.patch_size, self.max_num_patches
      )
    elif self.resize == "protocol":
      protocol = image_protocols.PROTOCOLS[self.protocol].at(size)
      part = protocol.part(*shape)
      pixels = protocol.apply(image.pixels())
    elif self.resize == "area":
      part = cropping.area_box(
        *shape, rng, scale=self.crop_scale, ratio=self.crop_ratio
      )
      pixels = self._resized_part(image, part, size)
    else:
      sides, corner = cropping.draw_resized(
        image,
        rng if self.random_crop else None,
        size=size,
        resize_size=self.resize_size or size,
        squash=self.resize == "squash",
      )
      part = picture.part_of_resized(shape, sides, corner, size)
      pixels = cropping.cut_resized(
        image, sides, corner, size=size, interpolation=self.interpolation
      )
    return pixels, boxed.Move.of_part(part, *pixels.shape[:2])

  def _resized_part(
    self, image: picture.Picture, part: picture.Box, size: int
  ) -> np.ndarray:
    """Return a part of an image resized to a square, in one step or in two."""
    first = self.first_size
    if first:
      image = picture.of_pixels(image.resized(part, first, first, "bilinear"))
      part = picture.Box(0, 0, first, first)
    return image.resized(part, size, size, self.interpolation)

  def _turn(
    self, pixels: np.ndarray, move: boxed.Move, rng: np.random.Generator
  ) -> tuple[np.ndarray, boxed.Move]:
    """Mirror and turn an image and its move, without resampling."""
    turned = image_ops.random_flip(
      pixels, rng, probability=self.flip_probability
    )
    # `random_flip` returns the same array where it does not mirror.
    move = move if turned is pixels else move.mirrored()
    vertical = self.vertical_flip_probability
    if vertical and rng.random() < vertical:
      turned, move = turned[::-1], move.upside_down()
    if self.quarter_turns:
      num_quarters = int(rng.integers(4))
      turned, move = np.rot90(turned, num_quarters), move.turned(num_quarters)
    return turned, move

  def _recolour(
    self, pixels: np.ndarray, rng: np.random.Generator
  ) -> np.ndarray:
    jitters = any(self.jitter) and self.jitter_probability
    if not (
      jitters
      or self.gray_probability
      or self.blur_probability
      or self.randaug_layers
    ):
      return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if jitters and rng.random() < self.jitter_probability:
      image = colour_ops.random_jitter(image, rng, self.jitter)
    if self.gray_probability and rng.random() < self.gray_probability:
      image = colour_ops.to_gray(image)
    if self.blur_probability and rng.random() < self.blur_probability:
      image = colour_ops.blur(image, rng.uniform(*self.blur_sigma))
    if self.randaug_layers:
      image = rand_augment.random_ops(
        image,
        rng,
        num_layers=self.randaug_layers,
        magnitude=self.randaug_magnitude,
      )
    return np.asarray(image)
