"""What a step of a recipe can do: the operators, by the name in `op`.

An operator is a frozen dataclass; its fields are the step's parameters. Most
are a `Filter`: a pure map over the pairs of a shard, in worker processes. A
`Reduction` first measures each shard, and decides with what all of them gave
together. A `MeshFilter` runs a model, in the process that has the devices.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa

from curation import pool


@dataclasses.dataclass(frozen=True)
class Verdict:
  """What a step says of some pairs.

  Attributes:
    keep: bool [N]; None keeps all.
    signals: name -> [N] (NumPy or Arrow); columns for later steps, and of
      signals/*.parquet.
  """

  keep: np.ndarray | None = None
  signals: Mapping[str, np.ndarray | pa.Array | pa.ChunkedArray] = (
    dataclasses.field(default_factory=dict)
  )


DecideFn = Callable[[pa.Table], Verdict]
# Maps a function over items, in worker processes; results in order.
RunFn = Callable[[Callable[[Any], Any], Sequence[Any]], Sequence[Any]]


@dataclasses.dataclass(frozen=True)
class StepContext:
  """Folders that a step reads and writes.

  Attributes:
    workdir: folder of the curation.
    cache_dir: folder of files that other curations can use too.
    state: folder that the step's `reduce` filled; None for other operators.
    earlier: (step, state) of each reduction before; only `reduce` gets them.
  """

  workdir: pathlib.Path
  cache_dir: pathlib.Path
  state: pathlib.Path | None = None
  earlier: tuple[tuple[str, pathlib.Path], ...] = ()


class Operator:
  """What all operators have.

  Attributes:
    version: raised when the same parameters give another result, so that a
      workdir's earlier results are not used again.
  """

  version: ClassVar[int] = 1

  @property
  def columns(self) -> tuple[str, ...]:
    """Return what is read: columns of the pool, signals of earlier steps."""
    return ()

  @property
  def signals(self) -> tuple[str, ...]:
    """Return the names of the signals that are made."""
    return ()

  def check(self, field: str) -> None:
    """Raise ValueError, naming `field`.PARAMETER, for a value of no use."""

  def files(self) -> tuple[str, ...]:
    """Return paths of the files and folders that the result depends on."""
    return ()


class Filter(Operator):
  """Decides about each pair alone."""

  def open(self, context: StepContext) -> DecideFn:
    """Return what decides; called once a process, and may be slow."""
    raise NotImplementedError


class Measure(Protocol):
  """Gathers what one shard contributes to a reduction."""

  def add(self, table: pa.Table) -> None:
    """Add pairs."""
    ...

  def save(self, path: pathlib.Path) -> None:
    """Write it; the same bytes for the same pairs."""
    ...


class Reduction(Filter):
  """Decides with something that depends on all pairs."""

  @property
  def measured(self) -> tuple[str, ...]:
    """Return the columns that `measure` reads."""
    return ()

  @property
  def measures_raw(self) -> bool:
    """Whether all pairs are measured, not only those left by steps before."""
    return False

  def measure(self, context: StepContext) -> Measure:
    """Return what measures a shard; `context.state` is None."""
    raise NotImplementedError

  def reduce(
    self, parts: Sequence[pathlib.Path], context: StepContext, run: RunFn
  ) -> dict[str, Any]:
    """Fill `context.state` from what measures saved; any order of them.

    Returns:
      Facts for the manifest, ready for JSON. curation.html draws "histogram"
      and "curves" (see report_charts.py), and a table of "languages":
      {language: {column: number}}.
    """
    raise NotImplementedError


# (columns, rows) -> tables of the pairs with these rows; see pool.Pool.read.
ReadFn = Callable[[Sequence[str], np.ndarray], Iterator[pa.Table]]
ShardFn = Callable[[pool.Shard, Iterable[pa.Table], ReadFn], Iterator[Verdict]]


class MeshFilter(Operator):
  """Runs a model over shards, in the process that has the devices.

  A Reduction can be one too: what it reduced is in `context.state`.
  """

  # Most pairs of a table that it is given.
  batch_rows: ClassVar[int] = 1024

  @property
  def fetched(self) -> tuple[str, ...]:
    """Return the pool's columns that are read where needed, with a ReadFn."""
    return ()

  def open_shards(self, context: StepContext) -> ShardFn:
    """Return fn(shard, its tables, read) -> a verdict for each table."""
    raise NotImplementedError


def file_facts(path: str) -> tuple[object, ...]:
  """Return what tells versions of a file or a folder's files apart."""
  place = pathlib.Path(path)
  if not place.exists():
    return (path,)
  found = sorted(place.rglob("*")) if place.is_dir() else [place]
  return tuple(
    (str(file.relative_to(place)), file.stat().st_size, file.stat().st_mtime_ns)
    for file in found
    if file.is_file()
  )
