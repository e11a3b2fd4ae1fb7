"""A few large things that were read last, for all threads of a process."""

import collections
import concurrent.futures
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
  """Makes what is asked for, and keeps it until there is too much.

  What several threads ask for at once is made by the first of them. What
  cannot be made raises for those who wait, and is tried again later.
  """

  def __init__(self, make: Callable[[int], tuple[T, int]], max_bytes: int):
    """Keep nothing yet.

    Args:
      make: returns a thing and its bytes.
      max_bytes: of all that is kept; one larger thing is kept alone.
    """
    self._make = make
    self._max_bytes = max_bytes
    # Least recently used first; without a size while it is made.
    self._things: collections.OrderedDict[int, concurrent.futures.Future[T]] = (
      collections.OrderedDict()
    )
    self._sizes: dict[int, int] = {}
    self._num_bytes = 0
    self._lock = threading.Lock()

  def __getitem__(self, key: int) -> T:
    with self._lock:
      future = self._things.get(key)
      is_new = future is None
      if future is None:
        future = self._things[key] = concurrent.futures.Future()
      self._things.move_to_end(key)
    if is_new:
      self._fill(key, future)
    return future.result()

  def num_bytes(self) -> int:
    """Return the bytes of all that is kept."""
    with self._lock:
      return self._num_bytes

  def _fill(self, key: int, future: concurrent.futures.Future[T]) -> None:
    try:
      thing, num_bytes = self._make(key)
    except BaseException as error:
      with self._lock:
        del self._things[key]
      future.set_exception(error)
      return
    with self._lock:
      self._sizes[key] = num_bytes
      self._num_bytes += num_bytes
      dropped = []
      for oldest in self._things:
        if self._num_bytes <= self._max_bytes:
          break
        if oldest != key and oldest in self._sizes:
          self._num_bytes -= self._sizes.pop(oldest)
          dropped.append(oldest)
      for oldest in dropped:
        del self._things[oldest]
    future.set_result(thing)
