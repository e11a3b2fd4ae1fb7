"""Mean and deviation of pixels in transformers' preprocessor_config.json.

Imports no JAX: input_pipeline reads the same file in worker processes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

# File beside the weights that describes how images are prepared.
PREPROCESSOR = "preprocessor_config.json"
Triple = tuple[float, float, float]


def statistics(
  processor: Mapping[str, Any], **defaults: Any
) -> tuple[Triple, Triple]:
  """Return mean and deviation on a scale of 0 to 1, whatever the steps.

  A processor may rescale, subtract 1, normalise, and (EfficientNet's
  classifiers) divide by the deviation once more.

  Args:
    processor: content of the file, {} where there is none.
    **defaults: image_mean and image_std where the file has none.
  """
  config = {**defaults, **processor}
  # EfficientNet's class divides again unless its file forbids it.
  kind = str(config.get("image_processor_type", ""))
  include_top = config.get("include_top", kind.startswith("EfficientNet"))
  factor = config.get("rescale_factor", 1 / 255)
  scale = np.full(3, factor if config.get("do_rescale", True) else 1.0)
  shift = np.full(3, -1.0 if config.get("rescale_offset") else 0.0)
  if config.get("do_normalize", True):
    mean, std = triple(config["image_mean"]), triple(config["image_std"])
    plain = np.allclose(scale * 255, 1) and not shift.any()
    if plain and not include_top:
      return mean, std  # to the digit
    scale, shift = scale / std, (shift - mean) / std
  if include_top:
    std = np.asarray(triple(config["image_std"]))
    scale, shift = scale / std, shift / std
  std = 1 / (255 * scale)
  return triple((-shift * std).tolist()), triple(std.tolist())


def triple(values: Any) -> Triple:
  """Return numbers of red, green and blue; one number stands for three."""
  red, green, blue = [values] * 3 if isinstance(values, float) else values
  return float(red), float(green), float(blue)
