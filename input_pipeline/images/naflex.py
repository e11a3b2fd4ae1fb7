"""Images of any shape as patches, for the NaFlex tower (models/naflex.py).

Source: SigLIP 2 (arXiv 2502.14786), section 2.4.2; sizes and pixels are equal
to those of transformers' Siglip2ImageProcessor.
"""

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from input_pipeline.images import picture
from runtime import checks


@dataclasses.dataclass(frozen=True)
class Protocol:
  """Image protocol of a NaFlex model; image_protocols has those for squares.

  Attributes:
    patch_size: side of a patch in pixels.
    max_num_patches: most patches of an image.
    mean, std: statistics of red, green and blue on a scale of 0 to 1.
  """

  patch_size: int
  max_num_patches: int
  mean: tuple[float, ...]
  std: tuple[float, ...]

  def apply(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return patches and [rows, columns] of an image uint8 [Y, X, 3]."""
    sizes = self.patch_size, self.max_num_patches
    patches, shape, _ = patchify(resize(image, *sizes), *sizes)
    return patches, shape

  def to_hf(self) -> dict[str, Any]:
    """Return the preprocessor_config.json that transformers follows."""
    return {
      "image_processor_type": "Siglip2ImageProcessor",
      "do_convert_rgb": True,
      "do_resize": True,
      "resample": int(Image.Resampling.BILINEAR),
      "do_rescale": True,
      "rescale_factor": 1 / 255,
      "do_normalize": True,
      "image_mean": list(self.mean),
      "image_std": list(self.std),
      "patch_size": self.patch_size,
      "max_num_patches": self.max_num_patches,
    }


def count_of_batch(counts: Sequence[int], seed: int, batch: int) -> int:
  """Return the number of patches of each image of a batch, padding included.

  It is drawn uniformly (SigLIP 2, arXiv 2502.14786, section 2.4.2) and depends
  on the seed and the batch's number alone: all processes and workers, and a run
  that is resumed, draw it alike.

  Args:
    counts: accepted by `check_counts`, not empty.
    seed: seed of the run's examples.
    batch: number of the global batch.
  """
  facts = f"patches/{seed}/{batch}".encode()
  digest = hashlib.blake2b(facts, digest_size=16).digest()
  return counts[int.from_bytes(digest, "little") % len(counts)]


def check_counts(field: str, counts: Sequence[int], *, is_naflex: bool) -> None:
  """Raise ValueError for numbers of patches that no batch can have.

  Args:
    field: name of the field.
    counts: its value; () draws nothing.
    is_naflex: whether images are cut into patches.
  """
  if list(counts) != sorted({*counts}) or (counts and counts[0] < 1):
    checks.refuse(f"{field} must ascend, above 0; got {tuple(counts)}")
  if counts and not is_naflex:
    checks.refuse(
      f'{field} must be () unless data.augmentation.resize="naflex"; got'
      f" {tuple(counts)}"
    )


# Range of the search for the scale, and the interval at which it ends.
_MIN_SCALE, _MAX_SCALE, _PRECISION = 1e-6, 100.0, 1e-5


def target_size(
  height: int, width: int, patch_size: int, max_num_patches: int
) -> tuple[int, int]:
  """Return the (height, width) that an image is resized to.

  It is the largest of the image's shape, sides rounded up to multiples of
  `patch_size`, with at most `max_num_patches` patches: small images are
  enlarged.
  """
  checks.at_least("height", height, 1)
  checks.at_least("width", width, 1)
  checks.at_least("patch_size", patch_size, 1)
  checks.at_least("max_num_patches", max_num_patches, 1)

  def patches(scale: float) -> tuple[int, int]:
    rows, columns = (
      max(1, math.ceil(side * scale / patch_size)) for side in (height, width)
    )
    return rows, columns

  low, high = _MIN_SCALE, _MAX_SCALE
  while high - low >= _PRECISION:
    middle = (low + high) / 2
    if math.prod(patches(middle)) <= max_num_patches:
      low = middle
    else:
      high = middle
  rows, columns = patches(low)
  return rows * patch_size, columns * patch_size


def resize(
  image: np.ndarray, patch_size: int, max_num_patches: int
) -> np.ndarray:
  """Resize uint8 [Y, X, 3] to its target size, bilinear with antialiasing."""
  old_height, old_width, _ = image.shape
  height, width = target_size(
    old_height, old_width, patch_size, max_num_patches
  )
  if (old_height, old_width) == (height, width):
    return image
  resized = Image.fromarray(np.ascontiguousarray(image)).resize(
    (width, height), Image.Resampling.BILINEAR
  )
  return np.asarray(resized)


def resize_picture(
  image: picture.Picture, patch_size: int, max_num_patches: int
) -> np.ndarray:
  """Resize like `resize`, within a level or two, decoding a JPEG small."""
  height, width = target_size(
    image.height, image.width, patch_size, max_num_patches
  )
  whole = picture.Box(0, 0, image.width, image.height)
  return image.resized(whole, height, width, "bilinear")


def mirrored(
  patches_bNP: np.ndarray, shapes_b2: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Return the patches of images mirrored left to right, and their shapes.

  Args:
    patches_bNP: patches of `patchify`, of images of three channels.
    shapes_b2: rows and columns of each image.
  """
  made = patches_bNP.copy()
  size = math.isqrt(patches_bNP.shape[-1] // 3)
  for row, (rows, columns) in enumerate(shapes_b2):
    real = made[row, : rows * columns]
    image = real.reshape(rows, columns, size, size, 3)
    real[:] = image[:, ::-1, :, ::-1].reshape(real.shape)
  return made, shapes_b2


def patchify(
  image: np.ndarray, patch_size: int, max_num_patches: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Cut an image into patches, row by row, filled up with 0.

  Args:
    image: [Y, X, 3], sides multiples of `patch_size`.
    patch_size: side of a patch in pixels.
    max_num_patches: number of patches after padding.

  Returns:
    Patches [max_num_patches, patch_size**2 * 3]; rows and columns, int32 [2];
    mask of patches that are not padding, bool [max_num_patches].

  Raises:
    ValueError: a side is no multiple of `patch_size`, or there are more patches
      than `max_num_patches`.
  """
  height, width, channels = image.shape
  rows, columns = height // patch_size, width // patch_size
  if (rows * patch_size, columns * patch_size) != (height, width):
    raise ValueError(
      f"an image's sides must be multiples of patch_size={patch_size}; got"
      f" {height} x {width}"
    )
  count = rows * columns
  if not 0 < count <= max_num_patches:
    raise ValueError(
      f"an image must have 1 to max_num_patches={max_num_patches} patches; got"
      f" {rows} x {columns}"
    )
  cut = image.reshape(rows, patch_size, columns, patch_size, channels)
  patches = np.zeros(
    (max_num_patches, patch_size * patch_size * channels), image.dtype
  )
  patches[:count] = cut.transpose(0, 2, 1, 3, 4).reshape(count, -1)
  real = np.arange(max_num_patches) < count
  return patches, np.asarray([rows, columns], np.int32), real
