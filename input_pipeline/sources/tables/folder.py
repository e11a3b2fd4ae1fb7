"""Folders of images with their captions beside them, nested to any depth.

`path` is a folder. If it, or a folder below it, has one of folder_rows.TABLES,
these name the images, as in image folders of Hugging Face: a column such as
file_name has a path below the folder of its table, and others are as in
table.py. Otherwise each image is an example, its captions in files of its name:

  a/1.jpg     an image; folders.IMAGES has the suffixes, folders.VIDEOS those
              of videos, which are read with data.video
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

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from input_pipeline import faults
from input_pipeline.sources import columns, source_config
from input_pipeline.sources import record as record_lib
from input_pipeline.sources.tables import (
  folder_rows,
  made_table,
  table,
  table_layout,
)
from input_pipeline.storage import files, folders
from input_pipeline.storage import uids as uids_lib
from runtime.storage import remote

LANGUAGES = None
FAULT = made_table.FAULT

# Version to increase when another table is made of the same files.
_VERSION = 2


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
  listed = folder_rows.used(
    folders.walk(source.path, f"{field}.path"), folder_rows.suffixes(source)
  )
  tables = [name for name in listed if folder_rows.is_table(name)]
  facts = (
    *(_VERSION, source.image, source.caption, source.language),
    *(source.language_field, source.uid, source.image_root, source.encoding),
    [(name, file.size, file.version) for name, file in listed.items()],
    *(("video",) if source.is_video else ()),
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
  if not made_table.is_made(path):
    lines: list[str] = []
    if tables:
      rows = folder_rows.of_tables(
        source, field, cache_dir, (listed, tables, lines)
      )
    else:
      source.refuse(field, "image_root")
      rows = folder_rows.of_texts(source, field, (listed, lines))
    made_table.write(path, folder_rows.with_keys(rows), lines)
  made_table.warn(path, f"{field}.path")
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
    row = self._usable(index)
    origin = row["image"]
    if not remote.scheme(origin) and not os.path.isabs(origin):
      origin = f"{self._folder}/{origin}"
    try:
      return dataclasses.replace(self._rows[index], origin=origin)
    except faults.ExampleError as error:
      # Not of a table that nobody wrote.
      message = str(error).removeprefix(f"{self._rows.where(index)}: ")
      raise faults.ExampleError(error.kind, f"{origin}: {message}") from error

  def texts(self, index: int) -> Mapping[str, tuple[str, ...]]:
    """Return the texts of an image by language; the image is not read."""
    row = self._usable(index)
    with faults.located(str(row["image"])):
      return self._rows.texts(index)

  def where(self, index: int) -> str:
    """Return the path of an image."""
    return self.path_of(index)

  def fingerprint(self) -> str:
    """Return hex digits of the files' names, sizes and times of change."""
    return pathlib.Path(self._rows.path).stem

  def image_id(self, index: int) -> bytes:
    """Return the name of an image; see image_ids."""
    return self._rows.image_id(index)

  def path_of(self, index: int) -> str:
    """Return the path of an image."""
    return f"{self._folder}/{self._row(index)['image']}"

  def uids(self) -> np.ndarray:
    """Return the UIDs; reads the table, not the images."""
    return self._rows.uids()

  def _usable(self, index: int) -> Mapping[str, Any]:
    """Return a row; raise its fault if it has one."""
    row = self._row(index)
    if FAULT in row:
      raise faults.ExampleError(*row[FAULT])
    return row

  def _row(self, index: int) -> Mapping[str, Any]:
    if not 0 <= index < len(self):
      raise IndexError(f"no image {index} of {len(self)}")
    start, stop = self._rows.starts[index : index + 2].tolist()
    return table_layout.row(files.read_range(self._rows.path, start, stop))
