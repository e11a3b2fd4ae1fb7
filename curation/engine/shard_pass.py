"""One stage over one shard: the work of a worker.

  stages/NN-KEY/shards/SHARD.parquet   see shard_file.py
  stages/NN-KEY/parts/STEP/SHARD       measure of a reduction on the shard
  stages/NN-KEY/state/STEP/            state that it computed from all parts
  stages/00-KEY/shares-DIGEST/SHARD    see shares/caption_labels.py
  stages/NN-KEY/done.json              written when the stage is done

A shard's Parquet file is written last: if it exists, the shard is done.
"""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation import operators
from curation import pool as pool_lib
from curation.engine import content_digest, shard_file, verdicts
from curation.engine import stages as stages_lib
from curation.shares import caption_labels
from runtime.storage import mirror


@dataclasses.dataclass(frozen=True)
class Work:
  """Arguments of a worker, the same for all shards of a stage.

  Attributes:
    pool: pool of the curation.
    steps: all steps of the recipe.
    stages: stages up to the current one.
    copy: folder of the curation.
    cache_dir: cache folder of the recipe.
    signals: signal -> number of the stage whose files contain it.
    shares: digest of the lists of places and terms to look for in captions; ""
      for none.
    num_sampled: number of captions of a shard that they are looked for in.
  """

  pool: pool_lib.Pool
  steps: Mapping[str, operators.Operator]
  stages: tuple[stages_lib.Stage, ...]
  copy: mirror.Mirror
  cache_dir: pathlib.Path
  signals: Mapping[str, int]
  shares: str = ""
  num_sampled: int = 0

  @property
  def workdir(self) -> pathlib.Path:
    """Return the folder of the curation on this disk."""
    return self.copy.local

  @property
  def stage(self) -> stages_lib.Stage:
    """Return the current stage."""
    return self.stages[-1]

  @property
  def folder(self) -> pathlib.Path:
    """Return the folder of the current stage."""
    return self._folder(self.stage)

  def shard_path(
    self, stage: stages_lib.Stage, shard: pool_lib.Shard
  ) -> pathlib.Path:
    """Return the Parquet file that a stage writes for a shard."""
    return self._folder(stage) / "shards" / f"{shard.name}.parquet"

  def part_path(self, name: str, shard: pool_lib.Shard) -> pathlib.Path:
    """Return the file of a reduction's measure on a shard."""
    return self.folder / "parts" / name / shard.name

  def shares_path(self, shard: pool_lib.Shard) -> pathlib.Path:
    """Return the file of a shard's languages, places and terms."""
    folder = self._folder(self.stages[0]) / f"shares-{self.shares}"
    return folder / f"{shard.name}.parquet"

  def state_folder(self, name: str) -> pathlib.Path:
    """Return the folder of a reduction's global state."""
    for stage in self.stages:
      if name in stage.measured:
        return self._folder(stage) / f"state{stage.suffix}" / name
    raise AssertionError(f"no stage measures {name}")

  def context(self, name: str) -> operators.StepContext:
    """Return the folders that a step may use."""
    state = None
    if isinstance(self.steps[name], operators.Reduction):
      state = self.state_folder(name)
    return operators.StepContext(
      self.workdir, self.cache_dir, state, copy=self.copy
    )

  def fetch_stages(self) -> None:
    """Have the files of all stages so far on this disk."""
    self.copy.fetch(*map(self._folder, self.stages))

  def _folder(self, stage: stages_lib.Stage) -> pathlib.Path:
    return self.workdir / "stages" / stage.folder


def run(work: Work, shard: pool_lib.Shard) -> shard_file.Tally:
  """Run a stage on a shard, unless its file exists; return the tally."""
  path = work.shard_path(work.stage, shard)
  if path.exists():
    return shard_file.read_tally(path)
  before = operators.StepContext(work.workdir, work.cache_dir, copy=work.copy)
  measures = {
    name: _reduction(work, name).measure(before) for name in work.stage.measured
  }
  tally = shard_file.Tally()
  for name in work.stage.steps:
    tally.count(name, 0, 0)
  digest = content_digest.ContentDigest()
  captions = caption_labels.Collector(work.num_sampled)
  tables = _readable(work, _tables(work, shard), digest, captions, tally)
  raw = {name: measures[name] for name in work.stage.raw_measures}
  tables = _decided(work, shard, _measured(tables, raw, tally), tally)
  last = {name: measures[name] for name in work.stage.measures}
  written = []
  for entered, _ in _measured(tables, last, tally):
    tally.rows += len(entered)
    written.append(entered)
  if not work.stage.number:
    tally.sha256 = digest.hexdigest()
    if work.shares:
      captions.save(work.shares_path(shard), work.copy)
  for name, measure in measures.items():
    part = work.part_path(name, shard)
    part.parent.mkdir(parents=True, exist_ok=True)
    # A worker that was given up too early may still write the same part.
    with work.copy.new_file(part) as temporary:
      measure.save(temporary)
  shard_file.write(work.copy, path, written, tally)
  return tally


def columns(work: Work) -> set[str]:
  """Return the columns that the stage's steps read and do not make."""
  wanted: set[str] = set()
  made: set[str] = set()
  for name in work.stage.raw_measures:
    wanted |= set(_reduction(work, name).measured)
  for name in work.stage.steps:
    wanted |= set(work.steps[name].columns) - made
    made |= set(work.steps[name].signals)
  for name in work.stage.measures:
    wanted |= set(_reduction(work, name).measured) - made
  if not work.stage.number:
    wanted |= {"text", "caption"} & work.pool.columns
    if work.shares:
      wanted |= caption_labels.COLUMNS & work.pool.columns
  return wanted - {"uid", "row"}


def _tables(work: Work, shard: pool_lib.Shard) -> Iterator[pa.Table]:
  """Yield the pairs that enter the stage, with the columns its steps read."""
  wanted = columns(work)
  number = work.stage.number
  carried = {n for n in wanted if work.signals.get(n, number) < number}
  rows, signals = None, pa.table({})
  if number:
    previous = work.shard_path(work.stages[-2], shard)
    rows = shard_file.alive(previous)["row"].to_numpy()
    if not len(rows):
      return
    signals = _carried(work, shard, carried, rows)
  max_rows = pool_lib.TEXT_ROWS
  if "image" in wanted:
    max_rows = pool_lib.IMAGE_ROWS
  if work.stage.on_mesh:
    step = work.steps[work.stage.steps[0]]
    assert isinstance(step, operators.MeshFilter)
    max_rows = step.batch_rows
  start = 0
  for table in work.pool.read(
    shard, sorted(wanted - carried), max_rows=max_rows, rows=rows
  ):
    if rows is not None:
      _check_rows(shard, table, rows[start : start + len(table)])
    part = signals.slice(start, len(table))
    for name in part.column_names:
      table = pool_lib.with_column(table, name, part[name])
    start += len(table)
    yield table
  if rows is not None and start != len(rows):
    raise _changed(shard)


def _check_rows(
  shard: pool_lib.Shard, table: pa.Table, rows: np.ndarray
) -> None:
  if not np.array_equal(table["row"].to_numpy(), rows):
    raise _changed(shard)


def _changed(shard: pool_lib.Shard) -> OSError:
  return OSError(
    f"{shard.path} has changed since the first stage read it: its rows are "
    "others. Restore the file, or give another --workdir"
  )


def _carried(
  work: Work, shard: pool_lib.Shard, names: Iterable[str], rows: np.ndarray
) -> pa.Table:
  """Return signals of earlier stages for the pairs with these rows."""
  signals = {}
  for name in sorted(names):
    path = work.shard_path(work.stages[work.signals[name]], shard)
    table = pq.read_table(path, columns=["row", name])
    indices = np.searchsorted(table["row"].to_numpy(), rows)
    signals[name] = table[name].take(pa.array(indices))
  return pa.table(signals)


def _readable(
  work: Work,
  tables: Iterable[pa.Table],
  digest: content_digest.ContentDigest,
  captions: caption_labels.Collector,
  tally: shard_file.Tally,
) -> Iterator[tuple[pa.Table, pa.Table]]:
  """Yield both parts of each table (verdicts.py); read the first stage's.

  Digest and captions are those of the first stage alone.
  """
  is_first = not work.stage.number
  for table in tables:
    if is_first:
      digest.add(table)
      if work.shares:
        captions.add(table)
    if "fault" in table.column_names:
      tally.add_faults("", verdicts.fault_kinds(table["fault"]))
    yield verdicts.begin(table, has_caption=is_first)


def _decided(
  work: Work,
  shard: pool_lib.Shard,
  tables: Iterable[tuple[pa.Table, pa.Table]],
  tally: shard_file.Tally,
) -> Iterator[tuple[pa.Table, pa.Table]]:
  """Yield both parts of each table after the stage's steps."""
  if work.stage.on_mesh:
    yield from _decided_on_mesh(work, shard, tables, tally)
    return
  for entered, left in tables:
    for number, name in enumerate(work.stage.steps):
      if not len(left):
        break
      num_entered, start = len(left), time.perf_counter()
      verdict = _opened(work, name)(left)
      seconds = time.perf_counter() - start
      entered, left = verdicts.apply(verdict, number, name, entered, left)
      tally.count(name, num_entered, len(left))
      tally.add_faults(name, verdicts.fault_kinds(verdict.faults))
      tally.spend(name, seconds)
    yield entered, left


def _decided_on_mesh(
  work: Work,
  shard: pool_lib.Shard,
  tables: Iterable[tuple[pa.Table, pa.Table]],
  tally: shard_file.Tally,
) -> Iterator[tuple[pa.Table, pa.Table]]:
  (name,) = work.stage.steps
  # The model may have read several tables ahead of its verdicts.
  waiting: list[tuple[pa.Table, pa.Table]] = []

  def remaining() -> Iterator[pa.Table]:
    for entered, left in tables:
      waiting.append((entered, left))
      if len(left):
        yield left

  def emptied() -> Iterator[tuple[pa.Table, pa.Table]]:
    while waiting and not len(waiting[0][1]):
      yield waiting.pop(0)

  start = time.perf_counter()
  decide = _opened(work, name)
  read = functools.partial(_fetched, work, shard)
  for verdict in decide(operators.ShardPairs(shard, remaining(), read)):
    yield from emptied()
    entered, left = waiting.pop(0)
    num_entered = len(left)
    entered, left = verdicts.apply(verdict, 0, name, entered, left)
    now = time.perf_counter()
    tally.count(name, num_entered, len(left))
    tally.add_faults(name, verdicts.fault_kinds(verdict.faults))
    tally.spend(name, now - start)
    start = now
    yield entered, left
  yield from emptied()
  if waiting:
    raise AssertionError(f"{name} returned fewer verdicts than tables")


def _fetched(
  work: Work, shard: pool_lib.Shard, names: Sequence[str], rows: np.ndarray
) -> Iterator[pa.Table]:
  """Yield columns of the pairs with these rows: an operators.ReadFn."""
  max_rows = pool_lib.IMAGE_ROWS if "image" in names else pool_lib.TEXT_ROWS
  if len(rows):
    yield from work.pool.read(shard, names, max_rows=max_rows, rows=rows)


def _measured(
  tables: Iterable[tuple[pa.Table, pa.Table]],
  measures: Mapping[str, operators.Measure],
  tally: shard_file.Tally,
) -> Iterator[tuple[pa.Table, pa.Table]]:
  """Yield each table unchanged, after measuring the pairs still left."""
  for entered, left in tables:
    for name, measure in measures.items():
      start = time.perf_counter()
      if len(left):
        measure.add(left)
      tally.spend(name, time.perf_counter() - start)
    yield entered, left


def _reduction(work: Work, name: str) -> operators.Reduction:
  step = work.steps[name]
  assert isinstance(step, operators.Reduction)
  return step


@functools.lru_cache(maxsize=1)
def _open_steps(stage_folder: str) -> dict[Any, Any]:
  """Return the cache of a stage's opened steps; another stage's is freed.

  Opening can take seconds: an automaton of 500,000 entries does.
  """
  del stage_folder  # the key
  return {}


def _opened(work: Work, name: str) -> Any:
  """Return step.open(place), of a mesh filter step.open_shards(place)."""
  step, context = work.steps[name], work.context(name)
  opened = _open_steps(work.stage.folder)
  if (step, context) not in opened:
    if work.stage.on_mesh:
      assert isinstance(step, operators.MeshFilter)
      opened[step, context] = step.open_shards(context)
    else:
      assert isinstance(step, operators.Filter)
      opened[step, context] = step.open(context)
  return opened[step, context]
