"""JSON of values, with null for the numbers that JSON does not have.

Python writes NaN and Infinity, which other readers refuse. Files of a run are
written with `dumps`, so that one such number does not cost the whole file.
"""

import json
import math
from typing import Any


def dumps(value: Any, **options: Any) -> str:
  """Return json.dumps(value, **options), null for what is not finite."""
  try:
    return json.dumps(value, allow_nan=False, **options)
  except ValueError:
    return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  if isinstance(value, dict):
    return {name: _finite(item) for name, item in value.items()}
  if isinstance(value, list | tuple):
    return [_finite(item) for item in value]
  return value
