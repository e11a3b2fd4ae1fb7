"""What a stage writes for one shard: a Parquet file.

  uid, row   of each pair that came into the stage
  caption    number of the pair's caption among its image's; of the first
             stage, where the pool has it
  step       number in the stage of the step that dropped the pair, ALIVE for
             none, UNREADABLE where it could not be read
  fault      why it could not be read; where there is such a pair
  ...        the signals of the stage's steps, null behind the drop

In the file's metadata: a `Tally`.
"""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation import pool as pool_lib
from runtime import whole_files

ALIVE = -1
UNREADABLE = -2
# Columns beside the signals.
OWN = ("uid", "row", "caption", "step", "fault")
# What a pair that could not be read was dropped by.
READ = "read"
_TALLY = b"diptych.tally"


@dataclasses.dataclass
class Tally:
  """What is counted while a stage is done; of one shard, or of several.

  Attributes:
    rows: pairs that came in.
    counts: step -> [pairs in, pairs kept].
    seconds: step -> seconds that it took, summed over workers.
    faults: kind -> pairs that could not be read.
    sha256: of a shard's UIDs and texts; of the first stage.
    is_new: whether it was done just now; not stored.
  """

  rows: int = 0
  counts: dict[str, list[int]] = dataclasses.field(default_factory=dict)
  seconds: dict[str, float] = dataclasses.field(default_factory=dict)
  faults: dict[str, int] = dataclasses.field(default_factory=dict)
  sha256: str = ""
  is_new: bool = True

  def add(self, other: "Tally") -> None:
    """Count another's pairs too."""
    self.rows += other.rows
    for name, (entered, kept) in other.counts.items():
      self.count(name, entered, kept)
    for name, seconds in other.seconds.items():
      self.spend(name, seconds)
    for kind, num in other.faults.items():
      self.faults[kind] = self.faults.get(kind, 0) + num

  def count(self, name: str, entered: int, kept: int) -> None:
    """Count pairs of a step."""
    numbers = self.counts.setdefault(name, [0, 0])
    numbers[0] += entered
    numbers[1] += kept

  def spend(self, name: str, seconds: float) -> None:
    """Count time of a step."""
    self.seconds[name] = self.seconds.get(name, 0.0) + seconds

  def to_json(self) -> str:
    """Return what `tally_of_json` reads."""
    fields = dataclasses.asdict(self)
    del fields["is_new"]
    return json.dumps(fields)


def tally_of_json(text: str | bytes) -> Tally:
  """Return a stored tally."""
  return Tally(**json.loads(text), is_new=False)


def write(path: pathlib.Path, tables: Sequence[pa.Table], tally: Tally) -> None:
  """Write a file, whole or not at all."""
  if tables:
    # Batches that all pairs of were dropped early lack later steps' signals.
    table = pa.concat_tables(tables, promote_options="default")
  else:
    table = pa.table(
      {
        "uid": pa.array([], pool_lib.UID_TYPE),
        "row": pa.array([], pa.int64()),
        "step": pa.array([], pa.int16()),
      }
    )
  write_table(path, table, {_TALLY: tally.to_json().encode()})


def write_table(
  path: pathlib.Path, table: pa.Table, metadata: dict[bytes, bytes]
) -> None:
  """Write a table with metadata, whole or not at all."""
  table = table.replace_schema_metadata(metadata)
  path.parent.mkdir(parents=True, exist_ok=True)
  with whole_files.replacing(path) as file:
    pq.write_table(table, file, compression="zstd")


def read_tally(path: pathlib.Path) -> Tally:
  """Return a file's tally."""
  return tally_of_json((pq.read_schema(path).metadata or {})[_TALLY])


def alive(path: pathlib.Path, columns: Sequence[str] = ("row",)) -> pa.Table:
  """Return columns of the pairs that a file says are kept."""
  table = pq.read_table(path, columns=[*columns, "step"])
  return table.filter(pc.field("step") == ALIVE).select(list(columns))
