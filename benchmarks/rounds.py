"""Contestants that take turns, and processes for other libraries."""

import contextlib
import json
import os
import pathlib
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
from absl import app

_PEERS = pathlib.Path(__file__).parent / "peers"
_MATMUL_SIZE = 2048
# GFLOP of one round of `make_matmul`.
MATMUL_GFLOP = 2 * _MATMUL_SIZE**3 / 1e9
# Function that makes one step and returns its seconds.
Timed = Callable[[], float]


@contextlib.contextmanager
def peer(python: str, script: str, *args: str) -> Iterator[Timed]:
  """Start a peer; yield a function that runs a step and returns its seconds."""
  with answers(python, script, *args) as ask:
    yield lambda: float(ask())


@contextlib.contextmanager
def answers(
  python: str, script: str, *args: str
) -> Iterator[Callable[[], str]]:
  """Start a peer's process; it ends with the context.

  Args:
    python: interpreter of the peer's environment.
    script: file of benchmarks/peers. It takes --num_threads, prints "ready",
      and answers each line with a line.
    *args: flags of the script.

  Yields:
    A function that requests the next answer.
  """
  command = [
    python,
    str(_PEERS / script),
    *args,
    f"--num_threads={len(os.sched_getaffinity(0))}",
  ]
  with subprocess.Popen(
    command,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
  ) as process:
    requests, lines = process.stdin, process.stdout
    assert requests is not None  # both are subprocess.PIPE
    assert lines is not None
    if lines.readline().strip() != "ready":
      process.kill()
      raise app.UsageError(
        f"the peer did not start; for its error, run {' '.join(command)}"
      )

    def ask() -> str:
      requests.write("step\n")
      requests.flush()
      return lines.readline()

    try:
      yield ask
    finally:
      requests.close()


def make_matmul() -> Timed:
  """Compile a matrix product that measures the machine's speed."""
  x = jnp.ones((_MATMUL_SIZE, _MATMUL_SIZE), jnp.float32)
  product = jax.jit(jnp.dot).lower(x, x).compile()

  def timed() -> float:
    start = time.perf_counter()
    product(x, x).block_until_ready()
    return time.perf_counter() - start

  timed()
  return timed


def print_parts(
  names: Sequence[str], parts: Mapping[str, Callable[[], Iterable[dict]]]
) -> None:
  """Print each row of the named parts of a benchmark as a line of JSON."""
  for name in names:
    if name not in parts:
      raise app.UsageError(
        f"--parts must be among {', '.join(parts)}; got {name!r}"
      )
  for name in names:
    for row in parts[name]():
      print(json.dumps({"part": name} | row), flush=True)


def measure(runners: dict[str, Timed], rounds: int) -> dict[str, list[float]]:
  """Return seconds of each runner in each round, taken in turn."""
  seconds: dict[str, list[float]] = {name: [] for name in runners}
  order = list(runners)
  for _ in range(rounds):
    for name in order:
      seconds[name].append(runners[name]())
    order.reverse()
  return seconds
