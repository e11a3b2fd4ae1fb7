"""Some pairs that each step kept and dropped, the same ones in every run.

Which ones is drawn by hashes of their UIDs, so that neither the order of shards
nor the number of workers changes it.
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
from input_pipeline.sources import record

# Of each step, kept and dropped.
NUM_SHOWN = 8
_COLUMNS = ("uid", "row", "dropped_by")
# Beside signals, in the files of signals/.
_NO_SIGNALS = (*_COLUMNS, "caption", "fault")


@dataclasses.dataclass(frozen=True, order=True)
class Sample:
  """One pair.

  Attributes:
    draw: hash of its UID and the step; the lowest ones are shown.
    uid: 32 hex digits.
    shard: its name.
    row: in the shard.
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
  numbers = {name: number for number, name in enumerate(steps)}
  # Number of the step that dropped each pair: one more than all for kept ones,
  # -1 where it was not a step (a pair that could not be read).
  dropped_by = table["dropped_by"].combine_chunks()
  if not pa.types.is_dictionary(dropped_by.type):
    dropped_by = dropped_by.dictionary_encode()
  order = [numbers.get(name, -1) for name in dropped_by.dictionary.to_pylist()]
  codes = dropped_by.indices.fill_null(len(order)).to_numpy()
  dropped_at = np.array([*order, len(steps)], np.int64)[codes]
  drawn = {}
  for name, number in numbers.items():
    # Of one image's captions, each has a draw of its own.
    draws = hashing.mix(hashing.h64(uids, number) + captions)
    drawn[name] = (
      _lowest(draws, np.flatnonzero(dropped_at > number), uids, rows, path),
      _lowest(draws, np.flatnonzero(dropped_at == number), uids, rows, path),
    )
  return drawn


def merge(parts: Iterable[Drawn]) -> Drawn:
  """Return the samples of all shards together."""
  found: Drawn = {}
  for part in parts:
    for name, (kept, dropped) in part.items():
      before = found.get(name, ([], []))
      found[name] = (
        heapq.nsmallest(NUM_SHOWN, [*before[0], *kept]),
        heapq.nsmallest(NUM_SHOWN, [*before[1], *dropped]),
      )
  return found


def read(
  drawn: Drawn, pool: pool_lib.Pool, signals: pathlib.Path
) -> dict[Sample, dict[str, Any]]:
  """Return columns and signals of samples: caption, image where there is one.

  `signals` is the folder signals/ of the workdir. A pair that cannot be read
  any more is left out.
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
  found = {}
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
          found[by_row[row]] = {**fields, "signals": of_row[row]}
  return found


def _lowest(
  draws: np.ndarray,
  places: np.ndarray,
  uids: np.ndarray,
  rows: np.ndarray,
  path: pathlib.Path,
) -> list[Sample]:
  """Return the samples among `places` with the lowest draws."""
  if len(places) > NUM_SHOWN:
    lowest = np.argpartition(draws[places], NUM_SHOWN)[:NUM_SHOWN]
    places = places[lowest]
  return sorted(
    Sample(int(draws[i]), record.uid_hex(uids[i]), path.stem, int(rows[i]))
    for i in places
  )


def _signals(
  path: pathlib.Path, rows: np.ndarray
) -> dict[int, Mapping[str, Any]]:
  """Return {row: its signals}, without those that are lists or missing."""
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
