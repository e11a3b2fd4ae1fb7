"""Share of a source that is kept out of training: evaluate.holdout.

An image, with all its examples, is held out where the first 64 bits of its name
(image_ids.py) are below the share of 2^64. So whether it is depends on nothing
but the image: not on the order, the files, the host or other examples; images
held out at 0.05 are held out at 0.1 too; and an image that two sources have is
held out of both. A source's own selections (`subset`, `keep`) come first. The
number of images held out is that of chance: of 1,000 at 0.1, 100 +- 9.

Names are made once for each source: its images are read, and the names, 16
bytes an example, are kept below the cache folder. Work that is killed goes on
from there. A prepared folder may have its names stored.
"""

import concurrent.futures
import dataclasses
import fractions
import functools
import io
import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from input_pipeline import faults
from input_pipeline.selecting import balanced, subset
from input_pipeline.sources import image_ids, source_config
from input_pipeline.sources import record as record_lib
from input_pipeline.storage import uids as uids_lib
from runtime import progress
from runtime.storage import remote, unfinished, whole_files

FIELD = "evaluate.holdout"

# Version to increase when the rule above, or the form of cached files, changes.
_VERSION = 1
# Images that are read before their names are written, and by a thread at once.
_CHUNK = 4096
_BLOCK = 64
# Names that are compared at once.
_COMPARED = 2**20
# Threads that read: local reads take turns at Python, remote ones wait.
_NUM_THREADS = 4
_NUM_REMOTE_THREADS = 32


@dataclasses.dataclass(frozen=True)
class Split:
  """A source in two parts.

  Attributes:
    rest: examples that are trained on.
    records: all examples.
    rows: int64 [n], ascending: those held out.
    ids: image_ids.DTYPE [n], names of their images.
  """

  rest: record_lib.Records
  records: record_lib.Records
  rows: np.ndarray
  ids: np.ndarray

  def facts(self) -> dict[str, int | str]:
    """Return what a run records; the same for any order of the examples."""
    names, counts = np.unique(self.ids, return_counts=True)
    return {
      "examples": len(self.ids),
      "images": len(names),
      "digest": record_lib.digest((names.tobytes(), counts.tolist())),
    }

  def images(self) -> "Images":
    """Return what is held out, an example for each image."""
    return Images(self.records, self.rows, self.ids)


class Images:
  """Images with the captions of all their examples; see record.Records.

  They are in the order of their first examples; `ids` has their names. Captions
  are read at once where an image has several examples: these may be far apart,
  and Parquet is read by whole row groups.
  """

  def __init__(
    self, records: record_lib.Records, rows: np.ndarray, ids: np.ndarray
  ):
    self._records = records
    _, first, group_n, counts = np.unique(
      ids, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)  # groups by their first examples
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    self.ids = ids[first[order]]
    # Example whose image is read.
    self._rows = rows[first[order]]
    self._texts: dict[int, dict[str, tuple[str, ...]]] = {}
    several = np.flatnonzero(counts[group_n] > 1)
    if len(several):
      self._join(rows[several], rank[group_n[several]])

  def __len__(self) -> int:
    return len(self._rows)

  def fingerprint(self) -> str:
    """Return hex digits that identify all examples of the source."""
    return self._records.fingerprint()

  def image_state(self) -> str:
    """Return the state of the source's images; see record.image_state."""
    return record_lib.image_state(self._records)

  def __getitem__(self, index: int) -> record_lib.Record:
    """Return an image; a fault only where none of its examples can be used."""
    if not 0 <= index < len(self):
      raise IndexError(f"no image {index} of {len(self)}")
    record = self._records[int(self._rows[index])]
    texts = self._texts.get(index, record.texts)
    return dataclasses.replace(record, texts=texts)

  def _join(self, rows: np.ndarray, images: np.ndarray) -> None:
    """Read the captions of examples, whose images are these, by number."""
    pairs = list(zip(rows.tolist(), images.tolist(), strict=True))
    label = "Reading captions of held-out images"
    with (
      progress.Progress(label, len(pairs)) as bar,
      concurrent.futures.ThreadPoolExecutor(_NUM_THREADS) as pool,
    ):
      texts = pool.map(functools.partial(_texts, self._records), rows.tolist())
      for (row, image), some in zip(pairs, texts, strict=True):
        bar.advance()
        if some is None:
          continue
        if image not in self._texts:
          self._rows[image] = row
        joined = self._texts.setdefault(image, {})
        for language, more in some.items():
          every = (*joined.get(language, ()), *more)
          joined[language] = tuple(dict.fromkeys(every))


def _texts(
  records: record_lib.Records, row: int
) -> Mapping[str, tuple[str, ...]] | None:
  """Return the captions of an example, None for one that cannot be used."""
  try:
    return records[row].texts
  except faults.ExampleError:
    return None


class Joined:
  """Records of several sources, one source after the other."""

  def __init__(self, parts: Sequence[Any]):
    self._parts = tuple(parts)
    self._stops = np.cumsum([len(part) for part in parts])

  def __len__(self) -> int:
    return int(self._stops[-1])

  def fingerprint(self) -> str:
    """Return hex digits that identify all examples of the sources."""
    return record_lib.digest([part.fingerprint() for part in self._parts])

  def image_state(self) -> str:
    """Return the state of the sources' images; see record.image_state."""
    return record_lib.digest([part.image_state() for part in self._parts])

  def __getitem__(self, index: int) -> record_lib.Record:
    part = int(np.searchsorted(self._stops, index, "right"))
    start = int(self._stops[part - 1]) if part else 0
    return self._parts[part][index - start]


def split(
  records: record_lib.Records,
  source: source_config.SourceConfig,
  context: source_config.SourceContext,
  share: float,
) -> Split:
  """Return a source in two parts, the names of its images made if need be.

  Args:
    records: examples that the source's selections leave.
    source: section of the source.
    context: its context.
    share: evaluate.holdout, in [0, 1).

  Raises:
    ValueError: no example is held out, or none is left.
    OSError: a remote image cannot be read now, or the cache not be written.
  """
  if not share:
    none = np.zeros(0, np.int64), np.zeros(0, image_ids.DTYPE)
    return Split(records, records, *none)
  ids, key = _ids(records, source, context)
  limit = np.uint64(math.ceil(fractions.Fraction(str(share)) * 2**64))
  rows = np.concatenate([*_below(ids, limit)])
  if not 0 < len(rows) < len(ids):
    raise ValueError(
      f"{FIELD}={share} holds out {len(rows)} of the {len(ids)} examples of "
      f"{context.field}, which have {len(np.unique(ids))} images; at least one "
      "must be held out and one left: give another share, or more data"
    )
  path = context.cache_dir / "holdout" / f"{record_lib.digest((key, share))}.u8"
  if not path.exists():
    is_left = np.ones(len(ids), bool)
    is_left[rows] = False
    path.parent.mkdir(parents=True, exist_ok=True)
    left = np.flatnonzero(is_left).astype("<u8")
    whole_files.write(path, left.tobytes())
  if isinstance(records, balanced.Records):
    rest = records.only(np.memmap(path, "<u8", "r"), path.with_suffix(".npy"))
  else:
    rest = subset.Records(records, path)
  return Split(rest, records, rows, np.asarray(ids[rows]))


def links(source: source_config.SourceConfig) -> bool:
  """Return whether examples with one UID share an image: a field says which.

  A key by default may be numbers that begin again in each file.
  """
  return bool(source.uid) and not source.uid.startswith(uids_lib.IN_FILE)


def _below(ids: np.ndarray, limit: np.uint64) -> Iterator[np.ndarray]:
  for start in range(0, len(ids), _COMPARED):
    high, _ = uids_lib.halves(ids[start : start + _COMPARED])
    yield start + np.flatnonzero(high < limit)


def _ids(
  records: record_lib.Records,
  source: source_config.SourceConfig,
  context: source_config.SourceContext,
) -> tuple[np.ndarray, str]:
  """Return the names of all images, DTYPE [N], and a key of them."""
  facts = (_VERSION, records.fingerprint(), source.image, source.uid)
  key = record_lib.digest(facts)
  folder = context.cache_dir / "image_ids"
  path = folder / f"{key}.npy"
  if not path.exists():
    try:
      with unfinished.turn(folder):
        if not path.exists():
          _make(records, source, context, path)
    except faults.ExampleError as error:
      raise OSError(
        f"{FIELD}: an image of {context.field} cannot be read now: {error}. "
        "The same command goes on from there"
      ) from error
  return np.load(path, mmap_mode="r", allow_pickle=False), key


def _make(
  records: record_lib.Records,
  source: source_config.SourceConfig,
  context: source_config.SourceContext,
  path: pathlib.Path,
) -> None:
  """Write the names of all images."""
  is_remote = remote.is_remote(source.path) or remote.is_remote(
    source.image_root
  )
  read = functools.partial(_names, records, is_remote=is_remote)
  part = path.with_suffix(".part")
  size = image_ids.DTYPE.itemsize
  label = f"Reading images of {context.field} for {FIELD}"
  with (
    open(part, "ab") as file,
    progress.Progress(label, len(records)) as bar,
    concurrent.futures.ThreadPoolExecutor(
      _NUM_REMOTE_THREADS if is_remote else _NUM_THREADS
    ) as pool,
  ):
    begun = os.path.getsize(part) // size
    file.truncate(begun * size)
    bar.advance(begun)
    for start in range(begun, len(records), _CHUNK):
      rows = range(start, min(start + _CHUNK, len(records)))
      blocks = [rows[i : i + _BLOCK] for i in range(0, len(rows), _BLOCK)]
      file.write(b"".join(pool.map(read, blocks)))
      file.flush()
      bar.advance(len(rows))
  ids = np.fromfile(part, image_ids.DTYPE)
  unread = np.flatnonzero(ids == np.bytes_(_UNREAD))
  if len(unread) or links(source):
    uids = records.uids()
    for row in unread.tolist():
      ids[row] = image_ids.of_uid(uids[row])
    if links(source):
      ids = image_ids.linked(ids, uids)
  if len(unread):
    logging.warning(
      "%s: %d of %d images of %s cannot be read, the first of example %d",
      *(FIELD, len(unread), len(ids), context.field, unread[0]),
    )
  data = io.BytesIO()
  np.save(data, ids, allow_pickle=False)
  whole_files.write(path, data.getvalue())
  part.unlink()


# In place of the name of an image that cannot be read; no hash is all zeros.
_UNREAD = bytes(image_ids.DTYPE.itemsize)


def _names(
  records: record_lib.Records, rows: range, *, is_remote: bool
) -> bytes:
  names = []
  for row in rows:
    try:
      names.append(records.image_id(row))
    except faults.ExampleError as error:
      # At another try it might have another name, and be held out or not.
      if error.kind == "read_failed" and (is_remote or "://" in str(error)):
        raise
      names.append(_UNREAD)
  return b"".join(names)
