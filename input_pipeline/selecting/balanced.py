"""Examples and captions that are drawn by their keep probabilities.

This is MetaCLIP's balancing while training, instead of a selection before it.
For each position of the stream, one of the example's captions is drawn, and
whether it is kept; if not, another example is tried. Captions thus occur in
proportion to their probabilities, and differ between epochs (Xu et al., arXiv
2309.16671, section 3: online).

The file is a sorted .npy array of KEEP, with all captions of each image that
may be kept. The draw at a position depends only on the seed, the position and
the attempt.
"""

import hashlib
import io
import json
import math
import pathlib

import numpy as np
from absl import logging

from input_pipeline.selecting import repeats, subset
from input_pipeline.sources import record as record_lib
from input_pipeline.sources import source_config
from input_pipeline.storage import npy
from input_pipeline.storage import uids as uids_lib
from runtime import progress
from runtime.storage import local_file, whole_files

# Row of a caption: image's UID, number in captions.numbered, probability.
KEEP = np.dtype([*uids_lib.UID.descr, ("caption", "<u4"), ("keep", "<f4")])
# Row of an example: position in the source, its captions' rows in the file.
_PLACE = np.dtype(
  [("position", "<u8"), ("first", "<u8"), ("num_captions", "<u4")]
)
# UIDs of the source that are looked up at once.
_CHUNK = 2**20
# Version to increase when the form of the cached files changes.
_VERSION = 2
# Most draws for one position, times the mean probability: none is kept once in
# e**64 positions.
_DRAWS_BY_MEAN = 64
# A random number has 53 bits, the precision of a float64.
_UNIT, _SHIFT = 2.0**-53, 11


class Records:
  """Records of a source that may be kept; see record.Records."""

  def __init__(
    self, records: record_lib.Records, path: pathlib.Path, keep_path: str
  ):
    """Open the result of `select`.

    Args:
      records: records of the whole source.
      path: file of examples (_PLACE), beside a file of facts.
      keep_path: file of KEEP.
    """
    self._records = records
    self._path = path
    self._keep_path = keep_path
    # Plain arrays of the same memory: np.memmap is slow at single rows.
    self._places = np.load(path, mmap_mode="r", allow_pickle=False).view(
      np.ndarray
    )
    self._keep = np.load(keep_path, mmap_mode="r", allow_pickle=False).view(
      np.ndarray
    )
    self.mean_keep: float = json.loads(_facts_path(path).read_text())["mean"]
    self._max_draws = math.ceil(_DRAWS_BY_MEAN / self.mean_keep)

  def __len__(self) -> int:
    return len(self._places)

  def __getitem__(self, index: int) -> record_lib.Record:
    if not -len(self) <= index < len(self):
      raise IndexError(f"{index} of {len(self)} examples")
    return self._records[int(self._places["position"][index])]

  def draw(
    self, seed: int, position: int, attempt: int, index: int
  ) -> tuple[int, int]:
    """Return an example and the number of its caption.

    Args:
      seed: seed of the run's examples.
      position: position in the stream.
      attempt: number of the attempt at this position.
      index: index of the example that is due.
    """
    for number in range(self._max_draws):
      facts = f"{seed}/{position}/{attempt}/{number}/keep".encode()
      digest = hashlib.blake2b(facts, digest_size=24).digest()
      which, chance, other = (
        int.from_bytes(digest[i : i + 8], "little") for i in (0, 8, 16)
      )
      _, first, num_captions = self._places[index].item()
      # The upper bits of a product are fairer than a remainder.
      _, _, caption, keep = self._keep[
        first + (which * num_captions >> 64)
      ].item()
      if (chance >> _SHIFT) * _UNIT < keep:
        return index, caption
      index = other * len(self) >> 64
    raise ValueError(
      f"{self._keep_path}: {self._max_draws} draws in a row kept nothing, "
      f"though {self.mean_keep:.3g} of them should"
    )

  def fingerprint(self) -> str:
    """Return the name of the file of examples, which identifies the content."""
    return self._path.stem

  def image_id(self, index: int) -> bytes:
    """Return the name of a record's image; see image_ids."""
    return self._records.image_id(int(self._places["position"][index]))

  def only(self, rows: np.ndarray, path: pathlib.Path) -> "Records":
    """Return the examples at ascending `rows`; `path` is made for them."""
    if not _facts_path(path).exists():
      _write(path, self._places[rows], self.mean_keep)
    return Records(self._records, path, self._keep_path)

  def path_of(self, index: int) -> str:
    """Return the path of the file that has a record."""
    return self._records.path_of(int(self._places["position"][index]))

  def uids(self) -> np.ndarray:
    """Return each record's UID."""
    return self._records.uids()[self._places["position"]]

  # Pickled by its paths: the files are mapped again when unpickled.
  def __reduce__(self):
    return type(self), (self._records, self._path, self._keep_path)


def select(
  records: record_lib.Records,
  source: source_config.SourceConfig,
  context: source_config.SourceContext,
) -> Records:
  """Return the examples that `source.keep` may keep, in the source's order.

  The first call reads every UID of the source. Raises ValueError for a file
  that is no array of KEEP, has none of the source's UIDs, or has one that
  several examples have.
  """
  field = f"{context.field}.keep"
  keep, local, version = _open(
    field, source.keep, context.cache_dir / subset.FOLDER
  )
  facts = (
    *(_VERSION, records.fingerprint(), source.uid, source.keep),
    *version,
  )
  digest = record_lib.digest(facts)
  path = context.cache_dir / "balanced" / f"{digest}.npy"
  if not _facts_path(path).exists():
    try:
      names = uids_lib.SortedUids(keep, source.keep)
    except ValueError as error:
      raise ValueError(f"{field}: {error}") from error
    places, total, repeated = _look_up(records.uids(), names, keep, field)
    repeats.check(keep[repeated], records, source, field)
    if not total:
      raise ValueError(
        f"{field}={source.keep} keeps none of the {len(records)} examples; "
        f"{context.field}.uid names the field of the UIDs"
      )
    mean = total / len(places)
    logging.info(
      "%s: %d of %d examples may be kept, each with a "
      "probability of %.3g on average",
      *(context.field, len(places), len(records), mean),
    )
    _write(path, places, mean)
  return Records(records, path, str(local))


def _write(path: pathlib.Path, places: np.ndarray, mean: float) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  file = io.BytesIO()
  np.save(file, places, allow_pickle=False)
  whole_files.write(path, file.getvalue())
  whole_files.write(_facts_path(path), json.dumps({"mean": mean}).encode())


def _open(
  field: str, path: str, cache_dir: pathlib.Path
) -> tuple[np.ndarray, pathlib.Path, tuple[int | str, ...]]:
  """Return the array of a file, its path on this disk, and its version."""
  try:
    local, version = local_file.get(path, cache_dir)
    keep = npy.load(local)
  except (OSError, ValueError) as error:
    raise ValueError(
      f"{field} must be keep.npy of --task=curate; got {path}: {error}"
    ) from error
  if keep.ndim != 1 or keep.dtype != KEEP or not len(keep):
    raise ValueError(
      f"{field} must be keep.npy of --task=curate, one array [N] of UIDs, "
      f"captions and probabilities; got {path} of {keep.dtype} "
      f"{list(keep.shape)}"
    )
  return keep, local, version


def _look_up(
  uids: np.ndarray,
  names: uids_lib.SortedUids,
  keep: np.ndarray,
  field: str,
) -> tuple[np.ndarray, float, np.ndarray]:
  """Return _PLACE of the examples that may be kept, and the sum of means.

  Also return the rows of `keep` whose UIDs several examples have.
  """
  found, total = [np.zeros(0, _PLACE)], 0.0
  counter = repeats.Counter(len(keep))
  with progress.Progress(f"Looking up {field}", len(uids)) as bar:
    for start in range(0, len(uids), _CHUNK):
      chunk = uids[start : start + _CHUNK]
      first = names.first(chunk)
      counts = names.count(chunk, first)
      some = np.flatnonzero(counts)
      counts, first = counts[some], first[some]
      counter.add(first)
      # Rows of all their captions, example by example.
      ends = np.cumsum(counts)
      rows = np.arange(ends[-1] if len(ends) else 0)
      rows += np.repeat(first - (ends - counts), counts)
      chances = keep[rows]["keep"].astype(np.float64)
      wrong = np.flatnonzero(~((chances >= 0) & (chances <= 1)))
      if len(wrong):
        raise ValueError(
          f"{field} must have probabilities from 0 to 1; row {rows[wrong[0]]} "
          f"has {chances[wrong[0]]}"
        )
      means = np.add.reduceat(chances, ends - counts) if len(ends) else chances
      means = means / counts
      some, counts, first = (x[means > 0] for x in (some, counts, first))
      places = np.empty(len(some), _PLACE)
      places["position"] = start + some
      places["first"], places["num_captions"] = first, counts
      found.append(places)
      total += float(means.sum())
      bar.advance(len(chunk))
  return np.concatenate(found), total, counter.repeated()


def _facts_path(path: pathlib.Path) -> pathlib.Path:
  return path.with_suffix(".json")
