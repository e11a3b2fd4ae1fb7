"""A function mapped over items by threads, results in order."""

import collections
import concurrent.futures
import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


@contextlib.contextmanager
def mapped(
  fn: Callable[[T], R], items: Iterable[T], num_ahead: int
) -> Iterator[Iterator[R]]:
  """Yield an iterator of `fn` of each item, in order.

  Args:
    fn: called in threads; its exception is raised in place of its result.
    items: taken one by one, in the thread that takes the results.
    num_ahead: most results computed before they are taken.
  """
  pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1)
  remaining = iter(items)

  def results() -> Iterator[R]:
    ahead = collections.deque(
      pool.submit(fn, item) for item in itertools.islice(remaining, num_ahead)
    )
    while ahead:
      result = ahead.popleft().result()
      ahead.extend(pool.submit(fn, x) for x in itertools.islice(remaining, 1))
      yield result

  try:
    yield results()
  finally:
    pool.shutdown(cancel_futures=True)
