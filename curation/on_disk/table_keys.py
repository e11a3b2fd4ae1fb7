"""64-bit keys of a table's pairs, for groups.py."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from curation.keys import hashing, strings
from curation.on_disk import by_uid


def of(
  table: pa.Table, columns: Sequence[str], *, squeeze: bool = False
) -> tuple[np.ndarray, np.ndarray]:
  """Return a uint64 [N] that stands for what the columns have, and a bool [N].

  Args:
    table: of pairs.
    columns: of texts, bytes or whole numbers; at least one.
    squeeze: whether texts are compared with their whitespace squeezed, as
      " ".join(text.split()).

  Returns:
    Keys, and whether all columns are there: a null is no value, not one that
    pairs have in common.
  """
  keys = np.zeros(len(table), np.uint64)
  is_whole = np.ones(len(table), bool)
  for name in columns:
    column = table[name]
    if column.null_count:
      is_whole &= column.is_valid().to_numpy()
    keys = hashing.mix(keys + _hashes(column, name, squeeze))
  return keys, is_whole


def pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Return a uint64 [N] for two keys each, in this order."""
  return hashing.mix(hashing.mix(first ^ _PAIR) + second)


def uids(table: pa.Table) -> np.ndarray:
  """Return the UIDs of a table's pairs, as hashing.halves takes them."""
  return by_uid.as_bytes(by_uid.of(table))


# So that a pair's key is not that of its first half, or of the halves' sum.
_PAIR = np.uint64(0xD1B54A32D192ED03)


def _hashes(column: pa.ChunkedArray, name: str, squeeze: bool) -> np.ndarray:
  kind = column.type
  if pa.types.is_integer(kind):
    values = column.fill_null(0).to_numpy()
    return hashing.mix(values.astype(np.int64).view(np.uint64))
  if pa.types.is_floating(kind) or pa.types.is_nested(kind):
    raise ValueError(
      f"The column {name} must be of texts, bytes or whole numbers, by which"
      f" pairs are told apart; got {kind}"
    )
  if squeeze and kind in (pa.string(), pa.large_string()):
    return strings.hashes(strings.squeezed(column))
  return strings.hashes(column)
