"""Worker processes of this machine, and errors that they can send.

A worker has one socket to this process and ends when the socket is closed, at
the latest when this process is gone. Ctrl-C and SIGTERM are for this process to
handle. `Worker` is the life of one; `Pool` gives tasks to several. This module
imports no JAX.
"""

import atexit
import contextlib
import dataclasses
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from typing import Any

from runtime import failures, stopping

# Seconds that a worker without a task has to end.
_CLOSE_SECONDS = 5.0
# Threads that a pool's worker has to read files; it computes with one.
_NUM_IO_THREADS = 2


@dataclasses.dataclass(eq=False)
class TaskError(Exception):
  """Failure of a task in words: not every exception can be sent.

  Its __cause__ is the exception, where that one can be sent.

  Attributes:
    kind: name of the exception's class.
    message: its text.
    trace: its traceback, of the process that it was raised in.
    is_users: whether it is about files or settings, not a defect of ours.
    was_killed: whether the process ended instead of raising.
    disk_is_full: whether no task can go on.
    is_final: whether it is a RunError, whose message says all.
  """

  kind: str
  message: str
  trace: str = ""
  is_users: bool = False
  was_killed: bool = False
  disk_is_full: bool = False
  is_final: bool = False

  def __str__(self) -> str:
    return f"{self.kind}: {self.message}"

  def __reduce__(self):
    return _task_error, (vars(self), _sendable(self.__cause__))


def _task_error(
  fields: dict[str, Any], cause: BaseException | None
) -> TaskError:
  error = TaskError(**fields)
  error.__cause__ = cause
  return error


def _sendable(error: BaseException | None) -> BaseException | None:
  # Some can be pickled but not read again: their __init__ wants more.
  with contextlib.suppress(Exception):
    return pickle.loads(pickle.dumps(error))
  return None


def attempt(fn: Callable[[Any], Any], task: Any) -> Any:
  """Return a task's result, or the TaskError that tells why there is none."""
  try:
    return fn(task)
  except Exception as error:
    return task_error(error)


def task_error(error: Exception) -> TaskError:
  """Return an exception of a task in words."""
  if isinstance(error, TaskError):
    return error
  made = TaskError(
    type(error).__name__,
    str(error),
    "".join(traceback.format_exception(error)),
    is_users=isinstance(error, ValueError | OSError | ModuleNotFoundError),
    disk_is_full=failures.is_disk_full(error),
    is_final=isinstance(error, failures.RunError),
  )
  made.__cause__ = error
  return made


class Worker:
  """A process and the socket to it.

  Attributes:
    process: process that runs the worker's function.
    socket: this process's end.
  """

  def __init__(self, fn: Callable[..., None], *args: Any, name: str):
    """Start a process that calls `fn(socket, *args)`."""
    # Not "fork": this process may have threads, JAX's and Arrow's.
    context = multiprocessing.get_context("spawn")
    self.socket, there = context.Pipe(duplex=True)
    self.process = context.Process(
      target=_live, args=(fn, there, *args), name=name, daemon=True
    )
    self.process.start()
    there.close()  # the worker has it: now its end is noticed here

  def receive(self) -> Any:
    """Return a message that has arrived; None from an ended process."""
    with contextlib.suppress(EOFError, OSError):
      # It may have sent something before it ended.
      if self.socket.poll():
        return self.socket.recv()
    return None

  def how_ended(self, advice: str) -> str:
    """Return a sentence about a process that ended by itself.

    Args:
      advice: words to follow "try", for one that was killed.
    """
    self.process.join(_CLOSE_SECONDS)
    code = self.process.exitcode
    how = (
      f"was killed by {signal.Signals(-code).name}"
      if code is not None and code < 0
      else f"ended with exit code {code}"
    )
    return (
      f"{self.process.name} (process {self.process.pid}) {how}. SIGKILL mostly"
      f" means that memory ran out: try {advice}"
    )

  def end(self) -> None:
    """Let the process end; see `kill` where it has something to do."""
    self.socket.close()
    self.process.join(_CLOSE_SECONDS)
    self.kill()

  def kill(self) -> None:
    """End the process at once: its files are whole or not there at all."""
    self.socket.close()
    if self.process.is_alive():
      self.process.kill()
    self.process.join()


def closing(owner: Any, workers: list[Any]) -> Callable[[], None]:
  """Return a function that ends workers: those in the list when it is called.

  It is called when `owner` is collected or this process exits.
  """
  close = weakref.finalize(owner, _close, workers)
  # Registered later than multiprocessing's own, so called before: that one
  # waits for processes that wait for their sockets to close.
  atexit.register(close)
  return close


def _close(workers: list[Worker]) -> None:
  for worker in workers:
    worker.socket.close()  # of all, before one is waited for
  for worker in workers:
    worker.end()
  workers.clear()


def _live(
  fn: Callable[..., None], socket: connection.Connection, *args: Any
) -> None:
  for number in stopping.SIGNALS:
    signal.signal(number, signal.SIG_IGN)
  threading.Thread(target=_end_with_parent, daemon=True).start()
  fn(socket, *args)


def _end_with_parent() -> None:
  """End this process with its parent, in the midst of a task."""
  parent = multiprocessing.parent_process()
  assert parent is not None
  parent.join()
  os._exit(1)


class Pool:
  """Runs tasks in processes that last until `close`.

  A worker takes one task at a time. One that is killed (memory ran out) fails
  its own task and is replaced.
  """

  def __init__(self, num_workers: int, advice: str = "fewer --num_workers"):
    """Start nothing yet.

    Args:
      num_workers: most processes.
      advice: see Worker.how_ended.
    """
    self._num_workers = num_workers
    self._advice = advice
    self._workers: list[Worker] = []
    self._close = closing(self, self._workers)

  def run(
    self,
    fn: Callable[[Any], Any],
    tasks: Sequence[Any],
    told: Callable[[int, Any], None] = lambda number, content: None,
  ) -> Iterator[tuple[int, Any | TaskError]]:
    """Yield (number of a task, its result or exception) as they are done.

    Args:
      fn: can be pickled; of a module that workers can import.
      tasks: can be pickled.
      told: called with the number of a task and an argument of `tell` in it.
    """
    waiting = iter(range(len(tasks)))
    running: dict[Worker, int] = {}
    informed: set[Worker] = set()

    def give(worker: Worker) -> None:
      number = next(waiting, None)
      if number is None:
        return
      running[worker] = number
      # Once for each worker: a recipe can be long, tasks are many.
      new_fn = None if worker in informed else fn
      informed.add(worker)
      # An ended worker is noticed when its result is waited for.
      with contextlib.suppress(OSError):
        worker.socket.send((new_fn, tasks[number]))

    # Starting is most of a worker's time where there is little to do.
    for _ in range(min(self._num_workers, len(tasks)) - len(self._workers)):
      self._start()
    try:
      for worker in self._workers:
        give(worker)
      while running:
        ready = connection.wait(
          [x for w in running for x in (w.socket, w.process.sentinel)]
        )
        for worker, number in [*running.items()]:
          if not (worker.socket in ready or worker.process.sentinel in ready):
            continue
          message = worker.receive()
          is_result, content = message or (True, None)
          if not is_result:
            told(number, content)
            continue
          del running[worker]
          if message is None:
            content = self._dismiss(worker)
            worker = self._start()
          give(worker)
          yield number, content
    finally:
      # Where the caller goes no further, tasks under way are of no use.
      for worker in running:
        worker.kill()
        self._workers.remove(worker)

  def _start(self) -> Worker:
    self._workers.append(Worker(_work, name="worker"))
    return self._workers[-1]

  def _dismiss(self, worker: Worker) -> TaskError:
    """Remove a worker that has ended; return the error of its task."""
    message = worker.how_ended(self._advice)
    worker.end()
    self._workers.remove(worker)
    return TaskError("WorkerKilled", message, is_users=True, was_killed=True)

  def results(
    self,
    fn: Callable[[Any], Any],
    tasks: Sequence[Any],
    told: Callable[[int, Any], None] = lambda number, content: None,
  ) -> Iterator[tuple[int, Any]]:
    """Yield as `run` does, but raise what the first task to fail raised.

    Raises OSError where its process was killed.
    """
    for number, result in self.run(fn, tasks, told):
      if isinstance(result, TaskError):
        if result.was_killed:
          raise OSError(result.message) from result
        cause, result.__cause__ = result.__cause__, None
        result.add_note(result.trace)
        if cause is None:
          raise result
        raise cause from result
      yield number, result

  def close(self) -> None:
    """End the processes."""
    self._close()


def tell(content: Any) -> None:
  """Send something to the pool that runs this task; see Pool.run."""
  _socket[-1].send((False, content))


# This process's end, where it is the worker of a pool.
_socket: list[connection.Connection] = []


def _work(socket: connection.Connection) -> None:
  """Do tasks until the socket is closed: the life of a pool's worker."""
  _socket.append(socket)
  fn: Callable[[Any], Any] | None = None
  while True:
    task = None
    try:
      new_fn, task = socket.recv()
      fn = new_fn or fn
      assert fn is not None
      _limit_arrow()
      result = attempt(fn, task)
    except (EOFError, OSError):
      return
    except Exception as error:  # a module that cannot be imported here
      result = task_error(error)
    del task
    _limit_arrow()
    try:
      socket.send((True, result))
    except OSError:
      return


def _limit_arrow() -> None:
  """Keep Arrow, where a task uses it, to one thread and no spare memory.

  There are as many workers as processors: with Arrow's threads they would be in
  each other's way.
  """
  arrow = sys.modules.get("pyarrow")
  if arrow is not None:
    arrow.set_cpu_count(1)
    arrow.set_io_thread_count(_NUM_IO_THREADS)
    arrow.default_memory_pool().release_unused()
