"""Interfaces of the operators that the steps of a recipe run.

An operator is a frozen dataclass; its fields are the step's parameters. Most
are a `Filter`: a pure map over the pairs of a shard, in worker processes. A
`MeshFilter` runs a model, in the process that has the devices. Either may also
be a `Reduction`: it first measures each shard, then combines the measures of
all shards into a state that its decisions read.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from curation import pool
from runtime.storage import mirror


@dataclasses.dataclass(frozen=True)
class Verdict:
  """Decision of a step about the pairs of a table.

  Attributes:
    keep: bool [N]; None keeps all.
    signals: name -> [N] (NumPy or Arrow); columns for later steps and for
      signals/*.parquet. Floats that are NaN or infinite become null.
    faults: string [N], "KIND: MESSAGE" (of input_pipeline.faults) for a pair
      that is dropped because of a fault, else null; None without faults.
  """

  keep: np.ndarray | None = None
  signals: Mapping[str, np.ndarray | pa.Array | pa.ChunkedArray] = (
    dataclasses.field(default_factory=dict)
  )
  faults: pa.Array | None = None


DecideFn = Callable[[pa.Table], Verdict]
# map(fn, items) in worker processes; results in order.
RunFn = Callable[[Callable[[Any], Any], Sequence[Any]], Sequence[Any]]


def run_here(fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
  """Return fn(item) of each item, in this process: a RunFn."""
  return [fn(item) for item in items]


@dataclasses.dataclass(frozen=True)
class StepContext:
  """Folders that a step reads and writes, and the processes that it has.

  Attributes:
    workdir: folder of the curation, on this disk.
    cache_dir: folder that curations share.
    state_path: folder that the step's `reduce` fills; None for other operators.
    earlier: for `reduce`, (step, state) of each reduction before this one.
    run: for `reduce`, function that maps over the worker processes.
    copy: mirror of `workdir`, for what a step keeps there.
  """

  workdir: pathlib.Path
  cache_dir: pathlib.Path
  state_path: pathlib.Path | None = None
  earlier: tuple[tuple[str, pathlib.Path], ...] = ()
  run: RunFn = run_here
  copy: mirror.Mirror = mirror.Mirror()

  @property
  def state(self) -> pathlib.Path:
    """Return `state_path` of a step that has one."""
    assert self.state_path is not None
    return self.state_path


class Operator:
  """Base of all operators.

  Attributes:
    version: raised when a change of the code changes the result of the same
      parameters, so that a workdir's earlier results are not used again.
  """

  version: ClassVar[int] = 1

  @property
  def columns(self) -> tuple[str, ...]:
    """Return the columns that are read: of the pool, and earlier signals."""
    return ()

  @property
  def signals(self) -> tuple[str, ...]:
    """Return the names of the signals of the step's verdicts."""
    return ()

  def check(self, field: str) -> None:
    """Raise ValueError, naming `field`.PARAMETER, for a bad value."""

  def files(self) -> tuple[str, ...]:
    """Return the paths of files and folders that the result depends on."""
    return ()


class Filter(Operator):
  """Operator that decides about each pair, in worker processes."""

  def open(self, context: StepContext) -> DecideFn:
    """Return fn(table) -> Verdict; called once a process, and may be slow."""
    raise NotImplementedError


class Rule(Filter):
  """Filter by the columns of a pair alone: there is nothing to open."""

  def keep(self, table: pa.Table) -> np.ndarray:
    """Return whether each pair is kept, bool [N]."""
    raise NotImplementedError

  def open(self, context: StepContext) -> DecideFn:
    """Return a function that keeps pairs by `keep`."""
    del context
    return lambda table: Verdict(self.keep(table))


class Measure(Protocol):
  """Contribution of one shard to a reduction."""

  def add(self, table: pa.Table) -> None:
    """Add pairs."""
    ...

  def save(self, path: pathlib.Path) -> None:
    """Write the measure; the same bytes for the same pairs."""
    ...


@dataclasses.dataclass(frozen=True)
class MeasureOf:
  """Measure made of two functions."""

  add_fn: Callable[[pa.Table], None]
  save_fn: Callable[[pathlib.Path], None]

  def add(self, table: pa.Table) -> None:
    """Add pairs."""
    self.add_fn(table)

  def save(self, path: pathlib.Path) -> None:
    """Write the measure."""
    self.save_fn(path)


class Reduction(Operator):
  """Part of an operator whose decisions depend on all pairs.

  A class inherits it beside `Filter` or `MeshFilter`.
  """

  @property
  def measured(self) -> tuple[str, ...]:
    """Return the columns that `measure` reads: `columns`, if not others."""
    return self.columns

  @property
  def measures_raw(self) -> bool:
    """Whether all pairs are measured, also those that earlier steps dropped."""
    return False

  def measure(self, context: StepContext) -> Measure:
    """Return an empty measure for one shard; the context has no state."""
    raise NotImplementedError

  def reduce(
    self, parts: Sequence[pathlib.Path], context: StepContext
  ) -> dict[str, Any]:
    """Fill `context.state` from the files of the measures, in any order.

    Returns:
      Facts for the manifest, ready for JSON. curation.html draws "histogram"
      and "curves" (see outputs/curation_charts.py), and a table of "languages":
      {language: {column: number}}.
    """
    raise NotImplementedError


# read(columns, rows) -> tables of the pairs in these rows; see pool.Pool.read.
ReadFn = Callable[[Sequence[str], np.ndarray], Iterator[pa.Table]]


class ShardPairs(NamedTuple):
  """Pairs of a shard that are left.

  Attributes:
    shard: shard of the pool.
    tables: pairs, in the order of verdicts.
    read: function that reads `fetched` columns.
  """

  shard: pool.Shard
  tables: Iterable[pa.Table]
  read: ReadFn


ShardFn = Callable[[ShardPairs], Iterator[Verdict]]


class MeshFilter(Operator):
  """Operator that runs a model over shards, in the process with the devices."""

  # Highest number of pairs in a table passed to the ShardFn.
  batch_rows: ClassVar[int] = 1024

  @property
  def fetched(self) -> tuple[str, ...]:
    """Return the pool's columns that are read on demand, with a ReadFn."""
    return ()

  def open_shards(self, context: StepContext) -> ShardFn:
    """Return fn(ShardPairs) -> a verdict for each table."""
    raise NotImplementedError


def file_facts(path: str) -> tuple[object, ...]:
  """Return sizes and times that identify a version of a file or a folder."""
  root = pathlib.Path(path)
  if not root.exists():
    return (path,)
  files = sorted(root.rglob("*")) if root.is_dir() else [root]
  return tuple(
    (str(file.relative_to(root)), file.stat().st_size, file.stat().st_mtime_ns)
    for file in files
    if file.is_file()
  )
