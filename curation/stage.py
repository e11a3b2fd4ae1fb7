"""One pass over one shard: what a worker does.

  stages/NN-KEY/shards/SHARD.parquet    a row for each pair that came in: uid,
                                        row, step (number in the stage of the
                                        step that dropped it, -1 for none), and
                                        the signals of the stage's steps
  stages/NN-KEY/parts/STEP/SHARD        what a reduction measured

The Parquet file is written last: where it is, the shard is done.
"""

import dataclasses
import functools
import json
import os
import pathlib
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation import operators, plan
from curation import pool as pool_lib

# Columns of a stage's files beside the signals.
OWN = ("uid", "row", "step")
_COUNTS = b"diptych.counts"


@dataclasses.dataclass(frozen=True)
class Work:
  """All that a worker has to know to do any shard of a stage.

  Attributes:
    pool: of the curation.
    steps: of the whole recipe.
    stages: up to the one that is done.
    workdir: of the curation.
    cache_dir: of the recipe.
    signals: name -> number of the stage whose files have it.
  """

  pool: pool_lib.Pool
  steps: Mapping[str, operators.Operator]
  stages: tuple[plan.Stage, ...]
  workdir: pathlib.Path
  cache_dir: pathlib.Path
  signals: Mapping[str, int]

  @property
  def stage(self) -> plan.Stage:
    """Return the stage that is done."""
    return self.stages[-1]

  def shard_path(
    self, stage: plan.Stage, shard: pool_lib.Shard
  ) -> pathlib.Path:
    """Return the file of a shard that a stage has done."""
    return folder(self.workdir, stage) / "shards" / f"{shard.name}.parquet"

  def place(self, name: str) -> operators.Place:
    """Return the place of a step whose state, if any, is there."""
    state = None
    if isinstance(self.steps[name], operators.Reduction):
      state = state_folder(self.workdir, self.stages, name)
    return operators.Place(self.workdir, self.cache_dir, state)


def folder(workdir: pathlib.Path, stage: plan.Stage) -> pathlib.Path:
  """Return the folder of a stage."""
  return workdir / "stages" / stage.folder


def state_folder(
  workdir: pathlib.Path, stages: Iterable[plan.Stage], name: str
) -> pathlib.Path:
  """Return the folder of a reduction's global state."""
  for stage in stages:
    if name in (*stage.measures, *stage.raw_measures):
      return folder(workdir, stage) / "state" / name
  raise AssertionError(f"no stage measures {name}")


def run(work: Work, shard: pool_lib.Shard) -> dict[str, list[int]]:
  """Do a stage for a shard; return {step: [pairs in, pairs kept]}.

  What is done already is not done again.
  """
  path = work.shard_path(work.stage, shard)
  if path.exists():
    return counts_of(path)
  before = operators.Place(work.workdir, work.cache_dir)
  names = (*work.stage.raw_measures, *work.stage.measures)
  measures = {name: _reduction(work, name).measure(before) for name in names}
  tables = _tables(work, shard)
  for name in work.stage.raw_measures:
    tables = _measured(tables, measures[name])
  written, counts = [], {name: [0, 0] for name in work.stage.steps}
  for entered, table in _decided(work, shard, tables, counts):
    for name in work.stage.measures:
      if len(table):
        measures[name].add(table)
    written.append(entered)
  for name, measure in measures.items():
    part = part_path(work.workdir, work.stage, name, shard)
    part.parent.mkdir(parents=True, exist_ok=True)
    measure.save(part)
  _write(path, written, counts)
  return counts


def part_path(
  workdir: pathlib.Path, stage: plan.Stage, name: str, shard: pool_lib.Shard
) -> pathlib.Path:
  """Return where a reduction's measure of a shard is."""
  return folder(workdir, stage) / "parts" / name / shard.name


def counts_of(path: pathlib.Path) -> dict[str, list[int]]:
  """Return {step: [pairs in, pairs kept]} of a shard that is done."""
  metadata = pq.read_schema(path).metadata or {}
  return json.loads(metadata[_COUNTS])


def alive(path: pathlib.Path, columns: Sequence[str] = ("row",)) -> pa.Table:
  """Return columns of the pairs that a stage's file says are kept."""
  return pq.read_table(
    path, columns=list(columns), filters=pc.field("step") == -1
  )


def _tables(work: Work, shard: pool_lib.Shard) -> Iterator[pa.Table]:
  """Yield the pairs that come into the stage, with what its steps read."""
  wanted = _columns(work)
  carried = {name for name in wanted if name in work.signals}
  rows, signals = None, None
  if work.stage.number:
    previous = work.shard_path(work.stages[-2], shard)
    rows = alive(previous)["row"].to_numpy()
    if not len(rows):
      return  # nor are there the signals of steps that no pair came to
    signals = _carried(work, shard, carried, rows)
  is_mesh = work.stage.on_mesh
  max_rows = pool_lib.TEXT_ROWS
  if "image" in wanted:
    max_rows = pool_lib.IMAGE_ROWS
  if is_mesh:
    step = work.steps[work.stage.steps[0]]
    assert isinstance(step, operators.MeshFilter)
    max_rows = step.batch_rows
  start = 0
  for table in work.pool.read(
    shard, sorted(wanted - carried), max_rows=max_rows, rows=rows
  ):
    if signals is not None:
      part = signals.slice(start, len(table))
      for name in part.column_names:
        table = table.append_column(name, part[name])
    start += len(table)
    yield table


def _columns(work: Work) -> set[str]:
  """Return what the stage's steps and measures read and do not make."""
  wanted: set[str] = set()
  made: set[str] = set()
  for name in work.stage.raw_measures:
    wanted |= set(_reduction(work, name).measured)
  for name in work.stage.steps:
    wanted |= set(work.steps[name].columns) - made
    made |= {n for n, s in work.signals.items() if s == work.stage.number}
  for name in work.stage.measures:
    wanted |= set(_reduction(work, name).measured) - made
  return wanted - {"uid", "row"}


def _carried(
  work: Work, shard: pool_lib.Shard, names: Iterable[str], rows: np.ndarray
) -> pa.Table:
  """Return signals of earlier stages, of the pairs with these rows."""
  columns = {}
  for name in sorted(names):
    path = work.shard_path(work.stages[work.signals[name]], shard)
    table = pq.read_table(path, columns=["row", name])
    places = np.searchsorted(table["row"].to_numpy(), rows)
    columns[name] = table[name].take(pa.array(places))
  return pa.table(columns)


def _decided(
  work: Work,
  shard: pool_lib.Shard,
  tables: Iterator[pa.Table],
  counts: dict[str, list[int]],
) -> Iterator[tuple[pa.Table, pa.Table]]:
  """Yield what came in, marked, and what is left of it."""
  if work.stage.on_mesh:
    (name,) = work.stage.steps
    step = work.steps[name]
    assert isinstance(step, operators.MeshFilter)
    seen: list[pa.Table] = []

    def remembered() -> Iterator[pa.Table]:
      for table in tables:
        seen.append(table)
        yield table

    fn = _opened_mesh(step, work.place(name))
    read = functools.partial(_fetched, work, shard)
    for verdict in fn(shard, remembered(), read):
      yield _applied([(name, verdict)], seen.pop(0), counts)
    assert not seen, f"{name} gave fewer verdicts than tables"
    return
  for table in tables:
    entered, left = _own(table), table
    for number, name in enumerate(work.stage.steps):
      if not len(left):
        break
      step = work.steps[name]
      assert isinstance(step, operators.Filter)
      verdict = _opened(step, work.place(name))(left)
      entered, left = _apply(verdict, number, name, entered, left, counts)
    yield entered, left


def _fetched(
  work: Work, shard: pool_lib.Shard, columns: Sequence[str], rows: np.ndarray
) -> Iterator[pa.Table]:
  """Yield columns of some pairs of a shard: an operators.ReadFn."""
  max_rows = pool_lib.IMAGE_ROWS if "image" in columns else pool_lib.TEXT_ROWS
  if len(rows):
    yield from work.pool.read(shard, columns, max_rows=max_rows, rows=rows)


def _applied(
  verdicts: list[tuple[str, operators.Verdict]],
  table: pa.Table,
  counts: dict[str, list[int]],
) -> tuple[pa.Table, pa.Table]:
  entered, left = _own(table), table
  for number, (name, verdict) in enumerate(verdicts):
    entered, left = _apply(verdict, number, name, entered, left, counts)
  return entered, left


def _own(table: pa.Table) -> pa.Table:
  steps = pa.array(np.full(len(table), -1, np.int16))
  return table.select(["uid", "row"]).append_column("step", steps)


def _apply(
  verdict: operators.Verdict,
  number: int,
  name: str,
  entered: pa.Table,
  left: pa.Table,
  counts: dict[str, list[int]],
) -> tuple[pa.Table, pa.Table]:
  """Return both with the signals, dropped pairs marked or gone."""
  steps = entered["step"].to_numpy().copy()
  places = np.flatnonzero(steps == -1)
  keep = np.ones(len(left), bool) if verdict.keep is None else verdict.keep
  if len(keep) != len(left) or keep.dtype != bool:
    raise AssertionError(f"{name}: keep must be bool [{len(left)}]")
  # Where in `left` each pair is, null where an earlier step dropped it.
  index = np.zeros(len(entered), np.int64)
  index[places] = np.arange(len(places))
  indices = pa.array(index, mask=steps != -1)
  for signal, values in verdict.signals.items():
    column = pa.chunked_array(values) if isinstance(values, list) else values
    if isinstance(column, np.ndarray):
      column = pa.array(column)
    entered = entered.append_column(signal, column.take(indices))
    left = left.append_column(signal, column)
  steps[places[~keep]] = number
  place = entered.schema.get_field_index("step")
  entered = entered.set_column(place, "step", pa.array(steps))
  counts[name][0] += len(left)
  counts[name][1] += int(keep.sum())
  return entered, left if keep.all() else left.filter(pa.array(keep))


def _write(
  path: pathlib.Path, tables: list[pa.Table], counts: dict[str, list[int]]
) -> None:
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
  metadata = {_COUNTS: json.dumps(counts).encode()}
  table = table.replace_schema_metadata(metadata)
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.name}.tmp-{secrets.token_hex(8)}")
  try:
    pq.write_table(table, temporary, compression="zstd")
    os.replace(temporary, path)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise


def _measured(
  tables: Iterator[pa.Table], measure: operators.Measure
) -> Iterator[pa.Table]:
  for table in tables:
    measure.add(table)
    yield table


def _reduction(work: Work, name: str) -> operators.Reduction:
  step = work.steps[name]
  assert isinstance(step, operators.Reduction)
  return step


# An automaton of 500,000 entries takes seconds to make.
@functools.lru_cache(maxsize=64)
def _opened(
  step: operators.Filter, place: operators.Place
) -> operators.DecideFn:
  return step.open(place)


@functools.lru_cache(maxsize=8)
def _opened_mesh(step: operators.MeshFilter, place: operators.Place):
  return step.open_shards(place)
