"""keep.npy: the probability that each caption is kept, for the loader.

The probabilities are the signal `keep_probability` of a step that balances.
Training draws by them (data.sources.NAME.keep), instead of reading a selection
that was drawn once.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation import operators, pool
from input_pipeline.selecting import balanced
from runtime import progress
from runtime.storage import mirror

FILE = "keep.npy"
SIGNAL = "keep_probability"
# Captions are sorted in 2^_BITS parts, by the upper bits of their UIDs: 60 MB
# each for 10 billion captions.
_BITS = 12


def update(
  copy: mirror.Mirror,
  steps: Mapping[str, operators.Operator],
  parts: Sequence[pathlib.Path],
) -> None:
  """Write keep.npy if a step computes keep probabilities.

  Without such a step it is written if an image has several captions: each kept
  caption then has probability 1. Otherwise an old file is deleted.

  Args:
    copy: folder of the curation.
    steps: steps of the recipe.
    parts: files of signals/.
  """
  path = copy.local / FILE
  makers = [name for name in steps if SIGNAL in steps[name].signals]
  if makers or any(map(_has_several, parts)):
    write(parts, path, makers[0] if makers else None, copy)
  else:
    copy.delete(path)  # left by other parameters


def write(
  parts: Sequence[pathlib.Path],
  path: pathlib.Path,
  maker: str | None,
  copy: mirror.Mirror = mirror.Mirror(),
) -> int:
  """Write the captions of images that may be kept; return their number.

  A dropped caption has probability 0, unless `maker` dropped it by a draw.
  Later steps do not see the pairs that `maker` dropped, so it should be the
  last step, or keep all (keep="all" of metaclip_balance). The file does not
  depend on the order of the parts.

  Args:
    parts: files of signals/, with uid, row, dropped_by and keep_probability.
    path: .npy file of balanced.KEEP to write.
    maker: name of the step that computes the probabilities; None writes the
      kept captions alone, with probability 1.
    copy: mirror of the folder of `path`.
  """
  with copy.new_file(path) as temporary:
    return _write(_Parts(tuple(parts), maker), temporary)


@dataclasses.dataclass(frozen=True)
class _Parts:
  """Captions of all parts."""

  paths: tuple[pathlib.Path, ...]
  maker: str | None

  def read(self, label: str) -> Iterator[np.ndarray]:
    """Yield balanced.KEEP [N] of each part."""
    with progress.Progress(f"{FILE}, {label}", len(self.paths)) as bar:
      for path in self.paths:
        yield self._read(path)
        bar.advance()

  def _read(self, path: pathlib.Path) -> np.ndarray:
    columns = ["uid", "row", "dropped_by"]
    columns += [SIGNAL] if self.maker else []
    table = pq.read_table(path, columns=columns)
    rows = table["row"].to_numpy()
    if self.maker:
      chances = _chances(table, self.maker)
      # All captions of an image are in one part. If one may be kept, the others
      # are written too: training draws one of all captions first.
      _, image = np.unique(rows >> pool.CAPTION_BITS, return_inverse=True)
      written = np.flatnonzero((np.bincount(image, chances) > 0)[image])
    else:
      chances = np.ones(len(rows), np.float32)
      written = np.flatnonzero(table["dropped_by"].is_null().to_numpy())
    captions = np.empty(len(written), balanced.KEEP)
    uids = pool.uids(table)[written]
    captions["f0"], captions["f1"] = uids["f0"], uids["f1"]
    captions["caption"] = rows[written] & (1 << pool.CAPTION_BITS) - 1
    captions["keep"] = chances[written]
    return captions


def _chances(table: pa.Table, maker: str) -> np.ndarray:
  """Return the probability of each pair, 0 if another step dropped it."""
  chances = pc.fill_null(table[SIGNAL], 0.0).to_numpy().astype(np.float32)
  other = pc.call_function("not_equal", [table["dropped_by"], maker])
  dropped = pc.fill_null(other, False).to_numpy()
  return np.where(dropped, np.float32(0), chances)


def _has_several(part: pathlib.Path) -> bool:
  """Return whether an image of a part has more than one caption."""
  footer = pq.read_metadata(part)
  names = footer.schema.to_arrow_schema().names
  if "caption" not in names:
    return False
  column = names.index("caption")
  statistics = (
    footer.row_group(group).column(column).statistics
    for group in range(footer.num_row_groups)
  )
  return any(x is not None and (x.max or 0) > 0 for x in statistics)


def _write(parts: _Parts, path: pathlib.Path) -> int:
  """Write sorted, distinct captions; return their number."""
  counts = np.zeros(1 << _BITS, np.int64)
  for part in parts.read("shards counted"):
    counts += np.bincount(_bucket(part), minlength=len(counts))
  stops = np.cumsum(counts)
  num = int(stops[-1])
  if not num:
    with open(path, "wb") as file:
      np.save(file, np.zeros(0, balanced.KEEP), allow_pickle=False)
    return 0
  whole = np.lib.format.open_memmap(path, "w+", balanced.KEEP, (num,))
  ends = stops - counts  # end of the rows that are filled, by bucket
  for part in parts.read("shards sorted"):
    buckets = _bucket(part)
    order = np.argsort(buckets, kind="stable")
    numbers, sizes = np.unique(buckets, return_counts=True)
    start = 0
    for bucket, size in zip(numbers.tolist(), sizes.tolist(), strict=True):
      end = ends[bucket]
      whole[end : end + size] = part[order[start : start + size]]
      ends[bucket] += size
      start += size
  written = 0
  for start, stop in zip(stops - counts, stops, strict=True):
    captions = _sorted(whole[start:stop])
    whole[written : written + len(captions)] = captions
    written += len(captions)
  whole.flush()
  _shorten(path, whole.offset, written)
  return written


def _bucket(captions: np.ndarray) -> np.ndarray:
  return (captions["f0"] >> np.uint64(64 - _BITS)).astype(np.int64)


def _sorted(captions: np.ndarray) -> np.ndarray:
  """Return sorted captions; among equal ones, the most probable."""
  order = np.lexsort(
    (
      *(-captions["keep"], captions["caption"]),
      *(captions["f1"], captions["f0"]),
    )
  )
  ordered = captions[order]
  names = ordered[["f0", "f1", "caption"]]
  is_first = np.ones(len(ordered), bool)
  is_first[1:] = names[1:] != names[:-1]
  return ordered[is_first]


def _shorten(path: pathlib.Path, offset: int, num: int) -> None:
  """Cut a file of captions to the first `num`."""
  with open(path, "r+b") as file:
    np.lib.format.write_array_header_1_0(
      file,
      {
        "descr": np.lib.format.dtype_to_descr(balanced.KEEP),
        "fortran_order": False,
        "shape": (num,),
      },
    )
    # NumPy pads headers, so that numbers of all lengths fit.
    assert file.tell() == offset, "the header changed its length"
    file.truncate(offset + num * balanced.KEEP.itemsize)
    file.flush()
    os.fsync(file.fileno())
