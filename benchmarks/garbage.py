"""A short run with and without a higher threshold of the garbage collector.

  python -m benchmarks.garbage
  python -m benchmarks.garbage --config=configs/quickstart.py --num_steps=200

Each of --rounds rounds runs `main.py` on --config for --num_steps steps twice,
in turns: once as it is (runtime/garbage.py) and once with Python's own
threshold. A run before them compiles. `cpu_s` is the median of the seconds of
all threads, `mib` that of the most memory held, and both ratios are medians of
the rounds' ratios, of the run as it is to the other.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from absl import app, flags

_CONFIG = flags.DEFINE_string("config", "tests/tiny.py", "Config of the run.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Rounds.", lower_bound=1)
_NUM_STEPS = flags.DEFINE_integer("num_steps", 40, "Steps.", lower_bound=1)

_RAISED = "raised threshold"
_PROGRAMS = {
  _RAISED: "",
  "Python's": "garbage.raise_threshold = lambda: None\n",
}
_START = """
import runpy, sys
from runtime import garbage
{change}
sys.argv[0] = "main.py"
runpy.run_path("main.py", run_name="__main__")
"""


def main(argv: Sequence[str]) -> None:
  del argv
  seen: dict[str, list[dict[str, float]]] = {name: [] for name in _PROGRAMS}
  with tempfile.TemporaryDirectory() as folder:
    scratch = pathlib.Path(folder)
    _measured(scratch, "first", "")
    for number in range(_ROUNDS.value):
      for name in sorted(_PROGRAMS, reverse=bool(number % 2)):
        workdir = f"{name}-{number}"
        seen[name].append(_measured(scratch, workdir, _PROGRAMS[name]))
  medians = {
    name: {
      field: statistics.median(x[field] for x in rows) for field in rows[0]
    }
    for name, rows in seen.items()
  }
  pairs = list(zip(*seen.values(), strict=True))
  ratios = {
    field: round(statistics.median(a[field] / b[field] for a, b in pairs), 3)
    for field in ("cpu_s", "mib")
  }
  print(json.dumps(medians | {"ratios": ratios}))


def _measured(
  scratch: pathlib.Path, workdir: str, change: str
) -> dict[str, float]:
  """Run main.py in a process; return its CPU seconds and its MiB."""
  process = subprocess.Popen(
    [
      *(sys.executable, "-c", _START.format(change=change)),
      *(f"--config={_CONFIG.value}", f"--workdir={scratch / workdir}"),
      f"--config.total_steps={_NUM_STEPS.value}",
      f"--config.data.cache_dir={scratch / 'cache'}",
    ],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  _, status, usage = os.wait4(process.pid, 0)
  if status:
    raise app.UsageError(f"--config={_CONFIG.value}: its run failed: {status}")
  return {
    "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
    "mib": usage.ru_maxrss / 1024,
  }


if __name__ == "__main__":
  app.run(main)
