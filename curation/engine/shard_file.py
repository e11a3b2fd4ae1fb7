"""Parquet file that a stage writes for one shard.

  uid, row   every pair that entered the stage
  caption    number of the pair's caption among its image's; first stage only,
             where the pool has it
  step       number within the stage of the step that dropped the pair, ALIVE
             if none did, UNREADABLE if it could not be read
  fault      reason why a pair could not be read, or not be used by a step; only
             if there is one
  ...        signals of the stage's steps, null for pairs dropped before

The file's metadata contain a `Tally`.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation import pool as pool_lib
from runtime.storage import mirror

ALIVE = -1
UNREADABLE = -2
# Columns that are no signals.
OWN = ("uid", "row", "caption", "step", "fault")
# Name of the step that drops unreadable pairs.
READ = "read"
_TALLY = b"diptych.tally"


@dataclasses.dataclass
class Tally:
  """Counts of a stage, for one shard or summed over several.

  Attributes:
    rows: pairs that entered.
    counts: step -> [pairs in, pairs kept].
    seconds: step -> duration in seconds, summed over workers.
    faults: kind -> pairs that could not be read.
    step_faults: step -> kind -> pairs that it dropped because of a fault.
    sha256: digest of a shard's UIDs and texts; first stage only.
    is_new: whether the shard was processed just now; not stored.
  """

  rows: int = 0
  counts: dict[str, list[int]] = dataclasses.field(default_factory=dict)
  seconds: dict[str, float] = dataclasses.field(default_factory=dict)
  faults: dict[str, int] = dataclasses.field(default_factory=dict)
  step_faults: dict[str, dict[str, int]] = dataclasses.field(
    default_factory=dict
  )
  sha256: str = ""
  is_new: bool = True

  def add(self, other: "Tally") -> None:
    """Add the counts of another tally."""
    self.rows += other.rows
    for name, (entered, kept) in other.counts.items():
      self.count(name, entered, kept)
    for name, seconds in other.seconds.items():
      self.spend(name, seconds)
    self.add_faults("", other.faults)
    for name, kinds in other.step_faults.items():
      self.add_faults(name, kinds)

  def count(self, name: str, entered: int, kept: int) -> None:
    """Add pairs that entered a step, and those that it kept."""
    numbers = self.counts.setdefault(name, [0, 0])
    numbers[0] += entered
    numbers[1] += kept

  def add_faults(self, name: str, kinds: Mapping[str, int]) -> None:
    """Add faults of a step, or with "" of pairs that could not be read."""
    if kinds:
      own = self.step_faults.setdefault(name, {}) if name else self.faults
      for kind, num in kinds.items():
        own[kind] = own.get(kind, 0) + num

  def spend(self, name: str, seconds: float) -> None:
    """Add seconds that a step took."""
    self.seconds[name] = self.seconds.get(name, 0.0) + seconds

  def to_json(self) -> str:
    """Return JSON for `tally_of_json`."""
    fields = dataclasses.asdict(self)
    del fields["is_new"]
    return json.dumps(fields)


def tally_of_json(text: str | bytes) -> Tally:
  """Return a stored tally."""
  return Tally(**json.loads(text), is_new=False)


def write(
  copy: mirror.Mirror,
  path: pathlib.Path,
  tables: Sequence[pa.Table],
  tally: Tally,
) -> None:
  """Write a file of a curation's folder, whole or not at all."""
  if tables:
    # A batch whose pairs were all dropped early lacks later steps' signals.
    table = pa.concat_tables(tables, promote_options="default")
  else:
    table = pa.table(
      {
        "uid": pa.array([], pool_lib.UID_TYPE),
        "row": pa.array([], pa.int64()),
        "step": pa.array([], pa.int16()),
      }
    )
  write_table(copy, path, table, {_TALLY: tally.to_json().encode()})


def write_table(
  copy: mirror.Mirror,
  path: pathlib.Path,
  table: pa.Table,
  metadata: dict[bytes, bytes],
) -> None:
  """Write a table with metadata, whole or not at all."""
  table = table.replace_schema_metadata(metadata)
  path.parent.mkdir(parents=True, exist_ok=True)
  with copy.replacing(path) as file:
    pq.write_table(table, file, compression="zstd")


def read_tally(path: pathlib.Path) -> Tally:
  """Return a file's tally."""
  return tally_of_json((pq.read_schema(path).metadata or {})[_TALLY])


def alive(path: pathlib.Path, columns: Sequence[str] = ("row",)) -> pa.Table:
  """Return columns of the pairs that no step dropped."""
  table = pq.read_table(path, columns=[*columns, "step"])
  return table.filter(pc.field("step") == ALIVE).select(list(columns))
