"""Processes of this machine that work on tasks.

A worker has one socket to this process, takes one task at a time from it, and
ends when the socket is closed, at the latest when this process is gone. One
that is killed (memory ran out) fails its own task and is replaced. Ctrl-C and
SIGTERM are this process's to handle. Workers import no JAX.
"""

import contextlib
import ctypes
import os
import signal
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection, get_context
from typing import Any

import pyarrow as pa

from curation.engine import engines

# Seconds that a worker without a task has to end.
_CLOSE_SECONDS = 5.0
# The number of this option in Linux's <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1
# Threads that read a worker's files; its computing has one.
_NUM_IO_THREADS = 2


class Processes:
  """Runs tasks in processes that last until `close`."""

  def __init__(self, num_workers: int):
    self._num_workers = num_workers
    self._workers: list[_Worker] = []
    # Also where nobody calls `close`, as this process ends.
    self._finalizer = weakref.finalize(self, _close, self._workers)

  def run(
    self, fn: Callable[[Any], Any], tasks: Sequence[Any]
  ) -> Iterator[tuple[int, Any | Exception]]:
    """Yield each task's number and result; see Engine.run."""
    waiting = iter(range(len(tasks)))
    # Starting is most of a worker's time where there is little to do.
    for _ in range(min(self._num_workers, len(tasks)) - len(self._workers)):
      self._workers.append(_Worker())
    for worker in self._workers:
      worker.fn = None  # of the run before

    def give(worker: _Worker) -> None:
      number = next(waiting, None)
      if number is not None:
        worker.give(fn, number, tasks[number])

    try:
      for worker in self._workers:
        give(worker)
      while busy := [w for w in self._workers if w.number is not None]:
        ready = connection.wait(
          [x for w in busy for x in (w.socket, w.process.sentinel)]
        )
        for worker in busy:
          if worker.socket in ready or worker.process.sentinel in ready:
            number, result = worker.take()
            if worker.has_ended:
              place = self._workers.index(worker)
              self._workers[place] = worker = _Worker()
            give(worker)
            yield number, result
    finally:
      # Where the caller goes no further, what is under way is of no use.
      for worker in [w for w in self._workers if w.number is not None]:
        worker.kill()
        self._workers.remove(worker)

  def close(self) -> None:
    """End the processes."""
    self._finalizer()


class _Worker:
  """One process, and what it is at."""

  def __init__(self) -> None:
    # Not "fork": this process may have threads, JAX's and Arrow's.
    context = get_context("spawn")
    self.socket, there = context.Pipe(duplex=True)
    self.process = context.Process(
      target=_work, args=(there, os.getpid()), name="worker", daemon=True
    )
    self.process.start()
    there.close()  # the worker has it: now its end is seen here
    self.number: int | None = None
    self.fn: Callable[[Any], Any] | None = None
    self.has_ended = False

  def give(self, fn: Callable[[Any], Any], number: int, task: Any) -> None:
    """Let the process do a task."""
    self.number = number
    # Not with each task: a recipe can be long, tasks are many.
    new_fn = None if self.fn is fn else fn
    self.fn = fn
    # Where it has ended, `take` says so.
    with contextlib.suppress(OSError):
      self.socket.send((new_fn, task))

  def take(self) -> tuple[int, Any]:
    """Return what became of the task, once it is known."""
    assert self.number is not None
    number, self.number = self.number, None
    try:
      # It may have ended with the result sent.
      if self.socket.poll():
        return number, self.socket.recv()
    except (EOFError, OSError):
      pass
    self.end()
    code = self.process.exitcode
    how = (
      f"was killed by {signal.Signals(-code).name}"
      if code is not None and code < 0
      else f"ended with exit code {code}"
    )
    message = (
      f"the worker process {self.process.pid} {how}. SIGKILL mostly means that "
      "memory ran out: try fewer --num_workers, or smaller shards"
    )
    error = engines.TaskError(
      "WorkerKilled", message, is_users=True, was_killed=True
    )
    return number, error

  def end(self) -> None:
    """Let the process end; see `kill` where it has something to do."""
    self.socket.close()
    self.process.join(_CLOSE_SECONDS)
    self.kill()

  def kill(self) -> None:
    """End the process at once: what it writes is there whole or not at all."""
    self.has_ended = True
    self.socket.close()
    if self.process.is_alive():
      self.process.kill()
    self.process.join()


def _close(workers: list[_Worker]) -> None:
  for worker in workers:
    worker.socket.close()  # of all, before one is waited for
  for worker in workers:
    worker.end()
  workers.clear()


def _work(socket: connection.Connection, parent: int) -> None:
  """Do tasks until the socket is closed: the life of a worker."""
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
  _die_with(parent)
  # As many workers as processors: with Arrow's threads they would be in each
  # other's way, and each thread has memory of its own.
  pa.set_cpu_count(1)
  pa.set_io_thread_count(_NUM_IO_THREADS)
  fn: Callable[[Any], Any] | None = None
  while True:
    task = None
    try:
      new_fn, task = socket.recv()
      fn = new_fn or fn
      assert fn is not None
      result = engines.attempt(fn, task)
    except (EOFError, OSError):
      return
    except Exception as error:  # a module that cannot be imported here
      result = engines.task_error(error)
    del task
    pa.default_memory_pool().release_unused()
    try:
      socket.send(result)
    except OSError:
      return


def _die_with(parent: int) -> None:
  """Let the kernel end this process with its parent, in the midst of a task."""
  if sys.platform == "linux":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
  if os.getppid() != parent:  # which may have gone before
    os._exit(1)
