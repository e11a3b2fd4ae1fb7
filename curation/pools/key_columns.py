"""UIDs of a column of keys, equal to those of the training sources."""

import contextlib
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from input_pipeline import faults
from input_pipeline.sources import arrow_values, columns
from input_pipeline.storage import uids as uids_lib

_NO_DIGIT = 255
# Byte -> the digit that it is in lower-case hexadecimal.
_DIGITS = np.full(256, _NO_DIGIT, np.uint8)
_DIGITS[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)


def of_keys(
  keys: pa.Array, other: Callable[[int], str] | None = None
) -> np.ndarray:
  """Return the UIDs of keys, UID [N].

  Args:
    keys: text, bytes or numbers.
    other: place -> the key where there is none, or one that is a fault.
  """
  found = np.empty(len(keys), uids_lib.UID)
  slow = np.arange(len(keys))
  if arrow_values.is_text(keys.type) or arrow_values.is_bytes(keys.type):
    size = 32 if arrow_values.is_text(keys.type) else 16
    lengths = pc.fill_null(
      pc.call_function("binary_length", [keys]), 0
    ).to_numpy(zero_copy_only=False)
    fast = np.flatnonzero(lengths == size)
    data = _bytes(keys, fast, size)
    if size == 32:
      digits = _DIGITS[data]
      is_hex = (digits != _NO_DIGIT).all(1)
      fast, digits = fast[is_hex], digits[is_hex]
      data = digits[:, ::2] << 4 | digits[:, 1::2]
    found[fast] = uids_lib.records(data)
    slow = np.setdiff1d(slow, fast, assume_unique=True)
  # A hash a key.
  rest = keys.take(pa.array(slow))
  if arrow_values.is_text(rest.type):
    rest, _ = arrow_values.strings(rest)
  for place, key in zip(slow.tolist(), rest.to_pylist(), strict=True):
    text = ""
    with contextlib.suppress(faults.ExampleError):
      text = columns.key_text(key)
    found[place] = uids_lib.uid(text or (other(place) if other else ""))
  return found


def problems(keys: pa.Array, name_of: Callable[[int], str]) -> pa.Array:
  """Return "KIND: MESSAGE" for each key that is a fault, else null.

  Args:
    keys: text, bytes or numbers.
    name_of: place -> the name of its row in messages.
  """
  found: list[str | None] = [None] * len(keys)
  if pa.types.is_floating(keys.type):
    for place, key in enumerate(keys.to_pylist()):
      try:
        columns.key_text(key)
      except faults.ExampleError as error:
        found[place] = f"{error.kind}: {name_of(place)}: {error}"
  return pa.array(found, pa.string())


def _bytes(keys: pa.Array, places: np.ndarray, size: int) -> np.ndarray:
  """Return uint8 [n, size] of those values, which all have that length."""
  values = keys if len(places) == len(keys) else keys.take(pa.array(places))
  if not len(values):
    return np.zeros((0, size), np.uint8)
  if pa.types.is_fixed_size_binary(values.type):
    start, data = values.offset * size, values.buffers()[1]
  else:
    is_large = values.type in (pa.large_string(), pa.large_binary())
    offsets = np.frombuffer(values.buffers()[1], "<i8" if is_large else "<i4")
    start, data = int(offsets[values.offset]), values.buffers()[2]
  # No gaps: null and empty values take no bytes and others are not there.
  return np.frombuffer(data, np.uint8, len(values) * size, start).reshape(
    -1, size
  )
