"""Captions of a table's rows as pairs: columns of text, or of lists of it."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import pool
from curation.pools import key_columns


@dataclasses.dataclass(frozen=True)
class Captions:
  """The captions of some rows, those of a row one after the other.

  Attributes:
    rows: int64 [N], which row each is of, ascending.
    numbers: int64 [N], of the caption among those of its row.
    texts: string [N]; null where there is a fault.
    faults: string [N]; null where there is none.
  """

  rows: np.ndarray
  numbers: np.ndarray
  texts: pa.Array
  faults: pa.Array


def read(columns: Sequence[pa.Array]) -> Captions:
  """Return the captions of rows; one without any has a fault.

  As input_pipeline.sources.columns.texts has them: all columns in order, lists
  in lists too, blank ones left out.
  """
  num_rows = len(columns[0])
  rows, texts, broken = [], [], [np.zeros(0, np.int64)]
  for column in columns:
    some, found = _flat(column)
    found, bad = key_columns.valid(found)
    broken.append(some[bad])
    rows.append(some)
    texts.append(found)
  places, text = np.concatenate(rows), pa.concat_arrays(texts)
  is_text = pc.fill_null(
    pc.call_function(
      "greater",
      [
        pc.call_function(
          "utf8_length", [pc.call_function("utf8_trim_whitespace", [text])]
        ),
        0,
      ],
    ),
    False,
  ).to_numpy(zero_copy_only=False)
  bad = np.unique(np.concatenate(broken))
  is_text &= ~np.isin(places, bad)
  order = np.flatnonzero(is_text)
  # Captions of a row in the order of the columns.
  order = order[np.argsort(places[order], kind="stable")]
  places = places[order]
  counts = np.bincount(places, minlength=num_rows)
  numbers = np.arange(len(places)) - (np.cumsum(counts) - counts)[places]
  fits = numbers < 1 << pool.CAPTION_BITS
  order, places, numbers = order[fits], places[fits], numbers[fits]
  empty = np.flatnonzero(counts == 0)
  messages = np.where(
    np.isin(empty, bad),
    "caption_broken: the caption is not UTF-8",
    "caption_missing: there is no caption",
  )
  merged = np.argsort(np.concatenate([places, empty]), kind="stable")
  return Captions(
    np.concatenate([places, empty])[merged],
    np.concatenate([numbers, np.zeros(len(empty), np.int64)])[merged],
    _with_nulls(text.take(pa.array(order)), len(empty), merged),
    pa.concat_arrays(
      [
        pa.nulls(len(places), pa.string()),
        pa.array(messages.tolist(), pa.string()),
      ]
    ).take(pa.array(merged)),
  )


def _with_nulls(texts: pa.Array, number: int, order: np.ndarray) -> pa.Array:
  if not number:
    return texts
  whole = pa.concat_arrays([texts, pa.nulls(number, texts.type)])
  return whole.take(pa.array(order))


def _flat(column: pa.Array) -> tuple[np.ndarray, pa.Array]:
  """Return the row of each text of a column, and the texts."""
  if isinstance(column, pa.ChunkedArray):
    column = column.combine_chunks()
  rows = np.arange(len(column))
  while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
    rows = rows[pc.call_function("list_parent_indices", [column]).to_numpy()]
    column = pc.call_function("list_flatten", [column])
  if pa.types.is_dictionary(column.type):
    column = column.dictionary_decode()
  return rows, column if column.type == pa.string() else _string(column)


def _string(column: pa.Array) -> pa.Array:
  """Return large strings as such; not looked at, as a cast would do."""
  return column.cast(pa.large_binary()).cast(pa.binary()).view(pa.string())
