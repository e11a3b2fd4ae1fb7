"""ImageNet-C's 15 corruptions at 5 severities, made from one's own images.

Source: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to
Common Corruptions and Perturbations" (arXiv 1903.12261); constants in
evaluators/robustness/severities.py. A corruption is applied to the image that
the model sees, after resize and crop, as the authors do.

The published ImageNet-C was then written as JPEG of quality 85, and was made
with the random numbers of one run: figures on it and figures on these images
may differ a little. `jpeg_quality=85` repeats the first.

Frost needs six photographs whose licence is not stated: they are not part of
this project, and nothing stands in for them. Without textures of the user's
there are 14 of 15 kinds, and `summary` says so; with the photographs of package
imagenet_c (folder frost) it is the authors' corruption.
"""

import functools
import hashlib
import io
import pathlib
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from evaluators.robustness import (
  blur,
  digital,
  filters,
  noise,
  severities,
  weather,
)
from runtime import checks

# Group -> kind -> function, in the order of the paper's tables.
GROUPS: Mapping[str, Mapping[str, Callable[..., np.ndarray]]] = (
  types.MappingProxyType(
    {
      "noise": {
        "gaussian_noise": noise.gaussian_noise,
        "shot_noise": noise.shot_noise,
        "impulse_noise": noise.impulse_noise,
      },
      "blur": {
        "defocus_blur": blur.defocus_blur,
        "glass_blur": blur.glass_blur,
        "motion_blur": blur.motion_blur,
        "zoom_blur": blur.zoom_blur,
      },
      "weather": {
        "snow": weather.snow,
        "frost": weather.frost,
        "fog": weather.fog,
        "brightness": weather.brightness,
      },
      "digital": {
        "contrast": digital.contrast,
        "elastic_transform": digital.elastic_transform,
        "pixelate": digital.pixelate,
        "jpeg_compression": digital.jpeg_compression,
      },
    }
  )
)
KINDS: Mapping[str, Callable[..., np.ndarray]] = types.MappingProxyType(
  {kind: fn for group in GROUPS.values() for kind, fn in group.items()}
)


def kinds(has_textures: bool) -> tuple[str, ...]:
  """Return the kinds that can be made: all 15, or 14 without textures."""
  return tuple(kind for kind in KINDS if has_textures or kind != "frost")


def corrupt(
  image_YXC: np.ndarray,
  kind: str,
  severity: int,
  *,
  uid: str,
  seed: int = 0,
  size: int | None = None,
  textures: Sequence[np.ndarray] = (),
  jpeg_quality: int | None = None,
) -> np.ndarray:
  """Return a corrupted copy of an image, which need not be square.

  Random numbers depend on seed, UID, kind and severity only, not on the order
  of the images. They are NumPy's: another version of NumPy may draw others.

  Args:
    image_YXC: uint8 [H, W, 3], RGB, as the model takes it.
    kind: a key of KINDS.
    severity: 1 to 5.
    uid: name of the image.
    seed: of the whole evaluation.
    size: a size of severities.SIZES, whose constants to use; None takes the
      nearest to the shorter side.
    textures: from `load_textures`, for frost.
    jpeg_quality: quality of a JPEG that the result passes through; None leaves
      it as it is.

  Returns:
    uint8 [H, W, 3].

  Raises:
    ValueError: an argument cannot be used.
  """
  if image_YXC.dtype != np.uint8 or image_YXC.shape[2:] != (3,):
    raise ValueError(
      "an image to corrupt must be uint8 [H, W, 3]; got"
      f" {image_YXC.dtype} {list(image_YXC.shape)}"
    )
  checks.one_of("the kind of corruption", kind, KINDS)
  checks.one_of(
    "the severity", severity, range(1, severities.NUM_SEVERITIES + 1)
  )
  side = min(image_YXC.shape[:2])
  size = severities.nearest(side) if size is None else size
  checks.one_of("the size of the constants", size, severities.SIZES)
  constant = severities.TABLE[kind][size][severity - 1]
  corrupt_fn = KINDS[kind]
  if kind == "frost":
    _check_textures(textures, image_YXC.shape[:2])
    corrupt_fn = functools.partial(corrupt_fn, textures=textures)
  rng = generator(seed, uid, kind, severity)
  result_YXC = filters.truncated(corrupt_fn(image_YXC, constant, rng))
  if jpeg_quality is None:
    return result_YXC
  return digital.jpeg_compression(result_YXC, jpeg_quality, rng)


def generator(
  seed: int, uid: str, kind: str, severity: int
) -> np.random.Generator:
  """Return the random stream of one corrupted image."""
  name = f"{seed}\n{uid}\n{kind}\n{severity}".encode()
  digest = hashlib.blake2b(name, digest_size=16).digest()
  return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def load_textures(
  folder: pathlib.Path, image_side: int, size: int | None = None
) -> tuple[np.ndarray, ...]:
  """Read frost's textures, in the order of their names: uint8 [Y, X, 3].

  The authors draw from frost1 to frost5 only, of their six: a folder without
  frost6 repeats that. For the constants of 32 and 64, textures are made smaller
  as the authors do.

  Args:
    folder: folder with images and no other files, but for hidden ones.
    image_side: side of the images to corrupt.
    size: as in `corrupt`.

  Raises:
    ValueError: the folder has no file, or a file that is no image or too small.
  """
  size = severities.nearest(image_side) if size is None else size
  textures = []
  for path in sorted(folder.iterdir()):
    if path.name.startswith("."):  # what file managers leave behind
      continue
    try:
      with Image.open(io.BytesIO(path.read_bytes())) as image:
        image = image.convert("RGB")
    except OSError as error:
      raise ValueError(
        f"frost's texture {path} is no image: {error}"
      ) from error
    texture_YXC = _smaller(np.asarray(image), severities.TEXTURE_SCALE[size])
    height, width = texture_YXC.shape[:2]
    if min(height, width) < image_side:
      raise ValueError(
        f"frost's texture {path} must have at least {image_side} pixels a side"
        f" at this image size; got {width} x {height}"
      )
    textures.append(texture_YXC)
  if not textures:
    raise ValueError(f"the folder of frost's textures {folder} has no file")
  return tuple(textures)


def _smaller(texture_YXC: np.ndarray, scale: float) -> np.ndarray:
  """Return a texture made smaller without antialiasing: OpenCV's resize."""
  if scale == 1:
    return texture_YXC
  sides = [round(side * scale) for side in texture_YXC.shape[:2]]
  y_YX, x_YX = ((np.mgrid[: sides[0], : sides[1]] + 0.5) / scale) - 0.5
  values_YXC = filters.sample(
    texture_YXC.astype(np.float32), y_YX, x_YX, "nearest"
  )
  return np.rint(values_YXC).astype(np.uint8)


def _check_textures(
  textures: Sequence[np.ndarray], shape: tuple[int, ...]
) -> None:
  if not textures:
    raise ValueError(
      "frost needs textures of the user's, which this project has no licence"
      " to carry; got none: name a folder of them, or leave frost out"
    )
  for texture_YXC in textures:
    if np.any(np.array(texture_YXC.shape[:2]) < shape):
      raise ValueError(
        f"frost's textures must be at least {list(shape)} pixels; got"
        f" {list(texture_YXC.shape[:2])}"
      )


def summary(
  clean: float, corrupted: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
  """Return the mean accuracy over severities and kinds, beside the clean one.

  "mean_corrupted" is the mean over kinds of the mean over severities, each kind
  with equal weight; "relative_to_clean" is its share of the clean accuracy. It
  is not the paper's mCE, which divides errors by AlexNet's on ImageNet.

  Args:
    clean: accuracy on the images as they are.
    corrupted: kind -> accuracy at severities 1 to 5.

  >>> accuracy = {"snow": [0.8] * 5, "fog": [0.2] * 5, "contrast": [0.2] * 5}
  >>> result = summary(0.8, accuracy)
  >>> round(result["mean_corrupted"], 3), result["kinds"]
  (0.4, '3 of 15')
  """
  for kind, accuracies in corrupted.items():
    checks.one_of("the kind of corruption", kind, KINDS)
    if len(accuracies) != severities.NUM_SEVERITIES:
      raise ValueError(
        f"{kind} must have an accuracy for each of"
        f" {severities.NUM_SEVERITIES} severities; got {len(accuracies)}"
      )
  if not corrupted:
    raise ValueError(
      "a summary needs at least one kind of corruption; got none"
    )
  per_kind = {
    kind: float(np.mean(corrupted[kind])) for kind in KINDS if kind in corrupted
  }
  mean = float(np.mean(list(per_kind.values())))
  return {
    "kinds": f"{len(per_kind)} of {len(KINDS)}",
    "left_out": [kind for kind in KINDS if kind not in corrupted],
    "clean": float(clean),
    "mean_corrupted": mean,
    "relative_to_clean": mean / clean if clean else None,
    "per_kind": per_kind,
    "per_group": {
      group: float(np.mean(means))
      for group, members in GROUPS.items()
      if (means := [per_kind[kind] for kind in members if kind in per_kind])
    },
    "per_severity": [
      float(x) for x in np.mean(list(corrupted.values()), axis=0)
    ],
  }
