"""Rows of the table that a folder of images is made; see folder.py."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import os
import pathlib
import posixpath
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from input_pipeline import faults
from input_pipeline.sources import columns, source_config, webdataset_layout
from input_pipeline.sources.arrow import (
  arrow_values,
  parquet,
  parquet_layout,
)
from input_pipeline.sources.tables import table
from input_pipeline.storage import files, folders, tar_scan
from runtime import progress
from runtime.storage import remote

# Tables that name the images of their folder: Hugging Face's, and ours.
TABLES = (
  *("metadata.jsonl", "metadata.csv", "metadata.tsv", "metadata.parquet"),
  *("captions.jsonl", "captions.csv", "captions.tsv", "captions.parquet"),
)
_CAPTIONS = ("txt", "caption", "json.caption", "json.captions", "json.texts")
# Suffixes of files that are captions and nothing else.
_TEXTS = (".txt", ".caption")

# Texts read at the same time, and number from which progress is shown.
_NUM_READ = 16
_NUM_SHOWN = 10_000
# Files that a warning names.
_NUM_NAMED = 5


def suffixes(source: source_config.SourceConfig) -> tuple[str, ...]:
  """Return the usual suffixes of a source's images, or of its videos."""
  return folders.VIDEOS if source.is_video else folders.IMAGES


def _is_image(name: str, suffixes: tuple[str, ...]) -> bool:
  return os.path.splitext(name)[1].lower() in suffixes


def _folder(name: str) -> str:
  return name.rpartition("/")[0]


def is_table(name: str) -> bool:
  """Return whether a file names the images of its folder."""
  return name.rpartition("/")[2] in TABLES


def used(
  listed: Mapping[str, files.File], suffixes: tuple[str, ...]
) -> dict[str, files.File]:
  """Return the files that a table of a folder may be made of.

  Args:
    listed: files by their path.
    suffixes: what `suffixes` returns.
  """
  stems = _stems(listed, suffixes)
  return {
    name: file
    for name, file in listed.items()
    if name.lower().endswith((*suffixes, *_TEXTS))
    or is_table(name)
    or _composed(os.path.splitext(name)[0]) in stems
  }


def _stems(listed: Iterable[str], suffixes: tuple[str, ...]) -> set[str]:
  """Return the names, less suffix, of files beside images: a/1, a/1.jpg."""
  images = [_composed(name) for name in listed if _is_image(name, suffixes)]
  return {*images, *(os.path.splitext(name)[0] for name in images)}


def _composed(name: str) -> str:
  """Return the form of a name that is compared: a disk may have either."""
  return unicodedata.normalize("NFC", name)


def with_keys(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
  """Yield rows with all columns, and a key made of their image if need be."""
  counts: dict[str, int] = {}
  for row in rows:
    row = {"caption": None, "language": ""} | row
    if not row.get("key"):
      name = _composed(columns.clean(str(row["image"])))
      number = counts[name] = counts.get(name, -1) + 1
      row["key"] = f"{name}#{number}" if number else name
    yield row


def of_texts(
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
  ends = usual = suffixes(source)
  if source.image:
    ends = tuple(f".{extension}" for extension in layout.images)
  images = []
  beside: dict[str, dict[str, list[str]]] = {}  # stem -> suffix -> files
  for name in listed:
    stem, suffix = os.path.splitext(name)
    if suffix.lower() in ends:
      images.append(name)
    else:
      kinds = beside.setdefault(stem, {})
      kinds.setdefault(suffix.lower().removeprefix("."), []).append(name)
  if not images:
    videos = f"; data.video reads {', '.join(folders.VIDEOS)}"
    raise ValueError(
      f"{field}.path must be a folder with {', '.join(ends)} or "
      f"{', '.join(TABLES[:4])}; got {source.path!r}, of {len(listed)} files"
      f"{'' if source.is_video else videos}"
    )
  # A disk may have the other form of a name, but not where that is a name of
  # another image.
  own = {*images, *(os.path.splitext(name)[0] for name in images)}
  others = {_composed(stem): x for stem, x in beside.items() if stem not in own}
  wanted = {kind for kind, _ in layout.captions}
  if layout.language_field or layout.uid_field:
    wanted.add("json")

  def beside_of(stem: str) -> dict[str, list[str]]:
    return beside.get(stem) or others.get(_composed(stem), {})

  def read(name: str) -> dict[str, Any]:
    # a/1.txt, or a/1.jpg.txt.
    names = beside_of(os.path.splitext(name)[0]) | beside_of(name)
    names = {kind: x for kind, x in names.items() if kind in wanted}
    row: dict[str, Any] = {"image": name}
    members: dict[str, bytes | faults.ExampleError] = {
      os.path.splitext(name)[1].lower().removeprefix("."): b""
    }
    name = listed[name].path
    try:
      for kind, texts in names.items():
        if len(texts) > 1:
          raise faults.ExampleError(
            "member_twice", f"{name} has {' and '.join(texts)}"
          )
        data = files.read(listed[texts[0]].path)
        members[kind] = _in_utf8(data, source.encoding, name)
      row |= _captions(webdataset_layout.texts_of(members, layout, name))
      if layout.uid_field:
        fields = webdataset_layout.fields_of(members, name)
        key = tar_scan.field_of(fields, layout.uid_field)
        row["key"] = columns.key_text(key)
        if not row["key"]:
          message = f"{name} has no field {layout.uid_field} in a JSON file"
          raise faults.ExampleError("record_broken", message)
    except faults.ExampleError as error:
      # A server may give the caption at another try.
      if error.kind in faults.TRANSIENT and remote.is_remote(source.path):
        raise
      row |= _fault(error, name)
    return row

  yield from _mapped(read, images, field)
  stems = _stems(listed, usual)
  stray = [
    name
    for stem, names in beside.items()
    for kind, texts in names.items()
    if f".{kind}" in _TEXTS and _composed(stem) not in stems
    for name in texts
  ]
  lines += _left_out(source.path, stray, "captions without an image")


def of_tables(
  source: source_config.SourceConfig,
  field: str,
  cache_dir: pathlib.Path,
  context: tuple[Mapping[str, files.File], Sequence[str], list[str]],
) -> Iterator[dict[str, Any]]:
  """Yield the rows of tables in a folder, in the order of the tables."""
  listed, tables, lines = context
  named = set()
  root = os.path.realpath(remote.local_path(source.path))
  for folder, number in collections.Counter(map(_folder, tables)).items():
    if number > 1:
      names = [name for name in tables if _folder(name) == folder]
      lines.append(
        f"{source.path} has {' and '.join(names)}, the rows of all of which "
        "are read; an image that several name is as many examples"
      )
  for name in tables:
    one = dataclasses.replace(source, path=listed[name].path)
    rows = _json_rows(one, field, cache_dir)
    if name.endswith(".parquet"):
      rows = _parquet_rows(one, field, listed[name])
    folder = "" if source.image_root else _folder(name)
    for number, row in enumerate(rows):
      image = row["image"]
      if not image:
        row["key"] = row["key"] or f"{name}#{number}"
      elif remote.scheme(image) in ("file", "local") or os.path.isabs(image):
        path = image if os.path.isabs(image) else remote.local_path(image)
        image = os.path.relpath(os.path.realpath(path), root)
      elif not remote.scheme(image):
        image = posixpath.normpath(posixpath.join(folder, image))
        row["image"] = image
      named.add(_composed(image))
      yield row
  usual = suffixes(source)
  stray = [
    name
    for name in listed
    if _is_image(name, usual) and _composed(name) not in named
  ]
  if not source.image_root:
    text = f"images that no row of {', '.join(tables[:_NUM_NAMED])} names"
    lines += _left_out(source.path, stray, text)


def _json_rows(
  source: source_config.SourceConfig, field: str, cache_dir: pathlib.Path
) -> Iterator[dict[str, Any]]:
  """Yield the rows of a table of JSON lines, CSV or TSV."""
  records = table.open_table(source, field, cache_dir)
  table.warn_of_brackets(records, field)
  for index in range(len(records)):
    start, stop = records.starts[index : index + 2].tolist()
    where = functools.partial(records.where, index)
    try:
      row = records.layout.row(files.read_range(records.path, start, stop))
    except faults.ExampleError as error:
      yield {"image": "", "key": "", **_fault(error, where())}
      continue
    yield _row_of(row, records.layout.columns, source, where)


def _parquet_rows(
  source: source_config.SourceConfig, field: str, file: files.File
) -> Iterator[dict[str, Any]]:
  """Yield the rows of a table in Parquet."""
  layout, _ = parquet_layout.read_footers([file], source, field)
  found, number = layout.columns, 0
  with parquet_layout.opened(file.path) as reader:
    for group in range(reader.num_row_groups):
      table = reader.read_row_group(group)
      others = {
        name: _plain(table, name)
        for name in table.column_names
        if name not in found.names
      }
      for position in range(len(table)):
        where = f"row {number} of {file.path}"
        row = {name: values[position] for name, values in others.items()}
        fault = None
        row[found.image] = parquet.text_of(table, position, found.image)
        if found.key:
          row[found.key] = parquet.text_of(table, position, found.key)
        try:
          row |= parquet.caption_values(table, position, found, where)
        except faults.ExampleError as error:
          fault = error
        made = _row_of(row, found, source, lambda where=where: where)
        yield made | (_fault(fault, where) if fault else {})
        number += 1


def _plain(table: Any, name: str) -> list[Any]:
  """Return the values of a column that a folder's table may have."""
  values = arrow_values.column(table, name)
  if values.type.num_fields:  # of lists, structs and maps
    return [None] * len(table)
  if arrow_values.is_text(values.type):
    values, _ = arrow_values.strings(values)
  return values.to_pylist()


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


def _in_utf8(data: bytes, encoding: str, name: str) -> bytes:
  """Return text in UTF-8; faults.ExampleError if it is not `encoding`."""
  if not encoding:
    return data
  try:
    return data.decode(encoding).encode()
  except UnicodeError as error:
    raise faults.ExampleError(
      "caption_broken", f"{name}: the caption is not {encoding}: {error}"
    ) from error


def _captions(texts: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
  """Return the part of a row that is captions by language."""
  if len(texts) != 1:
    return {"caption": texts}
  ((language, captions),) = texts.items()
  return {"caption": captions, "language": language}


def _fault(error: faults.ExampleError, where: str) -> dict[str, Any]:
  """Return the part of a row that is a fault, for training and curation."""
  text = str(error)
  text = text if where in text else f"{where}: {text}"
  return {"caption": None, "fault": (error.kind, text)}


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
