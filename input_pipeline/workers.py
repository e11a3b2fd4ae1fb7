"""Batches made by worker processes, in the same order as by one process.

This process decides which examples are in a batch (`mixture.Draw`) and sends
them to a worker, which reads, decodes, tokenizes and writes the arrays into
shared memory. Worker i % num_workers makes batch i, so neither the number of
workers nor their speed changes the batches, and the state of the iterator is
the index of the next batch alone.

Grain's own worker processes (mp_prefetch, Grain 0.2.18) are not used: each
imports JAX, 189 MiB against 62 MiB here before any data is read, and the state
has a position for each worker, so a run could not resume with another
num_workers or with threads.

No resource outlives the processes: shared memory has no name, and a worker
whose socket is closed ends (runtime/processes.py). Workers import neither JAX
nor Grain.
"""

import concurrent.futures
import dataclasses
import math
import mmap
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import connection, reduction
from typing import Any

import numpy as np

from input_pipeline import clocks, examples, mixture
from runtime import processes

# Bytes that arrays are aligned to, so that no element or SIMD register crosses
# a line of the cache.
_ALIGNMENT = 64
# Flags of the mapping: Linux allocates all pages at once, not at first use.
_MAP = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)

Make = Callable[[mixture.Draw], Mapping[str, Any]]


class WorkerError(ValueError):
  """Error for a worker process that ended; the message has advice."""


@dataclasses.dataclass(frozen=True)
class Dataset:
  """Data set like Grain's IterDataset, whose batches other processes make.

  Attributes:
    draws: draws of each batch: a sequence, or a grain.MapDataset.
    make: function that makes one example; can be pickled.
    num_workers: number of processes, at least 1.
    num_threads: threads of each process.
    num_ahead: batches begun in advance, over all workers.
  """

  draws: Any
  make: Make
  num_workers: int
  num_threads: int
  num_ahead: int

  def __iter__(self) -> "Iterator":
    return Iterator(self)


class Iterator:
  """Iterator of a Dataset; it starts the processes at the first batch."""

  def __init__(self, dataset: Dataset):
    self._dataset = dataset
    self._next = 0  # batch that is returned next
    self._asked = 0  # batch that is requested next
    self._pool: _Pool | None = None

  def __iter__(self) -> "Iterator":
    return self

  def __next__(self) -> dict[str, Any]:
    if self._next >= len(self._dataset.draws):
      raise StopIteration
    if self._pool is None:
      self._pool = _Pool(self._dataset)
      self._asked = self._next
    num_ahead = max(self._dataset.num_ahead, self._dataset.num_workers)
    end = min(self._next + num_ahead, len(self._dataset.draws))
    try:
      while self._asked < end:
        draws = [tuple(draw) for draw in self._dataset.draws[self._asked]]
        self._pool.ask(self._asked, draws)
        self._asked += 1
      batch = self._pool.answer(self._next)
    except BaseException:
      self.close()
      raise
    self._next += 1
    return batch

  def get_state(self) -> dict[str, int]:
    """Return the index of the next batch, in Grain's form."""
    return {"next_index": self._next}

  def set_state(self, state: Mapping[str, int]) -> None:
    """Continue with another batch."""
    self.close()  # batches under way are of no use any more
    self._next = int(state["next_index"])

  def close(self) -> None:
    """End the processes; the next batch starts them again."""
    if self._pool is not None:
      self._pool.close()
      self._pool = None


class _Pool:
  """Worker processes, each of which has every num_workers-th batch."""

  def __init__(self, dataset: Dataset):
    self.workers: list[processes.Worker] = []
    # Before the first process starts, so that none is forgotten.
    self.close = processes.closing(self, self.workers)
    for index in range(dataset.num_workers):
      self.workers.append(
        processes.Worker(
          _work, dataset.num_threads, name=f"data worker {index}"
        )
      )
    # Sent after all starts: each start would wait for the last worker to read
    # it.
    for worker in self.workers:
      self._send(worker, dataset.make)

  def ask(self, batch: int, draws: list[tuple[int, int, int]]) -> None:
    """Send a batch's draws to the worker whose turn it is."""
    self._send(self.workers[batch % len(self.workers)], draws)

  def answer(self, batch: int) -> dict[str, Any]:
    """Return a requested batch; raise the worker's exception."""
    worker = self.workers[batch % len(self.workers)]
    socket = worker.socket
    # Both: a worker that is killed may have sent something before.
    if socket not in connection.wait([socket, worker.process.sentinel]):
      raise self._ended(worker)
    try:
      kind, content = socket.recv()
      handle = reduction.recv_handle(socket) if kind == "batch" else None
    except (EOFError, OSError) as error:
      raise self._ended(worker) from error
    if handle is None:
      cause = RuntimeError(f"in {worker.process.name}:\n{content.trace}")
      # A ValueError is about the data or the config; others are ours.
      if isinstance(content.__cause__, ValueError):
        raise ValueError(content.message) from cause
      raise RuntimeError(str(content)) from cause
    layout, left_out, times = content
    made = _arrays(layout, handle) | {examples.FAULTS: left_out}
    if clocks.SECONDS in made:
      made[clocks.ASSEMBLED] = times
    return made

  def _send(self, worker: processes.Worker, content: Any) -> None:
    try:
      worker.socket.send(content)
    except OSError as error:
      raise self._ended(worker) from error

  def _ended(self, worker: processes.Worker) -> WorkerError:
    return WorkerError(
      worker.how_ended(
        f"fewer data.num_workers (now {len(self.workers)}) or"
        " data.num_prefetch_batches. Its last words are above. The same command"
        " resumes the run"
      )
    )


def _work(socket: connection.Connection, num_threads: int) -> None:
  """Make batches until the socket is closed; runs in a worker process."""
  try:
    make: Make = socket.recv()
  except (EOFError, ConnectionError):
    return
  with concurrent.futures.ThreadPoolExecutor(max(1, num_threads)) as threads:
    while True:
      try:
        draws = [mixture.Draw(*facts) for facts in socket.recv()]
      except (EOFError, OSError):
        return
      handle = None
      try:
        made = list(threads.map(make, draws))
        start = time.monotonic()
        layout, handle = _share(made)
        times = clocks.assembled(start)
        message = "batch", (layout, examples.faults_of(made), times)
      except Exception as error:
        message = "error", processes.task_error(error)
      try:
        socket.send(message)
        if handle is not None:
          reduction.send_handle(socket, handle, os.getppid())
      except OSError:
        return
      finally:
        if handle is not None:
          os.close(handle)


@dataclasses.dataclass(frozen=True)
class _Array:
  """Position of one array in shared memory."""

  name: str
  shape: tuple[int, ...]
  dtype: str
  offset: int

  @property
  def end(self) -> int:
    return self.offset + math.prod(self.shape) * np.dtype(self.dtype).itemsize


def _share(made: Sequence[Mapping[str, Any]]) -> tuple[list[_Array], int]:
  """Stack examples in shared memory; return its layout and its handle."""
  layout: list[_Array] = []
  end = 0
  for name, value in made[0].items():
    if name != examples.FAULTS:
      array = np.asarray(value)
      offset = -(-end // _ALIGNMENT) * _ALIGNMENT
      shape = (len(made), *array.shape)
      layout.append(_Array(name, shape, array.dtype.str, offset))
      end = layout[-1].end
  handle = _memory()
  try:
    os.ftruncate(handle, end)
    for name, array in _arrays(layout, os.dup(handle)).items():
      np.stack([example[name] for example in made], out=array)
  except BaseException:
    os.close(handle)
    raise
  return layout, handle


def _memory() -> int:
  """Return the handle of a new file without a name, in memory on Linux."""
  if hasattr(os, "memfd_create"):
    return os.memfd_create("batch")
  with tempfile.TemporaryFile() as file:
    return os.dup(file.fileno())


def _arrays(layout: Sequence[_Array], handle: int) -> dict[str, Any]:
  """Return the arrays in shared memory, which is freed with them.

  Closes the handle.
  """
  try:
    memory = mmap.mmap(handle, max(array.end for array in layout), flags=_MAP)
  finally:
    os.close(handle)
  return {
    array.name: np.ndarray(array.shape, array.dtype, memory, array.offset)
    for array in layout
  }
