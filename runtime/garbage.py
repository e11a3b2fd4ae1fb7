"""Threshold of Python's garbage collector, for programs that trace.

Imports and traces make hundreds of thousands of objects, nearly all of them for
good. Python looks through the newest of them each time that 700 more exist than
before, and now and then through all: 6 % of the CPU time of a short run
(benchmarks/garbage.py). Objects that no cycle holds are freed at once whatever
the threshold, arrays among them.
"""

import gc

# New objects between two collections. From 5,000 to 100,000 a run takes the
# same time.
_OBJECTS = 10_000


def raise_threshold() -> None:
  """Let the collector run for each 10,000 new objects in place of 700."""
  gc.set_threshold(_OBJECTS, *gc.get_threshold()[1:])
