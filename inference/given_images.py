"""Images that are given to a model from Python, in any of several forms."""

import os
import pathlib
from collections.abc import Iterable

import numpy as np
from PIL import Image as PillowImage

from evaluators import row_batches
from input_pipeline import faults, model_inputs
from input_pipeline.images import image_ops, levels

# A path, encoded bytes, pixels uint8 [H, W, 3] or [H, W], or Pillow's image.
Image = str | os.PathLike[str] | bytes | np.ndarray | PillowImage.Image


def listed(images: Image | Iterable[Image]) -> Iterable[Image]:
  """Return images; one image stands for a list of one."""
  if isinstance(images, str | os.PathLike | bytes | PillowImage.Image):
    return [images]
  if isinstance(images, np.ndarray):
    return images if images.ndim > 3 else [images]
  return images


def prepared(
  protocol: model_inputs.Protocol, numbered: tuple[int, Image]
) -> row_batches.Row:
  """Return an image as its tower takes it.

  Raises:
    ValueError: it cannot be used; the message names its path or its number.
  """
  number, image = numbered
  name = name_of(image, number)
  pixels_YXC = decoded(image, name)
  try:
    return protocol.apply(pixels_YXC)
  except ValueError as error:
    raise ValueError(f"{name}: {error}") from error


def name_of(image: Image, number: int) -> str:
  """Return the path of an image, or a phrase with its number."""
  is_path = isinstance(image, str | os.PathLike)
  return os.fspath(image) if is_path else f"image {number}"


def decoded(image: Image, name: str) -> np.ndarray:
  """Return pixels uint8 [H, W, 3]; ValueError that names the image."""
  try:
    if isinstance(image, str | os.PathLike):
      return image_ops.decode(pathlib.Path(image).expanduser().read_bytes())
    if isinstance(image, bytes):
      return image_ops.decode(image)
    if isinstance(image, PillowImage.Image):
      return np.asarray(levels.to_rgb(image))
  except (faults.ExampleError, OSError) as error:
    raise ValueError(f"{name} is no image that can be read: {error}") from error
  pixels = np.asarray(image)
  if pixels.dtype == np.uint8 and pixels.ndim == 2:
    pixels = np.repeat(pixels[..., None], 3, axis=-1)
  if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3:
    raise ValueError(
      f"{name} must be uint8 [H, W, 3]; got {pixels.dtype} {list(pixels.shape)}"
    )
  return pixels
