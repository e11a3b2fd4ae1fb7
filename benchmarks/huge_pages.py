"""Training step on the CPU with and without huge pages (runtime/huge_pages.py).

  python -m benchmarks.huge_pages
  python -m benchmarks.huge_pages --config=configs/siglip2.py:mini_full

Two processes compile the step of --config and make it on a batch of zeros, one
with GLIBC_TUNABLES=glibc.malloc.hugetlb=1 and one with 0. They take turns, one
step each, --rounds times. `seconds` is the median, `faults` the pages of a step
that the kernel had to clear, and `ratio` the median of the rounds' ratios,
above 1 if huge pages are faster.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from absl import app, flags, logging
from ml_collections import config_flags

from runtime import huge_pages

_CONFIG = config_flags.DEFINE_config_file(
  "config", "configs/quickstart.py", "Config of the step."
)
_ROUNDS = flags.DEFINE_integer("rounds", 15, "Rounds.", lower_bound=1)
_IS_CHILD = flags.DEFINE_bool("child", False, "Make steps for the other.")


def main(argv: Sequence[str]) -> None:
  del argv
  if _IS_CHILD.value:
    _make_steps()
    return
  children = {
    name: subprocess.Popen(
      [*(sys.executable, "-m", "benchmarks.huge_pages", "--child"), *_flags()],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      env={**os.environ, huge_pages.VARIABLE: f"glibc.malloc.hugetlb={value}"},
    )
    for name, value in (("huge", 1), ("small", 0))
  }
  seen: dict[str, list[dict[str, float]]] = {name: [] for name in children}
  for number in range(_ROUNDS.value + 1):
    for name in sorted(children, reverse=bool(number % 2)):
      answer = _ask(children[name])
      if number:  # the first step of each makes the state's pages
        seen[name].append(answer)
  for child in children.values():
    assert child.stdin is not None
    child.stdin.close()
    child.wait()
  medians = {
    name: {
      field: statistics.median(x[field] for x in rows) for field in rows[0]
    }
    for name, rows in seen.items()
  }
  ratio = statistics.median(
    small["seconds"] / huge["seconds"]
    for huge, small in zip(seen["huge"], seen["small"], strict=True)
  )
  print(json.dumps(medians | {"ratio": round(ratio, 3)}))


def _flags() -> list[str]:
  return [x for x in sys.argv[1:] if not x.startswith("--rounds")]


def _ask(child: subprocess.Popen[str]) -> dict[str, float]:
  assert child.stdin is not None
  assert child.stdout is not None
  child.stdin.write("\n")
  child.stdin.flush()
  for line in child.stdout:
    if line.startswith("{"):
      return json.loads(line)
  raise app.UsageError(f"a step's process ended: {child.wait()}")


def _make_steps() -> None:
  """Make a step for each line of the input; print its seconds and faults."""
  import jax
  import jax.numpy as jnp

  from runtime import mesh as mesh_lib
  from training import config as config_lib
  from training import train_state, train_step

  config = config_lib.from_mapping(_CONFIG.value.to_dict())
  config = config_lib.stages(config)[-1].config
  mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
  program = train_step.make(config, mesh)
  with jax.set_mesh(mesh):
    state = train_state.init(
      program.init_params,
      program.optimizer,
      program.state,
      config.seed,
      averaged=program.averaged,
    )
    compiled = train_step.compile_step(program, mesh)
    step = train_step.with_numbers(compiled, program, mesh)
    batch = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), program.batch)
    for _ in sys.stdin:
      faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
      start = time.perf_counter()
      state, metrics = step(state, batch)
      jax.block_until_ready(metrics)
      seconds = time.perf_counter() - start
      faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
      print(json.dumps({"seconds": seconds, "faults": faults}), flush=True)


if __name__ == "__main__":
  logging.set_verbosity(logging.ERROR)
  app.run(main)
