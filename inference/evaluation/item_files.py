"""Figures item by item, as the npz files of an evaluation's folder."""

import io
import json
import pathlib
from collections.abc import Mapping

import numpy as np

from evaluators.figures import outcomes

_PARTS = {"clusters": "cluster_Q", "strata": "stratum_Q"}


def encoded(items: Mapping[str, outcomes.Items]) -> bytes:
  """Return the content of a file: FIGURE, and FIGURE/keys as JSON."""
  arrays: dict[str, np.ndarray] = {}
  for figure, one in items.items():
    arrays[figure] = one.value_Q
    # Not an array of objects, which only a pickle could hold.
    keys = json.dumps(list(one.keys)).encode()
    arrays[f"{figure}/keys"] = np.frombuffer(keys, np.uint8)
    for part, field in _PARTS.items():
      if (value := getattr(one, field)) is not None:
        arrays[f"{figure}/{part}"] = value
  buffer = io.BytesIO()
  np.savez_compressed(buffer, allow_pickle=False, **arrays)
  return buffer.getvalue()


def read(path: pathlib.Path) -> dict[str, outcomes.Items]:
  """Return the figures of a file; ValueError where it is none."""
  try:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
      arrays = dict(file)
    return {
      name.removesuffix("/keys"): outcomes.Items(
        json.loads(keys.tobytes()),
        arrays[name.removesuffix("/keys")],
        *(
          arrays.get(f"{name.removesuffix('/keys')}/{part}") for part in _PARTS
        ),
      )
      for name, keys in arrays.items()
      if name.endswith("/keys")
    }
  except (OSError, ValueError, KeyError) as error:
    raise ValueError(f"{path} holds no figures by item: {error}") from error
