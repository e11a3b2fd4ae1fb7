"""Regions of images that texts are about, and how well heat maps find them.

A file of JSON lines names them, with paths relative to its folder:

  {"image": "photos/1.jpg", "text": "a logo", "region": "masks/1.png"}

A region is a picture of the image's size, whose pixels of at least half
brightness are in it. It is resized and cropped as the image is.
"""

import json
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from evaluators import saliency
from evaluators.metrics import localisation
from input_pipeline import faults
from input_pipeline.images import image_ops

# Brightness from which a pixel is in a region, after resizing.
_INSIDE = 128
_FIELDS = ("image", "text", "region")

# (path of an image, text) -> bool [H, W], as the model sees the image.
Regions = Mapping[tuple[pathlib.Path, str], np.ndarray]


def read(
  path: str,
  images: Collection[pathlib.Path],
  texts: Collection[str],
  resize_fn: Callable[[np.ndarray], np.ndarray],
) -> Regions:
  """Return the region of each image and text that a file names.

  Args:
    path: file of JSON lines; "" for none.
    images: files of --images.
    texts: texts of --texts.
    resize_fn: function to an image as the model sees it.

  Raises:
    ValueError: there is no such file, or a line cannot be used; it is named.
  """
  if not path:
    return {}
  file = pathlib.Path(path)
  if not file.is_file():
    raise ValueError(f"--regions must be a file of JSON lines; got {path!r}")
  named = {image.resolve(): image for image in images}
  found: dict[tuple[pathlib.Path, str], np.ndarray] = {}
  for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
    where = f"--regions={path}, line {number}"
    try:
      row = json.loads(line)
    except ValueError as error:
      raise ValueError(f"{where}: not JSON: {error}") from error
    if not isinstance(row, dict) or any(
      not isinstance(row.get(name), str) for name in _FIELDS
    ):
      raise ValueError(
        f"{where}: expected an object of texts {', '.join(_FIELDS)}; got "
        f"{line[:80]}"
      )
    image = named.get((file.parent / row["image"]).resolve())
    if image is None:
      raise ValueError(
        f"{where}: image must be one of --images; got {row['image']!r}"
      )
    if row["text"] not in texts:
      raise ValueError(
        f"{where}: text must be one of --texts; got {row['text']!r}"
      )
    if (image, row["text"]) in found:
      raise ValueError(f"{where}: a second region of {row['image']} and text")
    try:
      region = _region(image, file.parent / row["region"], resize_fn)
    except (OSError, ValueError) as error:  # faults of an example are too
      raise ValueError(f"{where}: {error}") from error
    found[image, row["text"]] = region
  return found


def judge(
  map_YX: np.ndarray, region_YX: np.ndarray
) -> dict[str, dict[str, float]]:
  """Return the figures of a map, and those of chance beside it.

  IoU of chance is that of a random one of FashionCLIP's bands.
  """
  height, width = region_YX.shape
  cell = saliency.cell_of(height, width)
  cell = min(cell, max(1, (min(height, width) - 1) // 2))
  bands = saliency.band_parts(height, width, cell)
  return {
    "figures": localisation.judge(map_YX, region_YX),
    "chance": localisation.chance(region_YX, bands),
  }


def summary(images: Collection[Mapping[str, Any]]) -> dict[str, Any]:
  """Return the means over the maps of records that have a region, or {}."""
  judged = [
    (number, one["localisation"])
    for number, image in enumerate(images)
    for one in image["maps"]
    if "localisation" in one
  ]
  if not judged:
    return {}
  return {
    "threshold": localisation.THRESHOLD,
    **localisation.summary(
      [one["figures"] for _, one in judged],
      [one["chance"] for _, one in judged],
      [number for number, _ in judged],
    ),
  }


def line(found: Mapping[str, Any]) -> str:
  """Return a summary as a line for people."""
  shown = ", ".join(
    f"{name.replace('_', ' ')} {found[name]:.3f}"
    f" ({found['intervals'][name][0]:.3f} to"
    f" {found['intervals'][name][1]:.3f}, chance {found['chance'][name]:.3f})"
    for name in localisation.FIGURES
  )
  return f"Regions of {found['num_maps']} maps: {shown}"


def _region(
  image: pathlib.Path,
  path: pathlib.Path,
  resize_fn: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
  mask_YXC = image_ops.decode(path.read_bytes())
  try:
    size = image_ops.decode(image.read_bytes()).shape
  except faults.ExampleError:  # the image is left out, and so is its map
    size = mask_YXC.shape
  if mask_YXC.shape != size:
    raise ValueError(
      f"{path} must have the size of its image, {size[1]} x {size[0]} pixels; "
      f"got {mask_YXC.shape[1]} x {mask_YXC.shape[0]}"
    )
  region_YX = resize_fn(mask_YXC).mean(axis=2) >= _INSIDE
  if not region_YX.any():
    raise ValueError(f"{path} has no pixel in the region that the model sees")
  return region_YX
