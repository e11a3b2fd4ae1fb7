"""Requests of several threads, computed together by one thread."""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
  """Thread that computes the items of all callers in batches.

  A batch takes what came while the one before it was computed. Only while
  callers come at the same time does it wait for more of them.
  """

  def __init__(
    self,
    fn: Callable[[list[T]], Sequence[R]],
    *,
    name: str,
    max_size: int,
    seconds: float = 0.001,
  ):
    """Start the thread.

    Args:
      fn: function of 1 to `max_size` items to a result of each.
      name: noun for the thread.
      max_size: most items of a batch.
      seconds: longest wait for more items.
    """
    self._fn = fn
    self._max_size = max_size
    self._seconds = seconds
    self._items: queue.SimpleQueue[tuple[T, futures.Future[R]]] = (
      queue.SimpleQueue()
    )
    self._is_shared = False
    # The process ends without waiting for it.
    threading.Thread(target=self._work, name=name, daemon=True).start()

  def submit(self, item: T) -> futures.Future[R]:
    """Return the future result of an item; `fn`'s exception is raised by it."""
    future: futures.Future[R] = futures.Future()
    self._items.put((item, future))
    return future

  def _work(self) -> None:
    while True:
      batch = self._gathered()
      try:
        results = self._fn([item for item, _ in batch])
        for (_, future), result in zip(batch, results, strict=True):
          future.set_result(result)
      except Exception as error:
        for _, future in batch:
          if not future.done():
            future.set_exception(error)

  def _gathered(self) -> list[tuple[T, futures.Future[R]]]:
    batch = [self._items.get()]
    while len(batch) < self._max_size:
      try:
        seconds = self._seconds if self._is_shared else 0.0
        batch.append(
          self._items.get(timeout=seconds)
          if seconds
          else self._items.get_nowait()
        )
      except queue.Empty:
        break
    self._is_shared = len(batch) > 1
    return batch
