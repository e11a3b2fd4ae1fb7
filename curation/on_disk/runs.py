"""Sorted runs on disk: rows under 64-bit keys, merged in bounded memory.

A run is a file of columns; the first, the key, is ascending. Rows with the same
key are reduced by a function

  combine(columns, key first) -> columns, sorted by key

whose result must not depend on the order of the rows, nor on the number of
calls that they pass through. Keys are hashes, so equal ranges of them hold
about equally many rows: a merge reads the runs range by range, and ranges are
independent.
"""

import contextlib
import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from curation import operators

Columns = tuple[np.ndarray, ...]
CombineFn = Callable[[Columns], Columns]

# Rows in memory at once, for each worker.
_ROWS = 1 << 21
# Highest number of runs merged at once.
_FAN_IN = 256
_MAX_BUCKETS = 1024
_HEADER_BYTES = 512


class Sorter:
  """Rows of a shard, written as one run."""

  def __init__(self, combine: CombineFn) -> None:
    self._combine = combine
    self._held: list[Columns] = []
    self._num = 0
    self._limit = _ROWS

  def add(self, *columns: np.ndarray) -> None:
    """Add rows; the key is a uint64 [N]."""
    self._held.append(columns)
    self._num += len(columns[0])
    if self._num > self._limit:
      self._combined()
      # Doubled, so that keys without repeats are not sorted at every table.
      self._limit = max(_ROWS, 2 * self._num)

  def save(self, path: pathlib.Path) -> None:
    """Write the run; a sorter without rows writes an empty file."""
    if self._held:
      self._combined()
    with writing(path, self._num) as append:
      for columns in self._held:
        append(columns)

  def _combined(self) -> None:
    held = zip(*self._held, strict=True)
    columns = self._combine(tuple(np.concatenate(c) for c in held))
    self._held, self._num = [columns], len(columns[0])


@contextlib.contextmanager
def writing(
  path: pathlib.Path, max_rows: int
) -> Iterator[Callable[[Columns], None]]:
  """Open a run for writing; yields append(columns). Complete after `with`.

  The file is empty if no rows are appended: types are known from the first.

  Args:
    path: file to write.
    max_rows: highest number of rows; the room is reserved as a sparse file.
  """
  num, dtypes, starts = 0, [], []
  with open(path, "wb") as file:

    def append(columns: Columns) -> None:
      nonlocal num
      if not dtypes:
        start = _HEADER_BYTES
        for column in columns:
          dtypes.append(column.dtype.str)
          starts.append(start)
          # Columns are aligned to 64 bytes.
          start += -(-max_rows * column.itemsize // 64) * 64
      for column, start in zip(columns, starts, strict=True):
        file.seek(start + num * column.itemsize)
        file.write(np.ascontiguousarray(column).data)
      num += len(columns[0])

    yield append
    if dtypes:
      facts = {"rows": num, "dtypes": dtypes, "starts": starts}
      file.seek(0)
      file.write(json.dumps(facts).encode().ljust(_HEADER_BYTES))


def load(path: pathlib.Path) -> Columns:
  """Return the columns of a run, memory-mapped; () for an empty file."""
  header = _header(path)
  return tuple(
    np.asarray(np.memmap(path, dtype, "r", start, (header.rows,)))
    if header.rows
    else np.zeros(0, dtype)
    for dtype, start in header.columns
  )


def pieces(path: pathlib.Path) -> Iterator[Columns]:
  """Yield the rows of a run, at most _ROWS at a time.

  A run with columns but no rows yields its columns once, for their types.
  """
  header = _header(path)
  if header.columns:
    for start in range(0, max(header.rows, 1), _ROWS):
      yield _read(path, header, start, min(start + _ROWS, header.rows))


def num_rows(paths: Sequence[pathlib.Path]) -> int:
  """Return the total number of rows of runs."""
  return sum(_header(path).rows for path in paths)


@dataclasses.dataclass(frozen=True)
class _Header:
  """Header of a run.

  Attributes:
    rows: number of rows.
    columns: dtype and first byte of each column.
  """

  rows: int
  columns: tuple[tuple[np.dtype, int], ...]


def _header(path: pathlib.Path) -> _Header:
  with open(path, "rb") as file:
    data = file.read(_HEADER_BYTES)
  if not data:
    return _Header(0, ())
  facts = json.loads(data)
  columns = zip(facts["dtypes"], facts["starts"], strict=True)
  return _Header(
    facts["rows"], tuple((np.dtype(name), start) for name, start in columns)
  )


def _read(
  path: pathlib.Path, header: _Header, start: int, stop: int
) -> Columns:
  # Not memory-mapped: pages would stay in memory as long as there is room, and
  # count as this process's.
  return tuple(
    np.fromfile(
      path, dtype, stop - start, offset=offset + start * dtype.itemsize
    )
    for dtype, offset in header.columns
  )


@dataclasses.dataclass(frozen=True)
class Bucket:
  """Rows of several runs with keys in a range.

  Attributes:
    paths: files of the runs.
    first: first key of the range.
    last: last key of the range, inclusive.
  """

  paths: tuple[pathlib.Path, ...]
  first: int
  last: int


def buckets(
  parts: Sequence[pathlib.Path],
  combine: CombineFn,
  folder: pathlib.Path,
  run: operators.RunFn,
) -> list[Bucket]:
  """Return ascending ranges of keys that together cover all rows.

  Their number grows with the number of rows. More than _FAN_IN runs are merged
  first, in `folder`, which the caller deletes after using the buckets.
  """
  paths = list(parts)
  level = 0
  while len(paths) > _FAN_IN:
    tasks = [
      (tuple(paths[i : i + _FAN_IN]), folder / f"merged-{level}-{i}")
      for i in range(0, len(paths), _FAN_IN)
    ]
    run(functools.partial(_merge, combine), tasks)
    if level:
      for path in paths:
        path.unlink()
    paths = [path for _, path in tasks]
    level += 1
  total = num_rows(paths)
  count = min(max(-(-total // _ROWS), 1), _MAX_BUCKETS)
  edges = [(number << 64) // count for number in range(count + 1)]
  return [
    Bucket(tuple(paths), first, end - 1)
    for first, end in zip(edges, edges[1:], strict=False)
  ]


def merged(bucket: Bucket, combine: CombineFn) -> Iterator[Columns]:
  """Yield the combined rows of a bucket, by ascending ranges of keys."""
  count = -(-bucket_rows(bucket) // _ROWS)
  span = bucket.last + 1 - bucket.first
  lasts = [bucket.first + span * (i + 1) // count - 1 for i in range(count)]
  cuts = {path: _cuts(path, bucket.first, lasts) for path in bucket.paths}
  headers = {path: _header(path) for path in bucket.paths}
  for number in range(count):
    rows = [
      _read(path, headers[path], *cut[number : number + 2])
      for path, cut in cuts.items()
      if cut[number] < cut[number + 1]
    ]
    if rows:
      yield combine(tuple(np.concatenate(c) for c in zip(*rows, strict=True)))


def bucket_rows(bucket: Bucket) -> int:
  """Return the number of rows of a bucket before they are combined."""
  cuts = (_cuts(path, bucket.first, [bucket.last]) for path in bucket.paths)
  return sum(stop - start for start, stop in cuts)


def _cuts(path: pathlib.Path, first: int, lasts: list[int]) -> list[int]:
  """Return row offsets that split a sorted run at these keys.

  They are the start of `first`, then the end (exclusive) of each range that
  ends with a key of `lasts`.
  """
  columns = load(path)
  if not columns:
    return [0] * (len(lasts) + 1)
  start = np.searchsorted(columns[0], np.uint64(first))
  stops = np.searchsorted(columns[0], np.array(lasts, np.uint64), side="right")
  return [int(start), *stops.tolist()]


def _merge(
  combine: CombineFn, task: tuple[tuple[pathlib.Path, ...], pathlib.Path]
) -> None:
  paths, out = task
  with writing(out, num_rows(paths)) as append:
    for columns in merged(Bucket(paths, 0, 2**64 - 1), combine):
      append(columns)
