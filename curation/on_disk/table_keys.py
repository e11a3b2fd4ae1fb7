"""64-bit keys of the pairs of a table, for groups.py."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.keys import hashing, strings


def of(
  table: pa.Table, columns: Sequence[str], *, squeeze: bool = False
) -> tuple[np.ndarray, np.ndarray]:
  """Return a hash of each pair's values in columns, uint64 [N], and a bool [N].

  Args:
    table: table of pairs.
    columns: names of columns of texts, bytes or whole numbers; at least one.
    squeeze: whether texts are compared with their whitespace squeezed, as
      " ".join(text.split()).

  Returns:
    Keys, and whether a pair has a value in each of the columns: nulls, empty
    values and whitespace alone are no values, and equal to nothing.
  """
  keys = np.zeros(len(table), np.uint64)
  is_whole = np.ones(len(table), bool)
  for name in columns:
    column = table[name]
    is_whole &= _has_value(column)
    keys = hashing.mix(keys + _hashes(column, name, squeeze))
  return keys, is_whole


def pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Return a key for each ordered pair of keys, uint64 [N]."""
  return hashing.mix(hashing.mix(first ^ _PAIR) + second)


# Constant that separates a pair's key from its first key and from their sum.
_PAIR = np.uint64(0xD1B54A32D192ED03)


def _has_value(column: pa.ChunkedArray) -> np.ndarray:
  if pa.types.is_dictionary(column.type):
    column = pc.call_function("dictionary_decode", [column])
  if column.type in (pa.string(), pa.large_string()):
    column = pc.call_function("utf8_trim_whitespace", [column])
  elif column.type not in (pa.binary(), pa.large_binary()):
    return column.is_valid().to_numpy()
  lengths = pc.fill_null(pc.call_function("binary_length", [column]), 0)
  return lengths.to_numpy() > 0


def _hashes(column: pa.ChunkedArray, name: str, squeeze: bool) -> np.ndarray:
  kind = column.type
  if pa.types.is_integer(kind):
    values = column.fill_null(0).to_numpy()
    return hashing.mix(values.astype(np.int64).view(np.uint64))
  if pa.types.is_floating(kind) or pa.types.is_nested(kind):
    raise ValueError(
      f"The column {name} must be of texts, bytes or whole numbers to compare"
      f" pairs by; got {kind}"
    )
  if squeeze and kind in (pa.string(), pa.large_string()):
    return strings.hashes(strings.squeezed(column))
  return strings.hashes(column)
