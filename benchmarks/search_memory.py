"""Memory that a search of an index takes, in a process of its own.

The script is started by benchmarks/inference.py, with the folder of an index
and a file of queries, and prints the most anonymous resident MiB while it
opens the index and searches, less those before.
"""

import sys
import threading

import numpy as np

from benchmarks import memory
from inference.indexing import index_folder

# Seconds between two looks at the memory.
_LOOK = 0.005
_SEARCHES = 20
_TOP = 10


def more_mib(folder: str, queries: str) -> float:
  """Return the memory that opening and searching takes."""
  query_QE = np.load(queries)
  before = most = memory.anonymous_mib()
  is_done = threading.Event()

  def look() -> None:
    nonlocal most
    while not is_done.wait(_LOOK):
      most = max(most, memory.anonymous_mib())

  thread = threading.Thread(target=look)
  thread.start()
  index = index_folder.read(folder)
  for _ in range(_SEARCHES):
    index.entries(index.search(query_QE, _TOP).row_QK[0])
  is_done.set()
  thread.join()
  return max(most, memory.anonymous_mib()) - before


if __name__ == "__main__":
  print(more_mib(*sys.argv[1:]))
