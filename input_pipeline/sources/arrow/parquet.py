"""Rows of Parquet files, read in any order.

Three layouts are recognised: img2dataset's files (images in a binary column
named jpg, png or webp; columns caption, key, status, of which only rows with
the status "success" are examples), those of Hugging Face's datasets (a struct
image of bytes and path), and tars that became tables (__key__, jpg, txt, json).
A text column for the image names files, by a path below the table's folder or
a URL; see named_file.py. Captions are text, lists of it, or these by language,
in one column or several. Their types may differ from file to file, and a dotted
name is of something inside a column; see arrow_values.py.

Parquet is read by whole row groups, so those used last are kept. If they are
large, a shuffled reader reads much more than it uses, and a warning is logged.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from absl import logging

from input_pipeline import faults
from input_pipeline.sources import (
  columns,
  image_ids,
  named_file,
  source_config,
)
from input_pipeline.sources import record as record_lib
from input_pipeline.sources.arrow import (
  arrow_texts,
  arrow_values,
  parquet_layout,
)
from input_pipeline.storage import files, kept
from input_pipeline.storage import uids as uids_lib
from runtime.storage import remote

LANGUAGES = None

# Bytes of decoded row groups that a process keeps. A shuffled reader seldom
# needs one again; a reader in order, with its threads, needs a few.
_CACHE_BYTES = 256 * 2**20
# Bytes of footers kept; they name every column of every row group.
_FOOTER_BYTES = 64 * 2**20
# Mean uncompressed bytes of a row group's images above which opening warns: at
# 1 GB/s, 8 ms for each image, as long as decoding a large photograph.
_WARN_BYTES = 8 * 2**20

# Row of a row group: file, number in the file, number of examples (rows with
# the right status), uncompressed bytes.
_GROUP = np.dtype(
  [
    ("file", "i4"),
    ("number", "i4"),
    ("num_examples", "i8"),
    ("image_bytes", "i8"),
  ]
)


splits = source_config.no_splits


def open_split(
  source: source_config.SourceConfig,
  split: str,
  context: source_config.SourceContext,
) -> "Records":
  """Return the rows of all files; reads their footers."""
  field = context.field
  source_config.check_no_split(source, split, context)
  found = files.find(source.path, f"{field}.path")
  layout, footers = parquet_layout.read_footers(found, source, field)
  groups = np.array(
    [
      (number, group, *facts)
      for number, footer in enumerate(footers)
      for group, facts in enumerate(
        zip(footer.counts, footer.sizes, strict=True)
      )
    ],
    _GROUP,
  )
  groups = groups[groups["num_examples"] > 0]
  records = Records(source, found, layout, groups, field)
  num_failed = sum(footer.num_failed for footer in footers)
  about = f"{num_failed} rows whose status is not success, left out"
  if not len(records):
    more = f"; it has {about}" if num_failed else ""
    raise ValueError(f"{field}.path: {source.path} has no rows to use{more}")
  if num_failed:
    logging.warning(
      "%s.path: %s has %s; %d others", field, source.path, about, len(records)
    )
  _warn_of_large_groups(groups, field)
  return records


class Records:
  """Rows of Parquet files; see record.Records."""

  def __init__(
    self,
    source: source_config.SourceConfig,
    found: Sequence[files.File],
    layout: parquet_layout.Layout,
    groups: np.ndarray,
    field: str,
  ):
    self._arguments = source, tuple(found), layout, groups, field
    self._source = source
    self._field = field
    self._files = tuple(found)
    self._layout = layout
    self._groups = groups
    self._stops = np.cumsum(groups["num_examples"])
    self._names = columns.names_from_common([file.path for file in found])
    self._cache = kept.Kept(self._read_group, _CACHE_BYTES)
    self._footers = kept.Kept(self._read_footer, _FOOTER_BYTES)

  # Pickled without row groups, which are read again when unpickled.
  def __reduce__(self):
    return type(self), self._arguments

  def __len__(self) -> int:
    return int(self._stops[-1]) if len(self._stops) else 0

  def __getitem__(self, index: int) -> record_lib.Record:
    number, position = self._locate(index)
    table, rows = self._cache[number]
    position = position if rows is None else int(rows[position])
    path = self._files[self._groups["file"][number]].path
    where = f"row {index}, of {path}"
    image = self._image_of(table, position, where)
    stored_id = b""
    if isinstance(image, str):
      stored_id = self._named(named_file.stored_id, image, path, where)
      image = self._named(named_file.read, image, path, where)
    texts = record_lib.texts(
      functools.partial(self._texts, table, position, where),
      self._source.needs_caption,
    )
    with faults.located(where):
      stored = text_of(table, position, self._layout.columns.key)
      key = self._key(stored, number, position)
    return record_lib.Record(key, image, texts, f"{path}, {key}", stored_id)

  def image_id(self, index: int) -> bytes:
    """Return the name of a row's image; see image_ids."""
    number, position = self._locate(index)
    table, rows = self._cache[number]
    position = position if rows is None else int(rows[position])
    path = self._files[self._groups["file"][number]].path
    where = f"row {index}, of {path}"
    image = self._image_of(table, position, where)
    if isinstance(image, str):
      return self._named(named_file.image_id, image, path, where)
    return image_ids.of_bytes(image)

  def fingerprint(self) -> str:
    """Return hex digits of the files' names, sizes and versions."""
    facts = [
      (name, file.size, file.version)
      for name, file in zip(self._names, self._files, strict=True)
    ]
    root = named_file.facts_of(self._source.image_root)
    return record_lib.digest((facts, self._layout, *root))

  def path_of(self, index: int) -> str:
    """Return the path of the file that has a row."""
    return self._files[self._groups["file"][self._locate(index)[0]]].path

  def uids(self) -> np.ndarray:
    """Return the UIDs; reads no column but the key's."""
    found = np.empty(len(self), uids_lib.UID)
    for number, stop in enumerate(self._stops.tolist()):
      start = stop - int(self._groups["num_examples"][number])
      for index, key in zip(
        range(start, stop), self._keys(number), strict=True
      ):
        found[index] = uids_lib.uid(key)
      if self._layout.columns.in_file:
        name = self._names[self._groups["file"][number]]
        found[start:stop] = uids_lib.in_file(found[start:stop], name)
    return found

  def _locate(self, index: int) -> tuple[int, int]:
    """Return (row group, index among its examples)."""
    if not 0 <= index < len(self):
      raise IndexError(f"no row {index} of {len(self)}")
    number = int(np.searchsorted(self._stops, index, "right"))
    start = int(self._stops[number] - self._groups["num_examples"][number])
    return number, index - start

  def _keys(self, number: int) -> Iterator[str]:
    """Yield the keys of a row group's examples."""
    name = self._layout.columns.key
    num_examples = int(self._groups["num_examples"][number])
    table, rows = None, None
    names = [*([name] if name else ()), *self._layout.status]
    if names:
      with contextlib.suppress(faults.ExampleError):
        table, rows = self._read_columns(number, names)
    places = range(num_examples) if rows is None else rows.tolist()
    values = None if table is None else self._stored_keys(table)
    for place in places:
      try:
        value = None if values is None else values[place]
        yield self._key(value, number, place)
      except faults.ExampleError:  # raised again when the row is read
        yield self._key(None, number, place)

  def _stored_keys(self, table: Any) -> list[Any]:
    """Return the keys in a table, None where there is none."""
    name = self._layout.columns.key
    if name is None:
      return [None] * len(table)
    values = arrow_values.column(table, name)
    if arrow_values.is_text(values.type):
      values, _ = arrow_values.strings(values)
    return values.to_pylist()

  def _texts(
    self, table: Any, position: int, where: str
  ) -> dict[str, tuple[str, ...]]:
    """Return the captions of a row by language."""
    found = self._layout.columns
    row = caption_values(table, position, found, where)
    return columns.texts(found, row, self._source.language, where)

  def _read_group(
    self, number: int
  ) -> tuple[tuple[Any, np.ndarray | None], int]:
    """Return an entry of `_cache`, and its bytes."""
    names = [*self._layout.columns.names, *self._layout.status]
    found = self._read_columns(number, names)
    return found, found[0].nbytes

  def _read_footer(self, number: int) -> tuple[Any, int]:
    """Return a file's entry in `_footers`, and its approximate bytes."""
    with parquet_layout.opened(self._files[number].path) as reader:
      return reader.metadata, reader.metadata.serialized_size

  def _read_columns(
    self, number: int, names: list[str]
  ) -> tuple[Any, np.ndarray | None]:
    """Return columns of a row group, and the rows of examples (None: all).

    Raises faults.ExampleError.
    """
    import pyarrow

    group = int(self._groups["number"][number])
    file = self._files[self._groups["file"][number]]
    try:
      now = files.facts(file.path)
      if (now.size, now.version) != (file.size, file.version):
        raise faults.ExampleError(
          "shard_changed", f"{file.path} changed after it was opened"
        )
      footer = self._footers[int(self._groups["file"][number])]
      with parquet_layout.opened(file.path, footer) as reader:
        wanted = parquet_layout.parts(
          reader.schema_arrow, names, self._layout.columns.image
        )
        table = reader.read_row_group(
          group, columns=list(wanted), use_threads=False
        )
      rows = parquet_layout.examples(table, self._layout)
    except FileNotFoundError as error:
      raise faults.ExampleError(
        "file_missing", f"{file.path} is gone"
      ) from error
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
      kind = "read_failed" if remote.is_remote(file.path) else "record_broken"
      raise faults.ExampleError(
        kind, f"row group {group} of {file.path}: {error}"
      ) from error
    if (table.num_rows if rows is None else len(rows)) != (
      self._groups["num_examples"][number]
    ):
      raise faults.ExampleError(
        "shard_changed", f"{file.path} has other rows than when it was opened"
      )
    return table, rows

  def _image_of(self, table: Any, position: int, where: str) -> bytes | str:
    """Return the image of a row, or its path or address."""
    try:
      value = columns.image_value(
        value_of(table, position, self._layout.columns.image)
      )
    except UnicodeDecodeError as error:
      raise faults.ExampleError(
        "image_missing", f"{where}: the image's path is not UTF-8"
      ) from error
    if not value:
      raise faults.ExampleError(
        "image_missing",
        f"{where}, has nothing in column {self._layout.columns.about_image}",
      )
    return value

  def _named(
    self,
    fn: Callable[[str, str, str], bytes],
    name: str,
    path: str,
    where: str,
  ) -> bytes:
    """Return what a function of named_file does of a file that a row names."""
    folder = named_file.folder_of(self._source.image_root, path)
    with faults.located(where):
      return fn(name, folder, self._field)

  def _key(self, value: Any, number: int, place: int) -> str:
    group = self._groups[number]
    return columns.key_text(value) or (
      f"{self._names[group['file']]}:{group['number']}:{place}"
    )


def caption_values(
  table: Any, position: int, found: columns.Columns, where: str
) -> dict[str, Any]:
  """Return the captions and the language of a row as columns.texts reads them.

  Raises faults.ExampleError, "caption_broken", for text that is not UTF-8.
  """
  row: dict[str, Any] = {}
  for name in found.captions:
    if name in found.numbers | found.values | found.nested:
      try:
        row[name] = value_of(table, position, name)
      except UnicodeDecodeError as error:
        raise faults.ExampleError(
          "caption_broken", f"{where}: {name} is not UTF-8"
        ) from error
      continue
    if _is_simple(table, name):
      with contextlib.suppress(UnicodeDecodeError):
        row[name] = table[name][position].as_py()
        continue
    _, languages, texts, broken = arrow_texts.texts(
      table.slice(position, 1), [name]
    )
    for reason in broken.values():
      raise faults.ExampleError("caption_broken", f"{where}: {reason}")
    row[name] = [
      {code: text} if code else text
      for code, text in zip(
        languages.to_pylist(), texts.to_pylist(), strict=True
      )
    ]
  language = None
  with contextlib.suppress(UnicodeDecodeError):
    language = text_of(table, position, found.language)
    if isinstance(language, bytes):
      language = language.decode()
  return {**row, found.language: language} if found.language else row


def value_of(table: Any, position: int, name: str) -> Any:
  """Return a value; UnicodeDecodeError for text that is not UTF-8."""
  import pyarrow

  if name in table.column_names:
    value = table[name][position]
    if not isinstance(value, pyarrow.ExtensionScalar):
      return value.as_py()
  return arrow_values.column(table.slice(position, 1), name)[0].as_py()


def text_of(table: Any, position: int, name: str | None) -> Any:
  """Return a value; None for text that is not UTF-8, and without a column."""
  with contextlib.suppress(UnicodeDecodeError):
    return value_of(table, position, name) if name else None
  return None


def _is_simple(table: Any, name: str) -> bool:
  """Return whether a column has strings or lists of them, read faster."""
  import pyarrow

  if name not in table.column_names:
    return False
  kind = table[name].type
  while pyarrow.types.is_list(kind):
    kind = kind.value_type
  return pyarrow.types.is_string(kind)


def _warn_of_large_groups(groups: np.ndarray, field: str) -> None:
  """Log a warning if a shuffled reader would read much that it does not use."""
  image_bytes = groups["image_bytes"]
  mean, total = image_bytes.mean(), image_bytes.sum()
  # A small data set stays in memory after it was read once.
  if mean < _WARN_BYTES or total <= _CACHE_BYTES:
    return
  num_rows = groups["num_examples"].mean()
  logging.warning(
    "%s.path: row groups have %.0f rows and %.0f MB of images on average, and a"
    " shuffled reader decodes a whole one for each image: %.0f MB for %.2f MB."
    " Convert the files once: main.py --task=prepare --config=... --out=DIR",
    *(field, num_rows, mean / 1e6, mean / 1e6, mean / num_rows / 1e6),
  )
