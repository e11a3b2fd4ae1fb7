"""Embeddings of pairs, kept so that no pair is embedded twice.

  WORKDIR/embeddings/MODEL/model.json           what the model is
  WORKDIR/embeddings/MODEL/SHARD.npy            a record a pair, sorted by row
  WORKDIR/embeddings/MODEL/references/*.npy     of what pairs are compared with

MODEL stands for the content of a model (curation/on_mesh/scorer.py), or is
"columns-NAME" for embeddings that the pool's files have. Rows that a later run
adds are merged into the file; those of a shard that has changed are replaced.
Imports no JAX.
"""

import dataclasses
import pathlib

import numpy as np
import pyarrow as pa

from curation import pool
from input_pipeline.sources import record
from runtime import whole_files

FOLDER = "embeddings"
# Begins what names embeddings that the pool's files have, in place of a model.
COLUMNS = "columns:"


class MissingError(ValueError):
  """Pairs whose embeddings are not stored."""


def dtype(embed_dim: int) -> np.dtype:
  """Return the record of a pair.

  `version` stands for the content of the shard, and `fault` is a key of
  input_pipeline.faults.KINDS where the pair cannot be embedded, and its
  embeddings are zeros; b"" for all others, whose embeddings have length 1 but
  for rounding.
  """
  return np.dtype(
    [
      ("uid", record.UID),
      ("row", "<i8"),
      ("version", "S8"),
      ("fault", "S24"),
      ("zimg", "<f2", (embed_dim,)),
      ("ztxt", "<f2", (embed_dim,)),
    ]
  )


@dataclasses.dataclass(frozen=True)
class Store:
  """The embeddings that one model made of a pool."""

  folder: pathlib.Path

  def path(self, name: str) -> pathlib.Path:
    """Return the file of the shard of this name."""
    return self.folder / f"{name}.npy"

  def named(self, name: str) -> np.ndarray:
    """Return a shard's records, of which there may be none; a memory map."""
    path = self.path(name)
    if not path.exists():
      return np.zeros(0, dtype(1))
    return np.load(path, mmap_mode="r", allow_pickle=False)

  def open(self, shard: pool.Shard) -> "Records":
    """Return the records of a shard as it is now."""
    return Records(shard, self.folder, self.named(shard.name))

  def add(self, shard: pool.Shard, records: np.ndarray) -> None:
    """Merge records of rows into a shard's; the new ones replace the old."""
    records["version"] = _version(shard)
    old = self.named(shard.name)
    if len(old):
      stays = old["version"] == _version(shard)
      stays &= ~np.isin(old["row"], records["row"])
      records = np.concatenate([old[stays], records])
    records = records[np.argsort(records["row"], kind="stable")]
    self.folder.mkdir(parents=True, exist_ok=True)
    save(self.path(shard.name), records)


class Records:
  """The records of a shard, found by pairs."""

  def __init__(
    self, shard: pool.Shard, folder: pathlib.Path, records: np.ndarray
  ):
    self._records = records
    self._path = shard.path
    self._folder = folder
    # Copies: a field of a memory map has its values far apart.
    self._rows = np.array(records["row"])
    self._uids = np.array(records["uid"])
    self._is_current = np.array(records["version"] == _version(shard))

  def missing(self, table: pa.Table) -> np.ndarray:
    """Return whether each pair of a table is not stored: bool [N]."""
    return self._places(table) < 0

  def read(self, table: pa.Table) -> np.ndarray:
    """Return the records of a table's pairs, in its order.

    Raises:
      MissingError: some are not stored.
    """
    places = self._places(table)
    check_found(places, self._path, self._folder)
    return self._records[places]

  def _places(self, table: pa.Table) -> np.ndarray:
    """Return where a table's pairs are; -1: nowhere."""
    rows, uids = table["row"].to_numpy(), pool.uids(table)
    places = places_of(self._rows, self._uids, rows, uids)
    if len(self._rows):
      places[~self._is_current[places]] = -1
    return places


def places_of(
  stored_rows: np.ndarray,
  stored_uids: np.ndarray,
  rows: np.ndarray,
  uids: np.ndarray,
) -> np.ndarray:
  """Return where pairs are among stored ones, sorted by row; -1: nowhere."""
  if not len(stored_rows):
    return np.full(len(rows), -1)
  places = np.searchsorted(stored_rows, rows)
  places[places == len(stored_rows)] = 0
  same = (stored_rows[places] == rows) & (stored_uids[places] == uids)
  return np.where(same, places, -1)


def check_found(places: np.ndarray, path: str, folder: pathlib.Path) -> None:
  """Raise MissingError where `places_of` did not find some pairs."""
  num_missing = int((places < 0).sum())
  if num_missing:
    raise MissingError(
      f"{num_missing} of {len(places)} pairs of {path} have no embeddings in "
      f"{folder}; a step that embeds with the same model (op=embed, or "
      "stored_embeddings) has to come before"
    )


def _version(shard: pool.Shard) -> bytes:
  return record.digest(shard.version)[:8].encode()


def of_columns(workdir: pathlib.Path, model: str) -> Store:
  """Return where embeddings are that the pool's files had."""
  name = model.removeprefix(COLUMNS)
  return Store(workdir / FOLDER / f"columns-{name}")


def check_model(model: str, field: str) -> None:
  """Raise ValueError, naming `field`.model, where there is no such model."""
  if model.startswith(COLUMNS) or "://" in model:
    return
  if not model or not pathlib.Path(model).exists():
    raise ValueError(
      f"{field}.model: there is no {model!r}; expected the folder of a run "
      "(--workdir of its training; configs/dfn.py has filters), a published "
      "model's folder or file, or hf://owner/name"
    )


def files_of(model: str) -> tuple[str, ...]:
  """Return the paths that a model's results depend on."""
  is_local = not model.startswith(COLUMNS) and "://" not in model
  return (model,) if is_local else ()


def save(path: pathlib.Path, array: np.ndarray) -> None:
  """Write a .npy file, whole or not at all."""
  with whole_files.replacing(path) as file:
    np.save(file, array, allow_pickle=False)


def cosine(x_NE: np.ndarray, y_NE: np.ndarray) -> np.ndarray:
  """Return float32 [N] of stored (float16) rows, the same bits at any time.

  A float16 is a multiple of 2^-24, so the products of rows of length 1 add up
  in float64 without rounding, in whatever order.
  """
  x_NE, y_NE = x_NE.astype(np.float64), y_NE.astype(np.float64)
  xy_N, xx_N, yy_N = (
    np.einsum("ne,ne->n", a, b)
    for a, b in ((x_NE, y_NE), (x_NE, x_NE), (y_NE, y_NE))
  )
  length_N = np.sqrt(xx_N) * np.sqrt(yy_N)
  nothing_N = length_N == 0
  length_N[nothing_N] = 1
  cosine_N = (xy_N / length_N).astype(np.float32)
  cosine_N[nothing_N] = np.nan
  return cosine_N


def unit(rows_NE: np.ndarray) -> np.ndarray:
  """Return rows of length 1 as float16; rows of zeros stay."""
  rows_NE = rows_NE.astype(np.float32)
  length_N = np.linalg.norm(rows_NE, axis=1, keepdims=True)
  return (rows_NE / np.where(length_N == 0, 1, length_N)).astype(np.float16)
