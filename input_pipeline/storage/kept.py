"""Cache of large objects read recently, shared by all threads of a process."""

import collections
import concurrent.futures
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
  """Cache that makes missing objects, bounded by their bytes.

  An object requested by several threads at once is made by the first. If making
  it fails, all waiting threads raise the error, and the next request tries
  again.
  """

  def __init__(self, make: Callable[[int], tuple[T, int]], max_bytes: int):
    """Begin with an empty cache.

    Args:
      make: function from a key to an object and its bytes.
      max_bytes: most bytes of all objects; a larger object is kept alone.
    """
    self._make = make
    self._max_bytes = max_bytes
    # Least recently used first; an object has no size while it is made.
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
    """Return the bytes of all objects kept."""
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
