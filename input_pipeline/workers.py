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

A worker has one socket to this process and no resource that outlives both:
shared memory has no name, and a worker whose socket is closed ends. This
process handles SIGTERM and Ctrl-C. Workers import neither JAX nor Grain.
"""

import atexit
import concurrent.futures
import dataclasses
import math
import mmap
import multiprocessing
import os
import signal
import tempfile
import time
import traceback
import weakref
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import connection, reduction
from typing import Any

import numpy as np

from input_pipeline import clocks, examples, mixture

# Arrays begin where no element or SIMD register crosses a line of the cache.
_ALIGNMENT = 64
# Linux gives all pages at once, not each when it is first touched.
_MAP = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
# Seconds that a worker has to end an example that it has begun.
_CLOSE_SECONDS = 5.0

Make = Callable[[mixture.Draw], Mapping[str, Any]]


class WorkerError(ValueError):
  """A worker process ended by itself; the message names it and what to do."""


@dataclasses.dataclass(frozen=True)
class Dataset:
  """What Grain's IterDataset is, with the work done by other processes.

  Attributes:
    draws: those of each batch: a sequence, or a grain.MapDataset.
    make: makes one example; can be pickled.
    num_workers: at least 1.
    num_threads: of each of them.
    num_ahead: batches begun before they are asked for, of all workers.
  """

  draws: Any
  make: Make
  num_workers: int
  num_threads: int
  num_ahead: int

  def __iter__(self) -> "Iterator":
    return Iterator(self)


class Iterator:
  """Goes through a Dataset; starts its processes at the first batch."""

  def __init__(self, dataset: Dataset):
    self._dataset = dataset
    self._next = 0  # batch that is returned next
    self._asked = 0  # batch that is asked for next
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
    """Go on with another batch."""
    self.close()  # what is under way is of no use any more
    self._next = int(state["next_index"])

  def close(self) -> None:
    """End the processes; they are started again if need be."""
    if self._pool is not None:
      self._pool.close()
      self._pool = None


class _Pool:
  """Worker processes and the sockets to them."""

  def __init__(self, dataset: Dataset):
    # Not "fork": this process has JAX's threads.
    context = multiprocessing.get_context("spawn")
    self._processes: list[Any] = []
    self._sockets: list[connection.Connection] = []
    # Before the first process starts, so that none is forgotten.
    self.close = weakref.finalize(self, _close, self._processes, self._sockets)
    _pools.add(self)
    for index in range(dataset.num_workers):
      here, there = context.Pipe(duplex=True)
      process = context.Process(
        target=_work,
        args=(there, dataset.num_threads),
        name=f"data worker {index}",
        daemon=True,
      )
      self._sockets.append(here)
      process.start()
      self._processes.append(process)
      there.close()  # the worker has it: now its end is seen here
    # Not with the processes: each would wait for the one before to read it.
    for index in range(dataset.num_workers):
      self._send(index, dataset.make)

  def ask(self, batch: int, draws: list[tuple[int, int, int]]) -> None:
    """Let the worker whose turn it is make a batch."""
    self._send(batch % len(self._processes), draws)

  def answer(self, batch: int) -> dict[str, Any]:
    """Return a batch that was asked for; raise what its making raised."""
    worker = batch % len(self._processes)
    socket, process = self._sockets[worker], self._processes[worker]
    # Both: a worker that is killed may have sent something before.
    if socket not in connection.wait([socket, process.sentinel]):
      raise self._ended(worker)
    try:
      kind, content = socket.recv()
      handle = reduction.recv_handle(socket) if kind == "batch" else None
    except (EOFError, OSError) as error:
      raise self._ended(worker) from error
    if handle is None:
      is_users, message, text = content
      cause = RuntimeError(f"in {process.name}:\n{text}")
      # A ValueError is about the data or the config; others are ours.
      raise (ValueError if is_users else RuntimeError)(message) from cause
    layout, found, times = content
    made = _arrays(layout, handle) | {examples.FAULTS: found}
    if clocks.SECONDS in made:
      made[clocks.ASSEMBLED] = times
    return made

  def _send(self, worker: int, content: Any) -> None:
    try:
      self._sockets[worker].send(content)
    except OSError as error:
      raise self._ended(worker) from error

  def _ended(self, worker: int) -> WorkerError:
    process = self._processes[worker]
    process.join(_CLOSE_SECONDS)
    code = process.exitcode
    how = (
      f"was killed by {signal.Signals(-code).name}"
      if code is not None and code < 0
      else f"ended with exit code {code}"
    )
    return WorkerError(
      f"{process.name} (process {process.pid}, of data.num_workers="
      f"{len(self._processes)}) {how}; what it wrote is above. SIGKILL mostly"
      " means that memory ran out: try fewer data.num_workers or"
      " data.num_prefetch_batches. The same command resumes the run"
    )


_pools: "weakref.WeakSet[_Pool]" = weakref.WeakSet()


# Registered later than multiprocessing's own, so called before: that one waits
# for processes that wait for their sockets to close.
@atexit.register
def _close_all() -> None:
  for pool in list(_pools):
    pool.close()


def _close(
  processes: Sequence[Any], sockets: Sequence[connection.Connection]
) -> None:
  for socket in sockets:
    socket.close()
  for process in processes:
    process.join(_CLOSE_SECONDS)
    if process.is_alive():
      process.kill()
      process.join()


def _work(socket: connection.Connection, num_threads: int) -> None:
  """Make batches until the socket is closed: the life of a worker."""
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
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
        # In words: not every exception can be sent.
        is_users = isinstance(error, ValueError)
        words = str(error) if is_users else f"{type(error).__name__}: {error}"
        message = "error", (is_users, words, traceback.format_exc())
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
  """Where one array is in shared memory."""

  name: str
  shape: tuple[int, ...]
  dtype: str
  offset: int

  @property
  def end(self) -> int:
    return self.offset + math.prod(self.shape) * np.dtype(self.dtype).itemsize


def _share(made: Sequence[Mapping[str, Any]]) -> tuple[list[_Array], int]:
  """Stack examples in shared memory; return what is where, and its handle."""
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
  """Return the arrays in shared memory, which goes when they go.

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
