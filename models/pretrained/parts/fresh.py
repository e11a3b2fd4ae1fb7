"""Config of a model that is read from a file of weights."""

import types
from collections.abc import Mapping
from typing import Any

from models import dual_encoder
from runtime import marks

# Defaults for a file that has no scale and bias of logits and no pixel
# statistics.
_FIELDS: Mapping[str, Any] = types.MappingProxyType(
  {
    "dtype": "float32",
    **marks.no_recomputation(dual_encoder.ModelConfig),
    "scale_init": 1.0,
    "scale_max": 0.0,
    "bias_init": 0.0,
    "image_mean": (0.5, 0.5, 0.5),
    "image_std": (0.5, 0.5, 0.5),
    "image": None,
    "text": None,
  }
)


def make_model(**fields: Any) -> dual_encoder.ModelConfig:
  """Return the config of a model in float32 that recomputes nothing.

  Args:
    **fields: embed_dim, one or two towers, and other fields that the file
      defines.
  """
  return dual_encoder.ModelConfig(**{**_FIELDS, **fields})
