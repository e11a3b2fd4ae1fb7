"""Sorted runs on disk: rows under 64-bit keys, merged in bounded memory.

A run is a file of columns of which the first, the key, is ascending; what rows
of one key become is decided by a `combine` function:

  combine(columns, key first) -> columns, sorted by key

for which it does not matter in which order, and in how many steps, rows are
given to it. Keys are hashes, so that equal ranges of them have about as many
rows: a merge goes through the runs range by range, and ranges are independent.
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
# Runs that are merged at once.
_FAN_IN = 256
_MAX_BUCKETS = 1024
_HEADER_BYTES = 512


class Sorter:
  """Gathers rows of a shard; writes a run."""

  def __init__(self, combine: CombineFn) -> None:
    self._combine = combine
    self._found: list[Columns] = []
    self._num = 0
    self._limit = _ROWS

  def add(self, *columns: np.ndarray) -> None:
    """Add rows; the key is a uint64 [N]."""
    self._found.append(columns)
    self._num += len(columns[0])
    if self._num > self._limit:
      self._combined()
      # Keys that never come twice are not sorted again at each table.
      self._limit = max(_ROWS, 2 * self._num)

  def save(self, path: pathlib.Path) -> None:
    """Write the run; a sorter without rows writes an empty file."""
    if self._found:
      self._combined()
    with writing(path, self._num) as append:
      for columns in self._found:
        append(columns)

  def _combined(self) -> None:
    found = zip(*self._found, strict=True)
    columns = self._combine(tuple(np.concatenate(c) for c in found))
    self._found, self._num = [columns], len(columns[0])


@contextlib.contextmanager
def writing(
  path: pathlib.Path, max_rows: int
) -> Iterator[Callable[[Columns], None]]:
  """Give what appends rows to a run, which is whole behind `with`.

  If nothing is appended the file is empty, as types are known from the first
  rows only.

  Args:
    path: of the file.
    max_rows: there will be no more; room is kept without using any disk.
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
          # Columns begin where a processor likes to read.
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
  """Yield the rows of a run by as many as may be in memory at once.

  Of a run without rows that has columns, these, for their types.
  """
  header = _header(path)
  if header.columns:
    for start in range(0, max(header.rows, 1), _ROWS):
      yield _read(path, header, start, min(start + _ROWS, header.rows))


def num_rows(paths: Sequence[pathlib.Path]) -> int:
  """Return how many rows runs have together."""
  return sum(_header(path).rows for path in paths)


@dataclasses.dataclass(frozen=True)
class _Header:
  """What the first bytes of a run say.

  Attributes:
    rows: their number.
    columns: dtype, and the byte at which it begins, of each column.
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
  # Not memory-mapped: what was read would stay in memory as long as there is
  # room, and look like a need of this process.
  return tuple(
    np.fromfile(
      path, dtype, stop - start, offset=place + start * dtype.itemsize
    )
    for dtype, place in header.columns
  )


@dataclasses.dataclass(frozen=True)
class Bucket:
  """The rows of some runs with keys in a range.

  Attributes:
    paths: of the runs.
    first: key.
    last: key, of the range too.
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
  """Return ranges of keys, in order, that together have all rows.

  How many depends on how many rows there are. Many runs are merged into fewer
  first, in `folder`, which the caller removes when the buckets are done.
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
  """Yield combined rows of a bucket, by ascending ranges of keys."""
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
  """Return how many rows a bucket has before they are combined."""
  cuts = (_cuts(path, bucket.first, [bucket.last]) for path in bucket.paths)
  return sum(stop - start for start, stop in cuts)


def _cuts(path: pathlib.Path, first: int, lasts: list[int]) -> list[int]:
  """Return the row of the key `first`, and the rows behind each of `lasts`."""
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
