"""Index of many tars: the span of each example, kept in a folder of its own.

  <cache_dir>/tar_index/<digest>/spans.bin     SPAN [N], to be memory-mapped
  <cache_dir>/tar_index/<digest>/pieces.bin    PIECE [M], to be memory-mapped
  <cache_dir>/tar_index/<digest>/shards.json   tars, their counts and warnings
  <cache_dir>/tar_index/parts/                 parts of an unfinished build

The digest is of the tars' paths, sizes and times of change (or ETags), so that
an index is never changed once it is written; a tar that another index or a
build that was stopped has scanned is not scanned again. It is always safe to
delete the folder when nothing runs.
"""

import bisect
import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from absl import logging

from input_pipeline import faults
from input_pipeline.storage import files, tar_scan
from input_pipeline.storage import uids as uids_lib
from runtime import processes, progress
from runtime.storage import remote, unfinished, whole_files

# Raised when the meaning of an index changes.
_SCHEMA = 2
# Starting a process takes up to a second; one gets through about 1 GB of 20 kB
# images a second.
_MIN_BYTES_FOR_PROCESSES = 2 << 30
# Remote tars wait for the network; each has a block of tar_scan's in memory.
_NUM_REMOTE_THREADS = 16
_ADVICE = "again, with fewer programs beside this one"
# Number of changed or odd tars that the log names one by one.
_NUM_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Index:
  """The examples of some tars, in the order of the tars and in theirs.

  Attributes:
    tars: facts about the files when they were indexed.
    stops: number of examples up to the end of each tar.
    spans: SPAN [N], memory-mapped.
    pieces: PIECE [M], memory-mapped, ascending by example.
    warnings: warnings of each tar.
  """

  tars: tuple[files.File, ...]
  stops: tuple[int, ...]
  spans: np.ndarray
  pieces: np.ndarray
  warnings: tuple[tuple[str, ...], ...]

  def ranges(self, index: int) -> list[tuple[int, int]]:
    """Return (start, length) of the parts of an example, one for most."""
    start, length, _ = self.spans[index].item()
    ranges = [(start, length)]
    if not len(self.pieces):
      return ranges
    examples = self.pieces["example"]
    row = bisect.bisect_left(examples, index)
    while row < len(examples) and examples[row] == index:
      ranges.append(self.pieces[row].item()[1:])
      row += 1
    return ranges

  def scan_of(self, number: int) -> tar_scan.Scan:
    """Return what the scan of a tar was."""
    start = self.stops[number - 1] if number else 0
    stop = self.stops[number]
    first, last = (
      bisect.bisect_left(self.pieces["example"], i) for i in (start, stop)
    )
    pieces = self.pieces[first:last].copy()
    pieces["example"] -= start
    warnings = list(self.warnings[number])
    return tar_scan.Scan(self.spans[start:stop], pieces, warnings)


class BrokenError(Exception):
  """An index is missing, or differs from the one that was written."""


def prepare(
  tars: Sequence[files.File],
  *,
  uid_field: str,
  cache_dir: pathlib.Path,
  name: str,
) -> pathlib.Path:
  """Return the folder of the index of `tars`, made if it is not there.

  Any number of processes may call this at once.

  Args:
    tars: files to index.
    uid_field: field of the members' JSON; "" takes the keys.
    cache_dir: folder of all indexes.
    name: name of the config section, for messages.

  Raises:
    ValueError: no file is a tar, or one has no example with `uid_field`.
    OSError: a file cannot be read, or the index cannot be written.
  """
  root = cache_dir / "tar_index"
  facts = [_SCHEMA, uid_field, *map(dataclasses.astuple, tars)]
  folder = root / _digest(facts)
  try:
    _check(read(folder))
    return folder
  except BrokenError:
    pass
  try:
    with unfinished.turn(root):
      _prepare_locked(folder, tars, uid_field, name)
  except OSError as error:
    raise OSError(
      f"cannot write the index of {name} below {root}: {error}. "
      "Free some space there, or set data.cache_dir (of a recipe: cache_dir) "
      "to another folder."
    ) from error
  except faults.ExampleError as error:
    raise OSError(
      f"cannot index {name}: {error}. What is indexed so far is "
      "kept for the next time."
    ) from error
  _check(read(folder))
  return folder


def read(folder: pathlib.Path) -> Index:
  """Return an index that `prepare` made; raises BrokenError."""
  try:
    fields = json.loads((folder / "shards.json").read_bytes())
    tars, stops, warnings, total = [], [], [], 0
    for path, size, version, count, texts in fields["shards"]:
      tars.append(files.File(path, size, version))
      total += count
      stops.append(total)
      warnings.append(tuple(texts))
    spans = _mapped(folder / "spans.bin", tar_scan.SPAN, total)
    pieces = _mapped(folder / "pieces.bin", tar_scan.PIECE, fields["pieces"])
  except (OSError, ValueError, TypeError, KeyError) as error:
    raise BrokenError(f"{folder} is not an index of tars: {error!r}") from error
  return Index(tuple(tars), tuple(stops), spans, pieces, tuple(warnings))


def _mapped(path: pathlib.Path, kind: np.dtype, number: int) -> np.ndarray:
  size = path.stat().st_size
  if size != number * kind.itemsize:
    raise ValueError(f"{path.name} has {size} bytes for {number} items")
  if not number:
    return np.zeros(0, kind)
  # A plain array of the same memory: np.memmap is slow at single rows.
  return np.memmap(path, kind, "r").view(np.ndarray)


def _check(index: Index) -> None:
  """Name what is odd about the tars; ValueError where none is a tar."""
  warnings = [text for texts in index.warnings for text in texts]
  if len(index.spans) and not index.spans["length"].max() > tar_scan.NO_TAR:
    others = f"; nor is another of the {len(index.tars)} files a tar"
    raise ValueError(f"{warnings[0]}{others if len(index.tars) > 1 else ''}")
  for warning in warnings[:_NUM_NAMED]:
    logging.warning("%s", warning)
  if len(warnings) > _NUM_NAMED:
    logging.warning("and %d more such warnings", len(warnings) - _NUM_NAMED)


def uids_in_files(folder: pathlib.Path, names: Sequence[str]) -> np.ndarray:
  """Return UID [N] that differ between tars, memory-mapped; see uids.in_file.

  They are made at the first call, 16 bytes an example beside the index.

  Args:
    folder: folder of the index.
    names: name of each tar, the same at each call.
  """
  path = folder / "uids_in_files.bin"
  if not path.exists():
    index, start = read(folder), 0
    with whole_files.new_file(path) as temporary, open(temporary, "wb") as file:
      for name, stop in zip(names, index.stops, strict=True):
        uids = index.spans["uid"][start:stop]
        file.write(uids_lib.in_file(uids, name).tobytes())
        start = stop
  if not path.stat().st_size:
    return np.zeros(0, uids_lib.UID)
  return np.memmap(path, uids_lib.UID, "r").view(np.ndarray)


def _prepare_locked(
  folder: pathlib.Path,
  tars: Sequence[files.File],
  uid_field: str,
  name: str,
) -> None:
  try:
    read(folder)  # written by another process in the meantime
    return
  except BrokenError as error:
    if folder.exists():
      logging.warning("Indexing anew, because %s", error)
  parts = folder.parent / "parts"
  parts.mkdir(exist_ok=True)
  unfinished.delete_leftovers(parts)
  known = _known(folder.parent, uid_field)
  _name_changed(tars, known)
  part = functools.partial(_part, parts, uid_field)
  todo = [tar for tar in tars if tar not in known and not part(tar).exists()]
  if todo:
    logging.info("Indexing %d of %d tars of %s", len(todo), len(tars), name)
    _scan(todo, uid_field, parts, name)
  with whole_files.new_folder(folder, replaces=True) as temporary:
    shards, total, num_pieces = [], 0, 0
    with (
      open(temporary / "spans.bin", "wb") as spans_file,
      open(temporary / "pieces.bin", "wb") as pieces_file,
    ):
      for tar in tars:
        spans, pieces, warnings = (
          known[tar]() if tar in known else _read_part(part(tar))
        )
        pieces["example"] += total
        spans_file.write(spans.tobytes())
        pieces_file.write(pieces.tobytes())
        shards.append([tar.path, tar.size, tar.version, len(spans), warnings])
        total += len(spans)
        num_pieces += len(pieces)
      for file in (spans_file, pieces_file):
        file.flush()
        os.fsync(file.fileno())
    fields = {"uid": uid_field, "schema": _SCHEMA, "pieces": num_pieces}
    text = json.dumps(fields | {"shards": shards})
    whole_files.write(temporary / "shards.json", text.encode())
  for tar in tars:
    part(tar).unlink(missing_ok=True)


def _known(
  root: pathlib.Path, uid_field: str
) -> dict[files.File, Callable[[], tar_scan.Scan]]:
  """Return what reads the scan of each tar that another index has."""
  known: dict[files.File, Callable[[], tar_scan.Scan]] = {}
  for path in sorted(root.glob("*/shards.json")):
    try:
      fields = json.loads(path.read_bytes())
      if (fields.get("schema"), fields.get("uid")) != (_SCHEMA, uid_field):
        continue
      index = read(path.parent)
    except (BrokenError, OSError, ValueError):
      continue
    for number, tar in enumerate(index.tars):
      known[tar] = functools.partial(index.scan_of, number)
  return known


def _name_changed(
  tars: Iterable[files.File], known: Iterable[files.File]
) -> None:
  known = set(known)
  paths = {tar.path for tar in known}
  changed = [t.path for t in tars if t not in known and t.path in paths]
  for path in changed[:_NUM_NAMED]:
    logging.warning("%s has changed: it is indexed again", path)
  if len(changed) > _NUM_NAMED:
    logging.warning("and %d more tars", len(changed) - _NUM_NAMED)


def _scan(
  tars: Sequence[files.File], uid_field: str, parts: pathlib.Path, name: str
) -> None:
  """Write the part of each tar."""
  scan = functools.partial(_scan_one, uid_field=uid_field, parts=parts)
  megabytes = sum(tar.size for tar in tars) / 1e6
  label = f"Indexing {name}, MB"
  with progress.Progress(label, round(megabytes)) as shown:
    done = 0.0
    for tar in _completed(scan, tars):
      before, done = done, done + tar.size / 1e6
      if round(done) > round(before):  # a rate needs a count
        shown.advance(round(done) - round(before))


def _scan_one(tar: files.File, *, uid_field: str, parts: pathlib.Path) -> None:
  spans, pieces, warnings = tar_scan.scan(tar, uid_field)
  file = io.BytesIO()
  texts = np.array(warnings, np.str_)
  np.savez(file, spans=spans, pieces=pieces, warnings=texts)
  whole_files.write(_part(parts, uid_field, tar), file.getvalue())


def _read_part(path: pathlib.Path) -> tar_scan.Scan:
  with np.load(path, allow_pickle=False) as part:
    warnings = part["warnings"].tolist()
    return tar_scan.Scan(part["spans"], part["pieces"], warnings)


def _completed(
  scan: Callable[[files.File], None], tars: Sequence[files.File]
) -> Iterator[files.File]:
  """Yield each tar, in the order in which they are done."""
  num_processes = min(len(tars), len(os.sched_getaffinity(0)))
  size = sum(tar.size for tar in tars)
  if any(remote.is_remote(tar.path) for tar in tars):
    with concurrent.futures.ThreadPoolExecutor(_NUM_REMOTE_THREADS) as pool:
      try:
        futures = {pool.submit(scan, tar): tar for tar in tars}
        for future in concurrent.futures.as_completed(futures):
          future.result()
          yield futures[future]
      finally:
        pool.shutdown(cancel_futures=True)
  elif num_processes < 2 or size < _MIN_BYTES_FOR_PROCESSES:
    for tar in tars:
      scan(tar)
      yield tar
  else:
    with contextlib.closing(processes.Pool(num_processes, _ADVICE)) as pool:
      for number, _ in pool.results(scan, tars):
        yield tars[number]


def _part(parts: pathlib.Path, uid_field: str, tar: files.File) -> pathlib.Path:
  facts = [_SCHEMA, uid_field, *dataclasses.astuple(tar)]
  return parts / f"{_digest(facts)}.npz"


def _digest(facts: list) -> str:
  text = json.dumps(facts)
  return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
