"""Embeddings of pairs on disk, so that no pair is embedded twice.

  WORKDIR/embeddings/MODEL/model.json           description of the model
  WORKDIR/embeddings/MODEL/SHARD.npy            a record a pair, sorted by row
  WORKDIR/embeddings/MODEL/references/*.npy     embeddings of reference images

MODEL is a digest of the model's content (curation/on_mesh/scorer.py), or
"columns-NAME" for embeddings that the pool's files have. Rows that a later run
adds are merged into the file; those of a shard that has changed are replaced.
"""

import dataclasses
import pathlib

import numpy as np
import pyarrow as pa

from curation import operators, pool
from input_pipeline.sources import record
from input_pipeline.storage import uids as uids_lib
from runtime.storage import mirror

FOLDER = "embeddings"
# Prefix of a `model` that names embeddings in the pool's files.
COLUMNS = "columns:"
# A pair that a reduction measured.
PAIR = np.dtype([("uid", uids_lib.UID), ("row", "<i8")])


class MissingError(ValueError):
  """Pairs whose embeddings are not stored."""


@dataclasses.dataclass(frozen=True)
class ModelStep(operators.Operator):
  """Step that makes or reads the embeddings of a model.

  Attributes:
    model: as in the earlier step that stored the embeddings: the model of
      op=embed, or "columns:NAME" for stored_embeddings.
  """

  model: str

  def check(self, field: str) -> None:
    """Raise ValueError, naming `field`.model, if no such model exists."""
    is_there = bool(self.model) and pathlib.Path(self.model).exists()
    if self._is_local and not is_there:
      raise ValueError(
        f"{field}.model: there is no {self.model!r}; expected the folder of a"
        " run (--workdir of its training; configs/dfn.py has filters), a"
        " published model's folder or file, or hf://owner/name"
      )

  def files(self) -> tuple[str, ...]:
    """Return the path of a local model."""
    return (self.model,) if self._is_local else ()

  @property
  def _is_local(self) -> bool:
    return not self.model.startswith(COLUMNS) and "://" not in self.model


class Reduction(ModelStep, operators.Reduction):
  """Reduction over the stored embeddings of the pairs that are left."""

  def measure(self, context: operators.StepContext) -> operators.Measure:
    del context
    return _Pairs()


class _Pairs:
  """Pairs of a shard that are left: a measure, read by `load_pairs`."""

  def __init__(self) -> None:
    self._pairs = [np.zeros(0, PAIR)]

  def add(self, table: pa.Table) -> None:
    pairs = np.zeros(len(table), PAIR)
    pairs["uid"] = pool.uids(table)
    pairs["row"] = table["row"].to_numpy()
    self._pairs.append(pairs)

  def save(self, path: pathlib.Path) -> None:
    with open(path, "wb") as file:
      np.save(file, np.concatenate(self._pairs), allow_pickle=False)


def load_pairs(path: pathlib.Path) -> np.ndarray:
  """Return a measure of `Reduction`, PAIR [N]; a memory map."""
  return np.load(path, mmap_mode="r", allow_pickle=False)


def dtype(embed_dim: int) -> np.dtype:
  """Return the type of the record of a pair.

  `version` is a digest of the shard's version. `fault` is b"" for a pair with
  embeddings, of length 1 but for rounding; for a pair that cannot be embedded
  it is a key of input_pipeline.faults.KINDS, and the embeddings are zeros.
  Embeddings of length 0 or not finite are faults too: the step that stores them
  drops their pairs.
  """
  return np.dtype(
    [
      ("uid", uids_lib.UID),
      ("row", "<i8"),
      ("version", "S8"),
      ("fault", "S24"),
      ("zimg", "<f2", (embed_dim,)),
      ("ztxt", "<f2", (embed_dim,)),
    ]
  )


@dataclasses.dataclass(frozen=True)
class Store:
  """Embeddings of a pool by one model.

  Attributes:
    folder: on this disk.
    copy: mirror of the folder that it lies in.
  """

  folder: pathlib.Path
  copy: mirror.Mirror = mirror.Mirror()

  def path(self, name: str) -> pathlib.Path:
    """Return the file of a shard, by its name."""
    return self.folder / f"{name}.npy"

  def named(self, name: str) -> np.ndarray:
    """Return a shard's records, maybe none; a memory map."""
    path = self.path(name)
    self.copy.fetch(path)
    if not path.exists():
      return np.zeros(0, dtype(1))
    return np.load(path, mmap_mode="r", allow_pickle=False)

  def open(self, shard: pool.Shard) -> "Records":
    """Return the records of the present version of a shard."""
    return Records(shard, self.folder, self.named(shard.name))

  def add(self, shard: pool.Shard, records: np.ndarray) -> None:
    """Merge records into a shard's; new ones replace old ones of a row."""
    records["version"] = _version(shard)
    old = self.named(shard.name)
    if len(old):
      stays = old["version"] == _version(shard)
      stays &= ~np.isin(old["row"], records["row"])
      records = np.concatenate([old[stays], records])
    records = records[np.argsort(records["row"], kind="stable")]
    self.folder.mkdir(parents=True, exist_ok=True)
    save(self.path(shard.name), records, self.copy)


class Records:
  """Records of a shard, looked up by pair."""

  def __init__(
    self, shard: pool.Shard, folder: pathlib.Path, records: np.ndarray
  ):
    self._records = records
    self._path = shard.path
    self._folder = folder
    # Copied, because the values of a field lie far apart in the memory map.
    self._rows = np.array(records["row"])
    self._uids = np.array(records["uid"])
    self._is_current = np.array(records["version"] == _version(shard))

  def missing(self, table: pa.Table) -> np.ndarray:
    """Return whether each pair of a table is not stored: bool [N]."""
    return self._index(table) < 0

  def read(self, table: pa.Table) -> np.ndarray:
    """Return the records of a table's pairs, in its order.

    Raises:
      MissingError: a pair is not stored.
    """
    index = self._index(table)
    check_stored(index, self._path, self._folder)
    return self._records[index]

  def _index(self, table: pa.Table) -> np.ndarray:
    """Return the index of each pair's record, -1 for a missing one."""
    rows, uids = table["row"].to_numpy(), pool.uids(table)
    index = index_of(self._rows, self._uids, rows, uids)
    if len(self._rows):
      index[~self._is_current[index]] = -1
    return index


def index_of(
  stored_rows: np.ndarray,
  stored_uids: np.ndarray,
  rows: np.ndarray,
  uids: np.ndarray,
) -> np.ndarray:
  """Return the indices of pairs among stored ones, sorted by row; -1: none."""
  if not len(stored_rows):
    return np.full(len(rows), -1)
  index = np.searchsorted(stored_rows, rows)
  index[index == len(stored_rows)] = 0
  same = (stored_rows[index] == rows) & (stored_uids[index] == uids)
  return np.where(same, index, -1)


def check_stored(index: np.ndarray, path: str, folder: pathlib.Path) -> None:
  """Raise MissingError for a -1 in the result of `index_of`."""
  num_missing = int((index < 0).sum())
  if num_missing:
    raise MissingError(
      f"{num_missing} of {len(index)} pairs of {path} have no embeddings in "
      f"{folder}; a step that embeds with the same model (op=embed, or "
      "stored_embeddings) has to come before"
    )


def _version(shard: pool.Shard) -> bytes:
  return record.digest(shard.version)[:8].encode()


def of_columns(context: operators.StepContext, model: str) -> Store:
  """Return the store of embeddings from the pool's files."""
  name = model.removeprefix(COLUMNS)
  return Store(context.workdir / FOLDER / f"columns-{name}", context.copy)


def save(path: pathlib.Path, array: np.ndarray, copy: mirror.Mirror) -> None:
  """Write a .npy file, whole or not at all."""
  with copy.replacing(path) as file:
    np.save(file, array, allow_pickle=False)


def cosine(x_NE: np.ndarray, y_NE: np.ndarray) -> np.ndarray:
  """Return float32 [N] of stored (float16) rows, reproducible to the bit.

  A float16 is a multiple of 2^-24, so the products of rows of length 1 add up
  in float64 without rounding, in any order.
  """
  x_NE, y_NE = x_NE.astype(np.float64), y_NE.astype(np.float64)
  xy_N, xx_N, yy_N = (
    np.einsum("ne,ne->n", a, b)
    for a, b in ((x_NE, y_NE), (x_NE, x_NE), (y_NE, y_NE))
  )
  length_N = np.sqrt(xx_N) * np.sqrt(yy_N)
  is_zero_N = length_N == 0
  length_N[is_zero_N] = 1
  cosine_N = (xy_N / length_N).astype(np.float32)
  cosine_N[is_zero_N] = np.nan
  return cosine_N


def unit(rows_NE: np.ndarray) -> np.ndarray:
  """Return rows of length 1 as float16; rows of zeros stay.

  A row with a number that is not finite has NaN afterwards.
  """
  wide_NE = rows_NE.astype(np.float64)
  largest_N1 = np.abs(wide_NE).max(axis=1, keepdims=True, initial=0)
  # The squares of their numbers are outside the range of float32.
  is_odd_N1 = (largest_N1 > 1e15) | (largest_N1 < 1e-15)
  is_odd_N1 &= np.isfinite(largest_N1) & (largest_N1 > 0)
  rows_NE = (wide_NE / np.where(is_odd_N1, largest_N1, 1)).astype(np.float32)
  with np.errstate(invalid="ignore"):
    length_N1 = np.linalg.norm(rows_NE, axis=1, keepdims=True)
    unit_NE = rows_NE / np.where(length_N1 == 0, 1, length_N1)
  return unit_NE.astype(np.float16)


def problems(z_NE: np.ndarray) -> np.ndarray:
  """Return a text about each row without a direction, object [N]; else ""."""
  problems_N = np.full(len(z_NE), "", object)
  problems_N[~z_NE.any(axis=1)] = "has length 0"
  problems_N[~np.isfinite(z_NE).all(axis=1)] = "is not finite"
  return problems_N
