"""Samples of the pairs that each step kept and dropped, equal in every run.

Pairs are drawn by hashes of their UIDs, so that neither the order of shards nor
the number of workers changes the samples.
"""

import dataclasses
import heapq
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation import pool as pool_lib
from curation.keys import hashing
from input_pipeline.storage import uids as uids_lib

# Number of kept, and of dropped pairs shown for each step.
NUM_SHOWN = 8
_COLUMNS = ("uid", "row", "dropped_by")
# Columns in the files of signals/ beside signals.
_NO_SIGNALS = (*_COLUMNS, "caption", "fault")


@dataclasses.dataclass(frozen=True, order=True)
class Sample:
  """Pair that is shown.

  Attributes:
    draw: hash of the UID and the step; the pairs with the lowest are shown.
    uid: 32 hex digits.
    shard: name of the shard.
    row: row of the pair in the shard.
  """

  draw: int
  uid: str
  shard: str
  row: int


# Step -> (kept, dropped).
Drawn = dict[str, tuple[list[Sample], list[Sample]]]


def of_shard(path: pathlib.Path, steps: Sequence[str]) -> Drawn:
  """Return the samples of one file of signals/."""
  table = pq.read_table(path, columns=list(_COLUMNS))
  uids = pool_lib.uids(table)
  rows = table["row"].to_numpy()
  captions = (rows % 2**pool_lib.CAPTION_BITS).astype(np.uint64)
  dropped = dropped_at(table, steps)
  drawn = {}
  for number, name in enumerate(steps):
    # Each caption of an image has a draw of its own.
    draws = hashing.mix(hashing.h64(uids, number) + captions)
    drawn[name] = (
      _lowest(draws, np.flatnonzero(dropped > number), uids, rows, path),
      _lowest(draws, np.flatnonzero(dropped == number), uids, rows, path),
    )
  return drawn


def dropped_at(table: pa.Table, steps: Sequence[str]) -> np.ndarray:
  """Return the number of the step that dropped each pair: int64 [N].

  It is the number of steps for a kept pair, -1 for a pair that could not be
  read. `table` has the column `dropped_by` of signals/.
  """
  numbers = {name: number for number, name in enumerate(steps)}
  dropped_by = table["dropped_by"].combine_chunks()
  if not pa.types.is_dictionary(dropped_by.type):
    dropped_by = dropped_by.dictionary_encode()
  order = [numbers.get(name, -1) for name in dropped_by.dictionary.to_pylist()]
  codes = dropped_by.indices.fill_null(len(order)).to_numpy()
  return np.array([*order, len(steps)], np.int64)[codes]


def merge(parts: Iterable[Drawn]) -> Drawn:
  """Return the samples of all shards together."""
  drawn: Drawn = {}
  for part in parts:
    for name, (kept, dropped) in part.items():
      before = drawn.get(name, ([], []))
      drawn[name] = (
        heapq.nsmallest(NUM_SHOWN, [*before[0], *kept]),
        heapq.nsmallest(NUM_SHOWN, [*before[1], *dropped]),
      )
  return drawn


def read(
  drawn: Drawn, pool: pool_lib.Pool, signals: pathlib.Path
) -> dict[Sample, dict[str, Any]]:
  """Return the columns of the pool and the signals of samples.

  `signals` is the folder signals/ of the workdir. Pairs that can no longer be
  read are left out.
  """
  wanted: dict[str, set[Sample]] = {}
  for kept, dropped in drawn.values():
    for sample in (*kept, *dropped):
      wanted.setdefault(sample.shard, set()).add(sample)
  shards = {shard.name: shard for shard in pool.shards}
  columns = [
    name
    for name in ("text", "image", "url", "width", "height", "language")
    if name in pool.columns
  ]
  shown = {}
  for name, samples in sorted(wanted.items()):
    by_row = {sample.row: sample for sample in samples}
    rows = np.array(sorted(by_row), np.int64)
    of_row = _signals(signals / f"{name}.parquet", rows)
    for table in pool.read(
      shards[name], columns, max_rows=pool_lib.IMAGE_ROWS, rows=rows
    ):
      for fields in table.to_pylist():
        row = fields.pop("row")
        if row in by_row:
          shown[by_row[row]] = {**fields, "signals": of_row[row]}
  return shown


def _lowest(
  draws: np.ndarray,
  candidates: np.ndarray,
  uids: np.ndarray,
  rows: np.ndarray,
  path: pathlib.Path,
) -> list[Sample]:
  """Return samples of the candidates (indices) with the lowest draws."""
  if len(candidates) > NUM_SHOWN:
    lowest = np.argpartition(draws[candidates], NUM_SHOWN)[:NUM_SHOWN]
    candidates = candidates[lowest]
  return sorted(
    Sample(int(draws[i]), uids_lib.uid_hex(uids[i]), path.stem, int(rows[i]))
    for i in candidates
  )


def _signals(
  path: pathlib.Path, rows: np.ndarray
) -> dict[int, Mapping[str, Any]]:
  """Return {row: its signals}, without lists and nulls."""
  schema = pq.read_schema(path)
  names = [
    field.name
    for field in schema
    if field.name not in _NO_SIGNALS and not pa.types.is_nested(field.type)
  ]
  table = pq.read_table(path, columns=["row", *names])
  table = table.filter(pa.array(np.isin(table["row"].to_numpy(), rows)))
  return {
    fields.pop("row"): {k: v for k, v in fields.items() if v is not None}
    for fields in table.to_pylist()
  }
