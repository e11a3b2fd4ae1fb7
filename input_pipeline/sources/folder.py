"""Folders of images with their captions beside them, nested to any depth.

`path` is a folder. If it, or a folder below it, has one of TABLES, these name
the images, as in image folders of Hugging Face: a column such as file_name has
a path below the folder of its table, and others are as in table.py. Otherwise
each image is an example, and its captions are in files of the same name:

  a/1.jpg     an image; folders.IMAGES has the suffixes
  a/1.txt     a caption
  a/1.caption a caption, if there is no .txt
  a/1.json    {"caption": "a cat"}, or a list of captions, if there is neither

`caption`, `image`, `language_field` and `uid` name suffixes and fields of the
JSON file as for tars (see webdataset.py), or columns of the tables. The key is
that of the tables or the image's path below `path`, followed by #1, #2, ... for
its further rows; with a `uid` of "file+key" it is the path where tables have
keys too. Hidden files are left out.

The folder is read once into a table of JSON lines below the cache folder, whose
name changes with any file; that table is what training and curation read.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import posixpath
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from input_pipeline import faults
from input_pipeline.sources import (
  columns,
  parquet_layout,
  source_config,
  table,
  table_layout,
  webdataset_layout,
)
from input_pipeline.sources import record as record_lib
from input_pipeline.storage import files, folders, remote, tar_scan
from input_pipeline.storage import uids as uids_lib
from runtime import progress, whole_files

LANGUAGES = None

TABLES = (
  *("metadata.jsonl", "metadata.csv", "metadata.tsv", "metadata.parquet"),
  *("captions.jsonl", "captions.csv", "captions.tsv", "captions.parquet"),
)
_CAPTIONS = ("txt", "caption", "json.caption", "json.captions", "json.texts")
# Suffixes of files that are captions and nothing else.
_TEXTS = (".txt", ".caption")

# Version to increase when another table is made of the same files.
_VERSION = 1
# Texts read at the same time, and number from which progress is shown.
_NUM_READ = 16
_NUM_SHOWN = 10_000
# Text that cannot be encoded: of an image or a caption, it is a broken row's.
_BROKEN = "\udcff"
# Files that a warning names.
_NUM_NAMED = 5


splits = source_config.no_splits


def open_split(
  source: source_config.SourceConfig,
  split: str,
  context: source_config.SourceContext,
) -> "Records":
  """Return the images of a folder, its table made if need be."""
  source_config.check_no_split(source, split, context)
  made = as_table(source, context.field, context.cache_dir)
  return Records(
    table.open_table(made, context.field, context.cache_dir),
    remote.local_path(source.path).rstrip("/"),
  )


def as_table(
  source: source_config.SourceConfig, field: str, cache_dir: pathlib.Path
) -> source_config.SourceConfig:
  """Return the section of a folder's table, made if need be.

  Raises ValueError, naming `field`, for a folder without images.
  """
  listed = _used(folders.walk(source.path, f"{field}.path"))
  tables = [name for name in listed if _is_table(name)]
  facts = (
    *(_VERSION, source.image, source.caption, source.language),
    *(source.language_field, source.uid, source.image_root),
    [(name, file.size, file.version) for name, file in listed.items()],
  )
  if source.uid.startswith(uids_lib.IN_FILE):
    if source.uid not in (f"{uids_lib.IN_FILE}key", columns.BY_ROW):
      raise ValueError(
        f'{field}.uid must be a field, "file+key" or "file+row" for '
        f'format="folder"; got {source.uid!r}'
      )
    # An image's path tells files apart.
    source = dataclasses.replace(source, uid=columns.BY_ROW if tables else "")
  path = cache_dir / "folders" / f"{record_lib.digest(facts)}.jsonl"
  notes = path.with_suffix(".notes")
  if not (path.exists() and notes.exists()):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    if tables:
      rows = _rows_of_tables(source, field, cache_dir, (listed, tables, lines))
    else:
      source.refuse(field, "image_root")
      rows = _rows_of_texts(source, field, (listed, lines))
    with whole_files.new_file(path) as temporary:
      with open(temporary, "wb") as file:
        for row in _with_keys(rows):
          file.write(json.dumps(row).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
      # The same table, made again, has the same version.
      os.utime(temporary, ns=(0, 0))
    whole_files.write(notes, columns.clean("\n".join(lines)).encode())
  for line in notes.read_text().splitlines():
    logging.warning("%s.path: %s", field, line)
  return dataclasses.replace(
    source,
    format="table",
    path=str(path),
    image=("image",),
    caption=("caption",),
    language_field="language",
    uid="key",
    image_root=source.image_root or source.path,
    encoding="",
  )


class Records:
  """Images of a folder; see record.Records."""

  def __init__(self, rows: table.Records, folder: str):
    self._rows = rows
    self._folder = folder

  # Pickled without caches.
  def __reduce__(self):
    return type(self), (self._rows, self._folder)

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, index: int) -> record_lib.Record:
    row = self._row(index)
    if "fault" in row:
      raise faults.ExampleError(*row["fault"])
    origin = f"{self._folder}/{row['image']}"
    try:
      return dataclasses.replace(self._rows[index], origin=origin)
    except faults.ExampleError as error:
      # Not of a table that nobody wrote.
      message = str(error).removeprefix(f"{self._rows.where(index)}: ")
      raise faults.ExampleError(error.kind, f"{origin}: {message}") from error

  def fingerprint(self) -> str:
    """Return hex digits of the files' names, sizes and times of change."""
    return pathlib.Path(self._rows.path).stem

  def path_of(self, index: int) -> str:
    """Return the path of an image."""
    return f"{self._folder}/{self._row(index)['image']}"

  def uids(self) -> np.ndarray:
    """Return the UIDs; reads the table, not the images."""
    return self._rows.uids()

  def _row(self, index: int) -> Mapping[str, Any]:
    if not 0 <= index < len(self):
      raise IndexError(f"no image {index} of {len(self)}")
    start, stop = self._rows.starts[index : index + 2].tolist()
    return table_layout.row(files.read_range(self._rows.path, start, stop))


def _is_image(name: str) -> bool:
  return os.path.splitext(name)[1].lower() in folders.IMAGES


def _is_table(name: str) -> bool:
  return name.rpartition("/")[2] in TABLES


def _used(listed: Mapping[str, files.File]) -> dict[str, files.File]:
  """Return the files that a table of a folder may be made of."""
  images = [_composed(name) for name in listed if _is_image(name)]
  stems = {*images, *(os.path.splitext(name)[0] for name in images)}
  return {
    name: file
    for name, file in listed.items()
    if name.lower().endswith((*folders.IMAGES, *_TEXTS))
    or _is_table(name)
    or _composed(os.path.splitext(name)[0]) in stems
  }


def _composed(name: str) -> str:
  """Return the form of a name that is compared: a disk may have either."""
  return unicodedata.normalize("NFC", name)


def _with_keys(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
  """Yield rows with all columns, and a key made of their image if need be."""
  counts: dict[str, int] = {}
  for row in rows:
    row = {"caption": None, "language": ""} | row
    if not row.get("key"):
      name = _composed(columns.clean(str(row["image"])))
      number = counts[name] = counts.get(name, -1) + 1
      row["key"] = f"{name}#{number}" if number else name
    yield row


def _rows_of_texts(
  source: source_config.SourceConfig,
  field: str,
  context: tuple[Mapping[str, files.File], list[str]],
) -> Iterator[dict[str, Any]]:
  """Yield the rows of images with files of their name beside them."""
  listed, lines = context
  layout = webdataset_layout.make(
    dataclasses.replace(source, caption=source.caption or _CAPTIONS), field
  )
  layout = dataclasses.replace(layout, takes_first=not source.caption)
  suffixes = folders.IMAGES
  if source.image:
    suffixes = tuple(f".{extension}" for extension in layout.images)
  images, beside = [], {}
  for name in listed:
    stem, suffix = os.path.splitext(name)
    if suffix.lower() in suffixes:
      images.append(name)
    else:
      members = beside.setdefault(_composed(stem), {})
      members.setdefault(suffix.lower().removeprefix("."), name)
  if not images:
    raise ValueError(
      f"{field}.path must be a folder with {', '.join(suffixes)} or "
      f"{', '.join(TABLES[:4])}; got {source.path!r}, of {len(listed)} files"
    )
  wanted = {kind for kind, _ in layout.captions}
  if layout.language_field or layout.uid_field:
    wanted.add("json")
  used: set[str] = set()

  def read(name: str) -> dict[str, Any]:
    full = _composed(name)
    # a/1.txt, or a/1.jpg.txt.
    names = beside.get(os.path.splitext(full)[0], {}) | beside.get(full, {})
    names = {kind: x for kind, x in names.items() if kind in wanted}
    used.update(names.values())
    row: dict[str, Any] = {"image": name}
    members: dict[str, bytes | faults.ExampleError] = {
      os.path.splitext(name)[1].lower().removeprefix("."): b""
    }
    name = listed[name].path
    try:
      for kind, text in names.items():
        members[kind] = files.read(listed[text].path)
      row |= _captions(webdataset_layout.texts_of(members, layout, name))
      if layout.uid_field:
        fields = webdataset_layout.fields_of(members, name)
        key = tar_scan.field_of(fields, layout.uid_field)
        row["key"] = columns.key_text(key)
        if not row["key"]:
          message = f"{name} has no JSON file with {layout.uid_field}"
          raise faults.ExampleError("record_broken", message)
    except faults.ExampleError as error:
      # Of a server, another try may give the caption.
      if error.kind in faults.TRANSIENT and remote.is_remote(source.path):
        raise
      row |= _fault(error, name)
    return row

  yield from _mapped(read, images, field)
  stray = [
    name
    for names in beside.values()
    for kind, name in names.items()
    if f".{kind}" in _TEXTS and name not in used
  ]
  lines += _left_out(source.path, stray, "captions without an image")


def _rows_of_tables(
  source: source_config.SourceConfig,
  field: str,
  cache_dir: pathlib.Path,
  context: tuple[Mapping[str, files.File], Sequence[str], list[str]],
) -> Iterator[dict[str, Any]]:
  """Yield the rows of tables in a folder, in the order of the tables."""
  listed, tables, lines = context
  named = set()
  for name in tables:
    one = dataclasses.replace(source, path=listed[name].path)
    rows = _json_rows(one, field, cache_dir)
    if name.endswith(".parquet"):
      rows = _parquet_rows(one, field, listed[name])
    folder = "" if source.image_root else name.rpartition("/")[0]
    for number, row in enumerate(rows):
      image = row["image"]
      if image == _BROKEN or not image:
        row["key"] = row["key"] or f"{name}#{number}"
      elif not remote.scheme(image) and not os.path.isabs(image):
        row["image"] = posixpath.normpath(posixpath.join(folder, image))
      named.add(_composed(row["image"]))
      yield row
  stray = [
    name for name in listed if _is_image(name) and _composed(name) not in named
  ]
  if not source.image_root:
    text = f"images that no row of {', '.join(tables[:_NUM_NAMED])} names"
    lines += _left_out(source.path, stray, text)


def _json_rows(
  source: source_config.SourceConfig, field: str, cache_dir: pathlib.Path
) -> Iterator[dict[str, Any]]:
  """Yield the rows of a table of JSON lines, CSV or TSV."""
  records = table.open_table(source, field, cache_dir)
  for index in range(len(records)):
    start, stop = records.starts[index : index + 2].tolist()
    where = functools.partial(records.where, index)
    try:
      row = records.layout.row(files.read_range(records.path, start, stop))
    except faults.ExampleError as error:
      yield {"image": _BROKEN, "key": "", **_fault(error, where())}
      continue
    yield _row_of(row, records.layout.columns, source, where)


def _parquet_rows(
  source: source_config.SourceConfig, field: str, file: files.File
) -> Iterator[dict[str, Any]]:
  """Yield the rows of a table in Parquet."""
  layout, _ = parquet_layout.read_footers([file], source, field)
  number = 0
  with parquet_layout.opened(file.path) as reader:
    for batch in reader.iter_batches():
      for row in batch.to_pylist():
        where = f"row {number} of {file.path}"
        yield _row_of(row, layout.columns, source, lambda where=where: where)
        number += 1


def _row_of(
  row: Mapping[str, Any],
  found: columns.Columns,
  source: source_config.SourceConfig,
  where: Callable[[], str],
) -> dict[str, Any]:
  """Return the row of a folder's table for that of another table."""
  made: dict[str, Any] = {
    name: value
    for name, value in row.items()
    if isinstance(value, str | int | float) and name != "fault"
  }
  image = columns.image_value(row.get(found.image))
  made["image"] = image if isinstance(image, str) else ""
  made["key"] = ""
  made["caption"] = made["language"] = None
  try:
    if found.key:
      made["key"] = columns.key_text(row.get(found.key))
    texts = columns.texts(found, row, source.language, "the row")
    made |= _captions(texts)
    if not made["image"]:
      raise faults.ExampleError(
        "image_missing", f"nothing is in column {found.about_image}"
      )
  except faults.ExampleError as error:
    made |= _fault(error, where())
  return made


def _captions(texts: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
  """Return the part of a row that is captions by language."""
  if len(texts) != 1:
    return {"caption": texts}
  ((language, captions),) = texts.items()
  return {"caption": captions, "language": language}


def _fault(error: faults.ExampleError, where: str) -> dict[str, Any]:
  """Return the part of a row that is a fault, for training and curation."""
  text = str(error)
  row: dict[str, Any] = {
    "fault": (error.kind, text if where in text else f"{where}: {text}")
  }
  if error.kind == "caption_broken":
    row["caption"] = _BROKEN
  return row


def _mapped(
  read: Callable[[str], dict[str, Any]], names: Sequence[str], field: str
) -> Iterator[dict[str, Any]]:
  """Yield `read` of each name, in order, from several threads."""
  with contextlib.ExitStack() as stack:
    threads = stack.enter_context(
      concurrent.futures.ThreadPoolExecutor(_NUM_READ)
    )
    bar = None
    if len(names) >= _NUM_SHOWN:
      label = f"Reading captions of {field}"
      bar = stack.enter_context(progress.Progress(label, len(names)))
    for start in range(0, len(names), _NUM_SHOWN):
      part = names[start : start + _NUM_SHOWN]
      yield from threads.map(read, part)
      if bar is not None:
        bar.advance(len(part))


def _left_out(path: str, names: Sequence[str], text: str) -> list[str]:
  """Return a line about files that are left out; none without any."""
  if not names:
    return []
  shown = ", ".join(sorted(names)[:_NUM_NAMED])
  more = ", ..." if len(names) > _NUM_NAMED else ""
  return [f"{path} has {len(names)} {text}, left out: {shown}{more}"]
