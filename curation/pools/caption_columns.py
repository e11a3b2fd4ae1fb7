"""Captions of a table's rows as pairs: columns of text, or of lists of it."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import pool
from input_pipeline import captions
from input_pipeline import languages as languages_lib
from input_pipeline.sources import arrow_texts

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
  table: pa.Table,
  names: Sequence[str],
  own: pa.Array,
  wanted: Sequence[str] = (),
) -> Captions:
  """Return the captions of rows; one without any has a fault.

  As input_pipeline.sources.columns.texts has them: all columns in order, lists
  in lists too, blank ones left out; those that name a language are numbered as
  input_pipeline.captions.numbered does.

  Args:
    table: table of the rows.
    names: names of the columns, of types that arrow_texts.texts reads.
    own: string, the language of each row.
    wanted: languages of the captions to return; () for all.
  """
  num_rows = len(table)
  places, language, text, broken = arrow_texts.texts(table, names)
  is_blank = pc.match_substring_regex(text, pattern=_BLANK)
  is_text = pc.fill_null(pc.invert(is_blank), False).to_numpy(
    zero_copy_only=False
  )
  bad = np.array(sorted(broken), np.int64)
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
  missing = "caption_missing: there is no caption"
  missing += f" in pool.languages={tuple(wanted)}" if wanted else ""
  messages = [
    f"caption_broken: {broken[row]}" if row in broken else missing
    for row in empty.tolist()
  ]
  merged = np.argsort(np.concatenate([places, empty]), kind="stable")
  return Captions(
    np.concatenate([places, empty])[merged],
    np.concatenate([numbers, np.zeros(len(empty), np.int64)])[merged],
    _with_nulls(language.take(pa.array(order)), len(empty), merged),
    _with_nulls(text.take(pa.array(order)), len(empty), merged),
    pa.concat_arrays(
      [
        pa.nulls(len(places), pa.string()),
        pa.array(messages, pa.string()),
      ]
    ).take(pa.array(merged)),
  )


def _with_nulls(texts: pa.Array, number: int, order: np.ndarray) -> pa.Array:
  if not number:
    return texts
  whole = pa.concat_arrays([texts, pa.nulls(number, texts.type)])
  return whole.take(pa.array(order))
