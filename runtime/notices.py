"""Lines on stderr that a run says once, however often it comes to them."""

import functools
import sys

from runtime import cluster


@functools.cache
def say_once(text: str) -> None:
  """Print a line to stderr, from one process of a run and one time only."""
  if cluster.is_first():
    print(text, file=sys.stderr, flush=True)
