"""Texts of Arrow columns, with their languages, whichever type stores them."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import langcodes
import numpy as np

from input_pipeline import faults
from input_pipeline.sources import columns as columns_lib
from input_pipeline.sources.arrow import arrow_values


class Texts(NamedTuple):
  """Texts of rows, those of a row one after the other.

  Attributes:
    rows: int64 [N], row of each text, ascending.
    languages: string [N]; null where the text names none.
    texts: string [N]; null where there is none, or none that can be read.
    broken: row -> reason why one of its texts cannot be read.
  """

  rows: np.ndarray
  languages: Any
  texts: Any
  broken: dict[int, str]


def texts(table: Any, names: Sequence[str]) -> Texts:
  """Return the texts of columns, of a row in the order of `names`.

  A column holds text or bytes in UTF-8, JSON, nothing, or lists, structs and
  maps of these. Structs and maps name the language of their texts.

  Raises:
    TypeError: type of a column that is none of these.
  """
  import pyarrow
  import pyarrow.compute as pc

  walk = _Walk()
  for name in names:
    base, path = arrow_values.located(table.column_names, name)
    values = arrow_values.whole(table[base])
    walk.add(values, path, np.arange(len(values)), None)
  rows = np.concatenate([np.zeros(0, np.int64), *walk.rows])
  empty = pyarrow.array([], pyarrow.string())
  languages = pyarrow.concat_arrays([empty, *walk.languages])
  strings_N = pyarrow.concat_arrays([empty, *walk.texts])
  if (rows[1:] < rows[:-1]).any():
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    languages = pc.call_function("take", [languages, pyarrow.array(order)])
    strings_N = pc.call_function("take", [strings_N, pyarrow.array(order)])
  return Texts(rows, languages, strings_N, walk.broken)


class _Walk:
  """Texts collected so far; see Texts."""

  def __init__(self):
    self.rows: list[np.ndarray] = []
    self.languages: list[Any] = []
    self.texts: list[Any] = []
    self.broken: dict[int, str] = {}

  def add(
    self, values: Any, path: str, rows: np.ndarray, languages: Any
  ) -> None:
    """Add the texts of an array.

    Args:
      values: array [N].
      path: rest of a dotted name.
      rows: int64 [N], row of each value.
      languages: string [N], or None: language of each value.
    """
    import pyarrow

    is_json = arrow_values.is_json(values.type)
    values = arrow_values.stored(values)
    kind = values.type
    if pyarrow.types.is_null(kind):
      return
    if pyarrow.types.is_map(kind):
      values = arrow_values.map_entries(values)
    if arrow_values.is_list(values.type):
      again = np.repeat(
        np.arange(len(values)), arrow_values.list_lengths(values)
      )
      if languages is not None:
        languages = languages.take(pyarrow.array(again))
      items, rows = values.flatten(), rows[again]
      if pyarrow.types.is_map(kind):
        self._add_map(items, path, rows, languages)
      else:
        self.add(items, path, rows, languages)
    elif pyarrow.types.is_struct(kind):
      self._add_struct(values, path, rows, languages)
    elif not arrow_values.is_decodable(kind):
      raise TypeError(str(kind))
    elif path or is_json:
      self._add_json(values, path, rows, languages)
    else:
      found, bad = arrow_values.strings(values)
      self._append(rows, languages, found)
      self._break(rows[bad], "the caption is not UTF-8")

  def _add_map(
    self, items: Any, path: str, rows: np.ndarray, languages: Any
  ) -> None:
    """Add entries of maps: all, or those with a key that begins `path`."""
    import pyarrow

    keys, values = (
      arrow_values.plain(x, keeps_json=True) for x in items.flatten()
    )
    if not path:
      self._add_named(keys, values, rows, languages)
      return
    if not arrow_values.is_decodable(keys.type):
      raise TypeError(f"map of {keys.type}")
    names = arrow_values.strings(keys)[0].to_pylist()
    for key in sorted({name for name in names if name}):
      base, rest = arrow_values.located([key], path)
      if base:
        chosen = np.flatnonzero([name == key for name in names])
        some = pyarrow.array(chosen)
        own = None if languages is None else languages.take(some)
        self.add(values.take(some), rest, rows[chosen], own)
    if not len(items):  # as a check of the type
      self.add(values, "", rows, languages)

  def _add_struct(
    self, values: Any, path: str, rows: np.ndarray, languages: Any
  ) -> None:
    """Add a field of structs, or all: their names are languages."""
    names = [field.name for field in values.type]
    fields = values.flatten()
    if path:
      number, rest = arrow_values.field_of(values.type, path)
      self.add(fields[number], rest, rows, languages)
      return
    language = next((x for x in columns_lib.LANGUAGE_FIELDS if x in names), "")
    text = next((x for x in columns_lib.TEXT_FIELDS if x in names), "")
    if language and text and len(names) == 2:
      codes, values = (
        arrow_values.plain(fields[names.index(name)], keeps_json=True)
        for name in (language, text)
      )
      if arrow_values.is_list(codes.type) and arrow_values.is_list(values.type):
        self._add_lists(codes, values, rows, languages)
      else:
        self._add_named(codes, values, rows, languages)
      return
    if not all(_is_code(name) for name in names):
      raise TypeError(
        f"not all its fields {names} are languages; COLUMN.{names[0]} names one"
      )
    for name, field in zip(names, fields, strict=True):
      self.add(field, "", rows, _constant(name, len(rows)))

  def _add_lists(
    self, codes: Any, values: Any, rows: np.ndarray, languages: Any
  ) -> None:
    """Add lists of texts with lists of their languages."""
    import pyarrow

    lengths = arrow_values.list_lengths(values)
    fits = lengths == arrow_values.list_lengths(codes)
    self._break(rows[~fits], "the row has not as many languages as captions")
    kept = pyarrow.array(np.flatnonzero(fits))
    again = np.repeat(np.flatnonzero(fits), lengths[fits])
    if languages is not None:
      languages = languages.take(pyarrow.array(again))
    codes, values = (x.take(kept).flatten() for x in (codes, values))
    self._add_named(codes, values, rows[again], languages)

  def _add_named(
    self, codes: Any, values: Any, rows: np.ndarray, languages: Any
  ) -> None:
    """Add texts with their languages."""
    import pyarrow

    is_null = pyarrow.types.is_null(codes.type)
    if not is_null and not arrow_values.is_decodable(codes.type):
      raise TypeError(f"languages of {codes.type}")
    codes, bad = arrow_values.strings(codes)
    self._break(rows[bad], "the caption's language is not UTF-8")
    self.add(values, "", rows, _or(codes, languages))

  def _add_json(
    self, values: Any, path: str, rows: np.ndarray, languages: Any
  ) -> None:
    import pyarrow

    own = [None] * len(rows) if languages is None else languages.to_pylist()
    again, codes, found = [], [], []
    decoded, bad = arrow_values.strings(values)
    self._break(rows[bad], "the caption's JSON is not UTF-8")
    for number, data in enumerate(decoded.to_pylist()):
      try:
        value = None
        if data:
          value = columns_lib.parsed(data, "the caption's column")
        for code, text in columns_lib.by_language(
          arrow_values.entry(value, path), own[number] or ""
        ):
          columns_lib.check_unicode(text, "the caption")
          codes.append(columns_lib.clean(code) or None)
          found.append(text)
          again.append(number)
      except faults.ExampleError as error:
        self._break(rows[[number]], str(error))
    self._append(
      rows[np.array(again, np.int64)],
      pyarrow.array(codes, pyarrow.string()),
      pyarrow.array(found, pyarrow.string()),
    )

  def _append(self, rows: np.ndarray, languages: Any, found: Any) -> None:
    import pyarrow

    self.rows.append(rows)
    self.languages.append(
      pyarrow.nulls(len(rows), pyarrow.string())
      if languages is None
      else languages
    )
    self.texts.append(found)

  def _break(self, rows: np.ndarray, reason: str) -> None:
    for row in rows.tolist():
      self.broken.setdefault(row, reason)


@functools.cache
def _is_code(name: str) -> bool:
  return langcodes.tag_is_valid(name.strip().replace("_", "-"))


def _constant(text: str, number: int) -> Any:
  import pyarrow

  return pyarrow.repeat(pyarrow.scalar(text, pyarrow.string()), number)


def _or(codes: Any, languages: Any) -> Any:
  """Return codes, where they are null or "" the other languages."""
  import pyarrow
  import pyarrow.compute as pc

  if languages is None:
    languages = pyarrow.nulls(len(codes), pyarrow.string())
  is_code = pc.call_function("not_equal", [codes, ""]).fill_null(False)
  return pc.call_function("if_else", [is_code, codes, languages])
