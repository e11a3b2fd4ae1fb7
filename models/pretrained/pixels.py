"""Transformers' description of how images are prepared, and its mean and std.

Imports no JAX: input_pipeline reads the same file in worker processes.
"""

import dataclasses
import json
import math
import pathlib
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from models.pretrained import tensor_files

# Files beside the weights that describe how images are prepared. Transformers 5
# writes the second, with the image processor's fields in a section.
PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"
_SECTION = "image_processor"
Triple = tuple[float, float, float]

# Fields that decide which pixels a tower sees.
FIELDS = (
  "image_mean",
  "image_std",
  "size",
  "crop_size",
  "resample",
  "do_resize",
  "do_center_crop",
  "do_rescale",
  "do_normalize",
  "do_pad",
  "rescale_factor",
  "rescale_offset",
  "include_top",
  "crop_pct",
  "max_num_patches",
)
# Defaults of every class.
_COMMON = {
  "do_resize": True,
  "do_rescale": True,
  "rescale_factor": 1 / 255,
  "do_normalize": True,
}
_HALF = [0.5, 0.5, 0.5]
_CLIP = {
  "image_mean": [0.48145466, 0.4578275, 0.40821073],
  "image_std": [0.26862954, 0.26130258, 0.27577711],
  "size": {"shortest_edge": 224},
  "crop_size": {"height": 224, "width": 224},
  "do_center_crop": True,
  "resample": 3,
}
_SQUARE = {
  "image_mean": _HALF,
  "image_std": _HALF,
  "size": {"height": 224, "width": 224},
  "resample": 3,
}
# Defaults of transformers' classes (5.24), which a file may leave out, by the
# name before "ImageProcessor" or "FeatureExtractor".
_CLASSES: Mapping[str, Mapping[str, Any]] = types.MappingProxyType(
  {
    "CLIP": _CLIP,
    "Bit": _CLIP,
    "Siglip": _SQUARE,
    "ViT": _SQUARE | {"resample": 2},
    "Siglip2": {
      "image_mean": _HALF,
      "image_std": _HALF,
      "resample": 2,
      "max_num_patches": 256,
    },
    "EfficientNet": _SQUARE
    | {"size": {"height": 346, "width": 346}, "include_top": True},
    "DeiT": _SQUARE
    | {
      "size": {"height": 256, "width": 256},
      "crop_size": {"height": 224, "width": 224},
      "do_center_crop": True,
    },
    "ChineseCLIP": _CLIP,
    "Blip": _CLIP
    | {"size": {"height": 384, "width": 384}, "do_center_crop": False},
    # Resizes to more than `size`, and crops only if that is below 384.
    "ConvNext": {"crop_pct": 224 / 256},
  }
)
# Classes for which one number as `size` is a square; for others it is the
# shorter side.
SQUARE = ("ViT", "DeiT", "Blip", "EfficientNet")


@dataclasses.dataclass(frozen=True)
class Processor:
  """Fields of an image processor.

  Attributes:
    name: file that they are from, "" where there is none.
    fields: those of the file, and the defaults of its class.
    differing: fields that the other file has otherwise, with both values.
  """

  name: str
  fields: Mapping[str, Any]
  differing: Mapping[str, tuple[Any, Any]]


def read_processor(folder: pathlib.Path) -> Processor:
  """Return the image processor beside a model.

  A section of processor_config.json counts before preprocessor_config.json, as
  in transformers, and that before a processor_config.json without sections.

  Raises:
    ValueError: a file is no JSON object.
  """
  old, new = _object(folder / PREPROCESSOR), _object(folder / PROCESSOR)
  section = new.get(_SECTION)
  if section is not None and not isinstance(section, Mapping):
    raise ValueError(
      f"{folder / PROCESSOR}: {_SECTION} must be a section; got {section!r:.80}"
    )
  if section is None and any(name in new for name in FIELDS):
    section = new
  candidates = [
    (PROCESSOR, section),
    (PREPROCESSOR, old or None),
  ]
  if section is new:
    candidates.reverse()
  nested = isinstance(old.get(_SECTION), Mapping)
  if nested and section is None and not any(name in old for name in FIELDS):
    # Transformers would take its own defaults in place of such a section.
    raise ValueError(
      f"{folder / PREPROCESSOR}: the fields of the image processor must not lie"
      f" in a section {_SECTION}, as in {PROCESSOR}; move them out of it"
    )
  known = [(name, fields) for name, fields in candidates if fields is not None]
  if not known:
    return Processor("", {}, {})
  (name, fields), *others = [(n, _with_defaults(x)) for n, x in known]
  differing = {
    field: (fields.get(field), other.get(field))
    for _, other in others
    for field in FIELDS
    if _meant(fields, field) != _meant(other, field)
  }
  return Processor(name, fields, differing)


def statistics(
  processor: Mapping[str, Any], **defaults: Any
) -> tuple[Triple, Triple]:
  """Return mean and deviation on a scale of 0 to 1, whatever the steps.

  A processor may rescale, subtract 1, normalise, and (EfficientNet's
  classifiers) divide by the deviation once more.

  Args:
    processor: fields of the file, {} where there is none.
    **defaults: image_mean and image_std where the file has none.

  Raises:
    ValueError: a value is missing, or of another type than expected.
  """
  config = {**defaults, **processor}
  # EfficientNet's class divides again unless its file forbids it.
  kind = class_name(config)
  is_effnet = kind == "EfficientNet"
  include_top = config.get("include_top", is_effnet)
  rescale_offset = config.get("rescale_offset")
  if kind and not is_effnet:  # other classes have neither step
    include_top = rescale_offset = False
  factor = config.get("rescale_factor", 1 / 255)
  if type(factor) not in (int, float) or not factor > 0:
    raise ValueError(f"rescale_factor must be a number above 0; got {factor!r}")
  scale = np.full(3, factor if config.get("do_rescale", True) else 1.0)
  shift = np.full(3, -1.0 if rescale_offset else 0.0)
  if config.get("do_normalize", True):
    mean, std = _named(config, "image_mean"), _named(config, "image_std")
    plain = np.allclose(scale * 255, 1) and not shift.any()
    if plain and not include_top:
      return mean, std  # to the digit
    scale, shift = scale / std, (shift - mean) / std
  if include_top:
    std = np.asarray(_named(config, "image_std"))
    scale, shift = scale / std, shift / std
  std = 1 / (255 * scale)
  return triple((-shift * std).tolist()), triple(std.tolist())


def said(fields: Mapping[str, Any] | None) -> dict[str, Any]:
  """Return the fields that are not null, which stands for a default."""
  return {name: x for name, x in (fields or {}).items() if x is not None}


def triple(values: Any) -> Triple:
  """Return numbers of red, green and blue; one number stands for three."""
  is_one = isinstance(values, int | float)
  red, green, blue = [values] * 3 if is_one else values
  return float(red), float(green), float(blue)


def full_name(fields: Mapping[str, Any]) -> str:
  """Return the class that a file names, or ""."""
  kind = fields.get("image_processor_type")
  return str(kind or fields.get("feature_extractor_type") or "")


def class_name(fields: Mapping[str, Any]) -> str:
  """Return a class's name before "ImageProcessor", as `SQUARE` has it."""
  kind = full_name(fields)
  for end in ("Fast", "Pil", "ImageProcessor", "FeatureExtractor"):
    kind = kind.removesuffix(end)
  return kind


def is_known(kind: str) -> bool:
  """Return whether a class's steps and defaults are known here."""
  return kind in _CLASSES


def _named(config: Mapping[str, Any], field: str) -> Triple:
  values = config.get(field)
  try:
    result = triple(values)
  except (TypeError, ValueError):
    result = (math.nan,) * 3
  lowest = 0.0 if field == "image_std" else -math.inf
  if not all(lowest < x < math.inf for x in result):
    above = " above 0" if field == "image_std" else ""
    raise ValueError(
      f"{field} must be one or three numbers{above}; got {values!r:.80}"
    )
  return result


def _with_defaults(fields: Mapping[str, Any]) -> dict[str, Any]:
  """Return fields with the defaults of the class that the file names.

  null stands for the default, too.
  """
  defaults = _CLASSES.get(class_name(fields), {})
  return {**_COMMON, **defaults, **said(fields)}


def _meant(fields: Mapping[str, Any], field: str) -> Any:
  """Return a field's value in the form that newer versions write."""
  value = fields.get(field)
  if field in ("size", "crop_size") and type(value) is int:
    if field == "size" and fields.get("do_center_crop"):
      return {"shortest_edge": value}
    return {"height": value, "width": value}
  return value or None  # absent switches are off


def _object(path: pathlib.Path) -> Mapping[str, Any]:
  if not path.is_file():
    return {}
  try:
    content = json.loads(path.read_text("utf-8-sig"))
  except (ValueError, RecursionError) as error:
    raise ValueError(
      f"{path} is no intact JSON ({error}){tensor_files.told(path)}"
    ) from error
  if not isinstance(content, dict):
    raise ValueError(f"{path} must hold a JSON object; got {content!r:.80}")
  return content
