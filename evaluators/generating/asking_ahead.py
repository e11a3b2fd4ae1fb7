"""Requests of a set that is judged, made ahead by threads, and their answers.

A set puts what it knows of each request in a queue as it makes the request; a
decoder writes in the same order.
"""

import collections
from collections.abc import Callable, Generator, Iterator
from concurrent import futures
from typing import TypeVar

from evaluators import embedding
from evaluators.generating import captioner as captioner_lib
from evaluators.generating import settings
from input_pipeline import faults

T = TypeVar("T")
# Examples that are decoded at once by the threads.
_NUM_AHEAD = 32


def read(
  read_fn: Callable[[int], T], count: int, num_threads: int
) -> Generator[T]:
  """Yield what a function reads of each example, in order.

  Args:
    read_fn: function of an example's number, called by threads.
    count: number of examples.
    num_threads: threads that decode.
  """
  with futures.ThreadPoolExecutor(max(1, num_threads)) as pool:
    for start in range(0, count, _NUM_AHEAD):
      rows = range(start, min(start + _NUM_AHEAD, count))
      for one in [pool.submit(read_fn, row) for row in rows]:
        yield one.result()


def written(
  writer: captioner_lib.Captioner,
  requests: Generator[captioner_lib.Request],
  waiting: collections.deque[T],
  *,
  field: str,
  noun: str,
  should_stop: Callable[[], bool] | None,
) -> Iterator[tuple[T, captioner_lib.Written]]:
  """Yield what is known of each request, with what the decoder wrote greedily.

  Args:
    writer: decoder with its model.
    requests: requests; each puts an entry in `waiting` before it is yielded.
    waiting: entries of the requests that are not answered yet.
    field: field of the config that holds the set, for messages.
    noun: what is answered, in the plural, for messages.
    should_stop: function that ends the evaluation early, called after each
      batch; equal on all processes. None never does.

  Raises:
    ValueError: an example cannot be used.
    embedding.Interrupted: the evaluation was told to stop.
  """
  count = 0
  try:
    for some in writer.stream(requests, settings.Settings()):
      for one in some:
        count += 1
        yield waiting.popleft(), one
      if should_stop is not None and should_stop():
        raise embedding.Interrupted(f"stopped after {count} {noun}")
  except faults.ExampleError as error:
    raise ValueError(f"{field}: {error}") from error
  finally:
    requests.close()
