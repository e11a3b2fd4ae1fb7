"""Rows of tables with named columns as pairs: of Parquet, JSON and CSV."""

import concurrent.futures
import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import pool
from curation.pools import (
  caption_columns,
  key_columns,
  pair_tables,
  section,
)
from input_pipeline import faults
from input_pipeline.sources import columns as columns_lib
from input_pipeline.sources import named_file
from input_pipeline.sources.arrow import arrow_values
from input_pipeline.storage import uids as uids_lib
from input_pipeline.storage import web
from runtime.storage import remote

# Images, named by rows, that are read at the same time.
_NUM_OPENED = 16


@dataclasses.dataclass(frozen=True)
class Layout:
  """Roles of a table's columns.

  Attributes:
    columns: columns of the image, the captions, the language and the key.
    language: language of captions whose row names none.
    names: all columns.
    image_root, languages: fields of the pool's section.
  """

  columns: columns_lib.Columns
  language: str
  names: frozenset[str]
  image_root: str
  languages: tuple[str, ...]

  @property
  def known(self) -> frozenset[str]:
    """Return the columns that a pool of this table can yield."""
    names = self.names | set(pool.TYPES)
    if not self.columns.image:
      names -= {"image"}
      names -= {side for side in ("width", "height") if not self.side(side)}
    return frozenset(names)

  def side(self, side: str) -> str:
    """Return the column of "width" or "height", "" without one."""
    names = (f"original_{side}", side)
    return next((name for name in names if name in self.names), "")


class Reader:
  """Maker of pairs of the rows of a shard.

  Attributes:
    names: columns of the table to read.
  """

  def __init__(
    self,
    layout: Layout,
    folder: str,
    columns: Sequence[str],
    rows: np.ndarray | None,
  ):
    """Begin a shard.

    Args:
      layout: layout of the shard's table.
      folder: folder that paths of images are relative to.
      columns: columns to yield.
      rows: rows of the pairs to yield; None for all.
    """
    self._layout = layout
    self._folder = folder
    self._columns = tuple(name for name in columns if name not in pool.ALWAYS)
    self._rows = rows
    self._places = pool.places(rows)
    found = layout.columns
    # Without `rows`, captions decide which pairs there are.
    self._has_text = rows is None or not {"text", "language"}.isdisjoint(
      columns
    )
    self._sides = {
      side: layout.side(side) for side in ("width", "height") if side in columns
    }
    self._is_measured = not all(self._sides.values())
    self._has_image = "image" in columns or self._is_measured
    self._others = tuple(
      name
      for name in self._columns
      if name in layout.names and name not in pool.TYPES
    )
    wanted = [*self._others, *self._sides.values()]
    wanted += [found.key] if found.key else []
    wanted += found.captions if self._has_text else ()
    wanted += [found.language] if found.language else []
    wanted += [found.image] if self._has_image else []
    self.names = tuple(dict.fromkeys(name for name in wanted if name))

  def wants(self, start: int, stop: int) -> bool:
    """Return whether rows `start` to `stop` have a pair to yield."""
    if self._places is None:
      return True
    first, last = np.searchsorted(self._places, [start, stop])
    return first < last

  def chosen(self, start: int, stop: int) -> np.ndarray:
    """Return the rows from `start` to `stop` to yield, counted from `start`."""
    if self._places is None:
      return np.arange(stop - start)
    first, last = np.searchsorted(self._places, [start, stop])
    return self._places[first:last] - start

  def pairs(
    self,
    table: pa.Table,
    places: np.ndarray,
    positional: Callable[[int], str],
    problems: pa.Array | None = None,
    file: str = "",
  ) -> tuple[pa.Table, np.ndarray]:
    """Return the pairs of a table's rows, and the row in `table` of each pair.

    Args:
      table: table with the columns `names`.
      places: int64, index in the shard of each row, ascending.
      positional: row in `table` -> key, for a table without keys.
      problems: problem of each row as a string, null for most.
      file: path of the file for UIDs that depend on it; see uids.in_file.
    """
    rows, numbers, spoken, text, messages = self._captions(table, places)
    if problems is None and self._layout.columns.key:
      problems = key_columns.problems(self._keys(table), positional)
    if problems is not None:
      messages = pc.call_function(
        "coalesce", [problems.take(pa.array(rows)), messages]
      )
    # Every example once, since its captions share the image.
    examples, index = np.unique(rows, return_inverse=True)
    some = table.take(pa.array(examples))
    keys = key_columns.of_keys(
      self._keys(some), lambda place: positional(int(examples[place]))
    )
    if self._layout.columns.in_file and file:
      keys = uids_lib.in_file(keys, file)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
      "uid": pool.uid_column(keys[index]),
      "row": pa.array(places[rows] << pool.CAPTION_BITS | numbers),
      "fault": messages,
    }
    again = pa.array(index)
    for name in self._columns:
      if name == "text":
        columns[name] = text
      elif name == "caption":
        columns[name] = pa.array(numbers, pa.int32())
      elif name == "language":
        columns[name] = pc.call_function(
          "coalesce", [spoken, self._languages(some).take(again)]
        )
      elif name in self._others:
        columns[name] = arrow_values.column(some, name).take(again)
    if self._has_image:
      images, missing = self._images(some)
      columns["image"] = images.take(again)
      columns["fault"] = pc.call_function(
        "coalesce", [messages, missing.take(again)]
      )
    made = pa.table(columns)
    for side, name in self._sides.items():
      if name and not self._is_measured:
        values = arrow_values.column(some, name)
        made = _sided(made, side, values.take(again), name)
    if self._is_measured:
      made = pair_tables.sized(made, self._columns)
    return made.select([*pool.ALWAYS, *self._present(made)]), rows

  def _present(self, made: pa.Table) -> list[str]:
    return [name for name in self._columns if name in made.column_names]

  def _captions(
    self, table: pa.Table, places: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray, pa.Array, pa.Array, pa.Array]:
    """Return row in the table, number, language, text and fault of pairs."""
    wanted = np.zeros(0, np.int64)
    if self._rows is not None and len(places):
      first, last = np.searchsorted(
        self._rows >> pool.CAPTION_BITS, [places[0], places[-1] + 1]
      )
      wanted = self._rows[first:last]
      wanted = wanted[np.isin(wanted >> pool.CAPTION_BITS, places)]
    if not self._has_text:
      rows = np.searchsorted(places, wanted >> pool.CAPTION_BITS)
      nothing = pa.nulls(len(rows), pa.string())
      numbers = wanted & (1 << pool.CAPTION_BITS) - 1
      return rows, numbers, nothing, nothing, nothing
    names = self._layout.columns.captions
    found = caption_columns.read(
      table, names, self._languages(table), self._layout.languages
    )
    if self._rows is None:
      return tuple(
        getattr(found, field.name) for field in dataclasses.fields(found)
      )
    numbers = places[found.rows] << pool.CAPTION_BITS | found.numbers
    keep = np.flatnonzero(np.isin(numbers, wanted))
    kept = pa.array(keep)
    return (
      *(found.rows[keep], found.numbers[keep]),
      *(found.languages.take(kept), found.texts.take(kept)),
      found.faults.take(kept),
    )

  def _keys(self, some: pa.Table) -> pa.Array:
    name = self._layout.columns.key
    if name is None:
      return pa.nulls(len(some), pa.string())
    return arrow_values.column(some, name)

  def _languages(self, some: pa.Table) -> pa.Array:
    name = self._layout.columns.language
    if name is None:
      return pa.array([self._layout.language] * len(some), pa.string())
    found, _ = arrow_values.strings(arrow_values.column(some, name))
    is_given = pc.fill_null(
      pc.call_function(
        "greater", [pc.call_function("binary_length", [found]), 0]
      ),
      False,
    )
    return pc.call_function("if_else", [is_given, found, self._layout.language])

  def _images(self, some: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Return encoded images, and what is wrong with those there are not."""
    column = arrow_values.column(some, self._layout.columns.image)
    if arrow_values.is_bytes(column.type):
      images = column.cast(pa.binary())
      lacks = pc.call_function(
        "equal",
        [pc.fill_null(pc.call_function("binary_length", [images]), 0), 0],
      )
      column = self._layout.columns.about_image
      message = f"image_missing: nothing in column {column}"
      messages = pc.call_function(
        "if_else", [lacks, message, pa.scalar(None, pa.string())]
      )
      return images, messages

    def read(value: Any) -> tuple[bytes | None, str | None]:
      value = columns_lib.image_value(value)
      if isinstance(value, bytes) and value:
        return value, None
      if not value:
        column = self._layout.columns.about_image
        return None, f"image_missing: nothing in column {column}"
      return _named(value, self._folder)

    with concurrent.futures.ThreadPoolExecutor(_NUM_OPENED) as threads:
      found = list(threads.map(read, _decodable(column).to_pylist()))
    return (
      pa.array([image for image, _ in found], pa.binary()),
      pa.array([message for _, message in found], pa.string()),
    )


def _named(name: Any, folder: str) -> tuple[bytes | None, str | None]:
  """Return the image that a row names, or what is wrong with it.

  Raises faults.ExampleError where trying again may help.
  """
  if not isinstance(name, str) or not name:
    return None, "image_missing: the row names no image"
  try:
    return named_file.read(name, folder, section.FIELD), None
  except faults.ExampleError as error:
    # A web address that does not answer is gone; a disk or bucket is not.
    if error.kind == "read_failed" and remote.scheme(name) not in web.SCHEMES:
      raise
    return None, f"{error.kind}: {error}"


def _decodable(column: pa.Array) -> pa.Array:
  """Return images with null for what names a file not in UTF-8."""
  if arrow_values.is_text(column.type):
    return arrow_values.strings(column)[0]
  if pa.types.is_struct(column.type):
    parts = [_decodable(part) for part in column.flatten()]
    names = [field.name for field in column.type]
    return pa.StructArray.from_arrays(parts, names)
  return column


def _sided(table: pa.Table, side: str, values: pa.Array, name: str) -> pa.Table:
  """Return a table with a width or height; a fault where there is none."""
  if arrow_values.is_text(values.type):
    values = pa.array(map(_number, values.to_pylist()), pa.float64())
  if not pa.types.is_integer(values.type):
    values = pc.cast(values, pa.float64())  # as pandas has them beside NaN
  fits = pc.call_function(
    "and",
    [
      pc.call_function("greater_equal", [values, 0]),
      pc.call_function("less", [values, 2**31]),
    ],
  )
  values = pc.call_function(
    "if_else", [pc.fill_null(fits, False), values, None]
  )
  values = pc.cast(values, pa.int32(), safe=False)
  lacks = pc.call_function("is_null", [values])
  message = pc.call_function(
    "if_else",
    [lacks, f"record_broken: no {name}", pa.scalar(None, pa.string())],
  )
  table = pool.with_column(table, side, values)
  return pool.with_column(
    table, "fault", pc.call_function("coalesce", [table["fault"], message])
  )


def _number(text: str | None) -> float | None:
  with contextlib.suppress(ValueError):
    return float(text or "")
  return None
