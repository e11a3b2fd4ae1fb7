"""Exact search of faiss, for benchmarks/evaluation/retrieval.py.

The script runs in an environment with faiss-cpu. It prints "ready", then
answers each line on stdin with the seconds of one search for the first 10, and
its processor seconds. The rows that a search finds are in found.npy.
"""

import argparse
import pathlib
import sys
import time

import faiss
import numpy as np


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--folder", type=pathlib.Path, required=True)
  parser.add_argument("--num_threads", type=int, required=True)
  args = parser.parse_args()
  faiss.omp_set_num_threads(args.num_threads)
  queries = np.load(args.folder / "queries.npy")
  candidates = np.load(args.folder / "candidates.npy")
  index = faiss.IndexFlatIP(candidates.shape[1])
  index.add(candidates)
  index.search(queries[:64], 10)
  print("ready", flush=True)
  for _ in sys.stdin:
    start, cpu = time.perf_counter(), time.process_time()
    _, rows = index.search(queries, 10)
    seconds = time.perf_counter() - start, time.process_time() - cpu
    np.save(args.folder / "found.npy", rows)
    print(*seconds, flush=True)


if __name__ == "__main__":
  main()
