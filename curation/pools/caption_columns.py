"""Captions of a table's rows as pairs: columns of text, or of lists of it."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import pool
from curation.pools import key_columns
from input_pipeline import captions
from input_pipeline import languages as languages_lib

# RE2's classes are Unicode's categories.
_CLASSES = "".join(rf"\p{{{name}}}" for name in captions.BLANK)
_BLANK = rf"\A[{_CLASSES}]*\z"
# Type of a caption that names its language; "" for that of its row.
SPOKEN = pa.struct([("language", pa.string()), ("text", pa.string())])


@dataclasses.dataclass(frozen=True)
class Captions:
  """The captions of some rows, those of a row one after the other.

  Attributes:
    rows: int64 [N], which row each is of, ascending.
    numbers: int64 [N], of the caption among those of its row.
    languages: string [N]; null where the caption names none.
    texts: string [N]; null where there is a fault.
    faults: string [N]; null where there is none.
  """

  rows: np.ndarray
  numbers: np.ndarray
  languages: pa.Array
  texts: pa.Array
  faults: pa.Array


def read(
  columns: Sequence[pa.Array], own: pa.Array, wanted: Sequence[str] = ()
) -> Captions:
  """Return the captions of rows; one without any has a fault.

  As input_pipeline.sources.columns.texts has them: all columns in order, lists
  in lists too, blank ones left out; those that name a language are numbered as
  input_pipeline.captions.numbered does.

  Args:
    columns: columns of text, of SPOKEN, or of lists of these.
    own: string, the language of each row.
    wanted: languages of the captions to return; () for all.
  """
  num_rows = len(columns[0])
  rows, texts, broken = [], [], [np.zeros(0, np.int64)]
  languages = []
  for column in columns:
    some, found = _flat(column)
    spoken = pa.nulls(len(found), pa.string())
    if found.type == SPOKEN:
      spoken, found = found.field("language"), found.field("text")
      spoken = pc.call_function(
        "if_else", [pc.equal(spoken, ""), pa.scalar(None, pa.string()), spoken]
      )
    found, bad = key_columns.valid(_text(found))
    broken.append(some[bad])
    rows.append(some)
    texts.append(found)
    languages.append(spoken)
  places, text = np.concatenate(rows), pa.concat_arrays(texts)
  language = pa.concat_arrays(languages)
  is_blank = pc.match_substring_regex(text, pattern=_BLANK)
  is_text = pc.fill_null(pc.invert(is_blank), False).to_numpy(
    zero_copy_only=False
  )
  bad = np.unique(np.concatenate(broken))
  is_text &= ~np.isin(places, bad)
  order = np.flatnonzero(is_text)
  # Captions of a row by language, else in the order of the columns.
  codes = np.zeros(0, str)
  if wanted or language.null_count < len(language):
    named = pc.coalesce(language, own.take(pa.array(places)))
    codes = np.array(named.to_pylist(), str)
    order = order[np.argsort(codes[order], kind="stable")]
  order = order[np.argsort(places[order], kind="stable")]
  places = places[order]
  counts = np.bincount(places, minlength=num_rows)
  numbers = np.arange(len(places)) - (np.cumsum(counts) - counts)[places]
  fits = numbers < 1 << pool.CAPTION_BITS
  if wanted:
    kept = {*map(languages_lib.normalised, wanted)}
    distinct, inverse = np.unique(codes[order], return_inverse=True)
    is_kept = [languages_lib.normalised(code) in kept for code in distinct]
    fits &= np.array(is_kept, bool)[inverse]
  order, places, numbers = order[fits], places[fits], numbers[fits]
  empty = np.setdiff1d(np.arange(num_rows), places)
  messages = np.where(
    np.isin(empty, bad),
    "caption_broken: the caption is not UTF-8",
    "caption_missing: there is no caption"
    + (f" in pool.languages={tuple(wanted)}" if wanted else ""),
  )
  merged = np.argsort(np.concatenate([places, empty]), kind="stable")
  return Captions(
    np.concatenate([places, empty])[merged],
    np.concatenate([numbers, np.zeros(len(empty), np.int64)])[merged],
    _with_nulls(language.take(pa.array(order)), len(empty), merged),
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
  return rows, column


def _text(column: pa.Array) -> pa.Array:
  """Return texts of any type as strings; not looked at, as a cast would do."""
  if pa.types.is_dictionary(column.type):
    column = column.dictionary_decode()
  if column.type == pa.string():
    return column
  return column.cast(pa.large_binary()).cast(pa.binary()).view(pa.string())
