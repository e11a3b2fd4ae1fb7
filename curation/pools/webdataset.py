"""Tars of WebDataset's form as a pool: a shard is a tar.

Which members are image, caption and language is what training's source says;
see input_pipeline.sources.webdataset. Other columns are fields of KEY.json that
the first examples have. Where no image is asked for, images are passed over.
"""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from curation import pool
from curation.pools import pair_tables, section
from input_pipeline import captions, faults
from input_pipeline.sources import caption_files, webdataset, webdataset_layout
from input_pipeline.sources import (
  columns as columns_lib,
)
from input_pipeline.storage import (
  files,
  tar_headers,
  tar_index,
  tar_scan,
)
from input_pipeline.storage import uids as uids_lib
from runtime.storage import remote

# Examples with their images are read together up to so many bytes, with gaps
# of at most these: as long as a request takes, or a disk's next read.
_READ_BYTES = 16 << 20
_REMOTE_GAP, _LOCAL_GAP = 1 << 20, 64 << 10


def open_pool(config: pool.PoolConfig, cache_dir: pathlib.Path) -> "Pool":
  """Return the examples of the tars, indexed if need be."""
  section.refuse(config, "split", "languages")
  source = section.source(config)
  layout = webdataset_layout.make(source, section.FIELD)
  tars = files.find(source.path, f"{section.FIELD}.path")
  try:
    folder = tar_index.prepare(
      tars,
      uid_field=layout.uid_field,
      cache_dir=cache_dir,
      name=section.FIELD,
    )
  except ValueError as error:
    raise ValueError(f"{section.FIELD}: {error}") from error
  index = _index(folder)
  texts = _texts(folder, layout)
  try:
    beside = [None] * len(tars) if texts is None else texts.facts()
  except FileNotFoundError as error:
    raise ValueError(
      f"{section.FIELD}.caption={layout.caption_file!r}: {error}"
    ) from error
  shards, start = [], 0
  for tar, file, stop in zip(index.tars, beside, index.stops, strict=True):
    name = pool.shard_name(tar.path, 0)
    version = section.version_of(*filter(None, (tar, file)))
    shards.append(pool.Shard(name, tar.path, start, stop, version))
    start = stop
  return Pool(folder, layout, _probe(folder, layout, shards), tuple(shards))


@dataclasses.dataclass(frozen=True)
class Pool:
  """Pool of the examples of tars; see pool.Pool.

  Attributes:
    folder: folder of the index.
    layout: roles of the members.
    fields: (field of the JSON, type) of other columns.
    shards: tars; start and stop are positions in the index.
  """

  folder: pathlib.Path
  layout: webdataset_layout.Layout
  fields: tuple[tuple[str, pa.DataType], ...]
  shards: tuple[pool.Shard, ...]

  @property
  def columns(self) -> frozenset[str]:
    """Return what can be asked for."""
    return frozenset(pool.TYPES) | {name for name, _ in self.fields}

  def read(
    self,
    shard: pool.Shard,
    columns: Sequence[str],
    *,
    max_rows: int,
    rows: np.ndarray | None = None,
  ) -> Iterator[pa.Table]:
    """Yield the pairs of a shard; see pool.Pool."""
    section.check_unchanged(shard)
    reader = _Reader(self, frozenset(columns))
    table = pair_tables.Table(
      columns, dict(self.fields), rows, is_measured=reader.is_measured
    )
    for example in _examples(self, shard, pool.places(rows), reader):
      reader.add(table, example)
      yield from table.take(max_rows, is_last=False)
    yield from table.take(max_rows, is_last=True)

  def __reduce__(self):
    return Pool, (self.folder, self.layout, self.fields, ())


class _Example(NamedTuple):
  """Position of an example.

  Attributes:
    place: index of the example in its tar.
    uid: UID of the example, an item of UID [N].
    tar: tar that contains it.
    tar_number: index of that tar.
    ranges: start and length of its parts, in bytes of the tar.
    reads: reader of each part.
  """

  place: int
  uid: np.void
  tar: files.File
  tar_number: int
  ranges: Sequence[tuple[int, int]]
  reads: Sequence[tar_headers.Read]


class _Reader:
  """Makes pairs of examples."""

  def __init__(self, source: Pool, columns: frozenset[str]):
    self._layout = source.layout
    self._texts = _texts(source.folder, source.layout)
    self._types = {
      name: kind for name, kind in source.fields if name in columns
    }
    fields = {name for name, _ in source.fields}
    sizes = columns & {"width", "height"}
    # From the fields, where they have both; the older name last.
    self._sizes = {
      name: [f"original_{name}", name]
      for name in sizes
      if name in fields or f"original_{name}" in fields
    }
    self.is_measured = set(self._sizes) != sizes
    self.has_image = "image" in columns or self.is_measured
    self._has_fields = bool(self._types or self._sizes)
    self.unread = (
      frozenset() if self.has_image else frozenset(source.layout.images)
    )

  def add(self, table: pair_tables.Table, example: _Example) -> None:
    """Add the pairs of an example, or what is wrong with it."""
    uid = uids_lib.uid_bytes(example.uid)
    try:
      found, values = self._read(example)
    except faults.ExampleError as error:
      if error.kind in (*faults.TRANSIENT, "shard_changed"):
        raise  # of the whole tar, which is tried again
      table.add_fault(example.place, uid, error.kind, str(error))
      return
    languages, texts = zip(*captions.numbered(found), strict=True)
    table.add(example.place, uid, texts, values, languages)

  def _read(
    self, example: _Example
  ) -> tuple[Mapping[str, Sequence[str]], dict[str, Any]]:
    layout, tar = self._layout, example.tar
    name = f"{tar.path}, byte {example.ranges[0][0]}"
    webdataset.check_ranges(tar, example.ranges, name)
    try:
      key, members = webdataset.members_of(
        (
          (read, start, start + length)
          for read, (start, length) in zip(
            example.reads, example.ranges, strict=True
          )
        ),
        name,
        self.unread,
      )
    except tar_headers.HeaderError as error:
      raise webdataset.changed(tar, f"{name}: {error}") from error
    name = f"{tar.path}, {key}"
    values: dict[str, Any] = {}
    if self.has_image:
      values["image"] = webdataset_layout.image_of(members, layout, name)
    if self._texts is not None:
      texts = webdataset.listed(self._texts, example.tar_number, key, name)
    else:
      texts = webdataset_layout.texts_of(members, layout, name)
    if self._has_fields or layout.uid_field:
      fields = webdataset_layout.fields_of(members, name)
      if layout.uid_field and tuple(example.uid.item()) == (0, 0):
        raise faults.ExampleError(
          "record_broken", f"{name}.json has no {layout.uid_field}"
        )
      for field, kind in self._types.items():
        values[field] = pair_tables.as_type(fields.get(field), kind)
      for side, names in self._sizes.items():
        values[side] = _side(fields, names, name)
    return texts, values


def _side(fields: Any, names: Sequence[str], name: str) -> int:
  for field in names:
    value = fields.get(field)
    if type(value) is int and 0 <= value < 2**31:
      return value
  raise faults.ExampleError(
    "record_broken", f"{name}.json has no {' or '.join(names)}"
  )


def _examples(
  source: Pool, shard: pool.Shard, places: np.ndarray | None, reader: _Reader
) -> Iterator[_Example]:
  """Yield examples of a tar, in order, with what reads them."""
  if shard.start == shard.stop:
    return
  index = _index(source.folder)
  number = int(np.searchsorted(index.stops, shard.start, "right"))
  tar = index.tars[number]
  if places is None:
    places = np.arange(shard.stop - shard.start)
  name = _names(source.folder)[number] if source.layout.in_file else ""
  # Further parts of an example; the second ones of all are often in a row.
  further: dict[int, tar_scan.Window] = {}

  def example(place: int, read: tar_headers.Read) -> _Example:
    ranges = index.ranges(shard.start + place)
    reads = [read]
    for i in range(1, len(ranges)):
      if i not in further:
        further[i] = tar_scan.Window(tar)
      reads.append(further[i])
    uid = index.spans["uid"][shard.start + place]
    if name:
      uid = uids_lib.in_file(uid[None], name)[0]
    return _Example(place, uid, tar, number, ranges, reads)

  if not reader.has_image:
    window = tar_scan.Window(tar)
    for place in places.tolist():
      yield example(place, window)
    return
  spans = index.spans[shard.start : shard.stop]
  starts = spans["start"][places].astype(np.int64)
  stops = starts + spans["length"][places]
  gap = _REMOTE_GAP if remote.is_remote(tar.path) else _LOCAL_GAP
  first = 0
  for last in range(1, len(places) + 1):
    if last < len(places) and (
      starts[last] - stops[last - 1] <= gap
      and stops[last] - starts[first] <= _READ_BYTES
    ):
      continue
    read = _Bytes(tar, int(starts[first]), int(stops[last - 1]))
    for place in places[first:last].tolist():
      yield example(place, read)
    first = last


class _Bytes:
  """Some bytes of a file, read when the first of them are asked for."""

  def __init__(self, tar: files.File, start: int, stop: int):
    self._tar, self._start = tar, start
    self._stop = min(stop, tar.size)
    self._data: bytes | None = None

  def __call__(self, start: int, size: int) -> bytes:
    if self._data is None:
      self._data = files.read_range(self._tar.path, self._start, self._stop)
    return self._data[start - self._start : start - self._start + size]


# Indices by folder: pools are few, and an index is mapped, not read.
_indices: dict[pathlib.Path, tar_index.Index] = {}


def _index(folder: pathlib.Path) -> tar_index.Index:
  if folder not in _indices:
    _indices[folder] = tar_index.read(folder)
  return _indices[folder]


@functools.lru_cache(maxsize=2)
def _names(folder: pathlib.Path) -> list[str]:
  return webdataset.names_of(_index(folder))


@functools.lru_cache(maxsize=2)
def _texts(
  folder: pathlib.Path, layout: webdataset_layout.Layout
) -> caption_files.CaptionFiles | None:
  return webdataset.caption_files_of(layout, _index(folder))


def _probe(
  folder: pathlib.Path,
  layout: webdataset_layout.Layout,
  shards: Sequence[pool.Shard],
) -> tuple[tuple[str, pa.DataType], ...]:
  """Return the fields of the first examples' JSON that can be columns."""
  index = _index(folder)
  found: dict[str, list[Any]] = {}
  for shard, tar in zip(shards, index.tars, strict=True):
    if shard.stop == shard.start:
      continue
    read = tar_scan.Window(tar)
    stop = min(shard.stop, shard.start + columns_lib.NUM_PROBED)
    for place in range(shard.start, stop):
      with contextlib.suppress(ValueError):
        _, members = webdataset.members_of(
          (
            (read, start, start + length)
            for start, length in index.ranges(place)
          ),
          tar.path,
          frozenset(layout.images),
        )
        fields = webdataset_layout.fields_of(members, tar.path)
        for name, value in fields.items():
          found.setdefault(name, []).append(value)
    break
  types = {
    name: pair_tables.number_type(values)
    for name, values in sorted(found.items())
    if name not in pool.TYPES or name in ("width", "height")
  }
  return tuple((name, kind) for name, kind in types.items() if kind is not None)
