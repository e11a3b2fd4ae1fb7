"""Runs of main.py in children of one process that has imported JAX already.

Importing takes most of the time of a tiny run. A child is a process of its own:
a test may kill it as one that was started by a command.
"""

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from tests import runs

_SERVER = """
import json, os, runpy, sys, traceback
import orbax.checkpoint.experimental.v1._src.saving.execution
from training import train

for line in sys.stdin:
  task = json.loads(line)
  child = os.fork()
  if not child:
    code = 1
    out = os.open(task["out"], os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    try:
      exec(task["before"], {})
      sys.argv = ["main.py", *task["args"]]
      runpy.run_path("main.py", run_name="__main__")
    except SystemExit as end:
      code = end.code or 0
    except BaseException:
      traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
  _, status = os.waitpid(child, 0)
  print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Forks:
  """Process that runs main.py in its children, one after the other."""

  def __init__(self, folder: pathlib.Path):
    """Start the process.

    Args:
      folder: folder of the children's output, and of the compiled programs of
        those children that are not killed.
    """
    self._out = folder / "output"
    settings = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    settings["XLA_FLAGS"] = (
      f"--xla_backend_optimization_level=0 {runs.FAST_COMPILATION}"
    )
    settings |= {
      "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    self._server = subprocess.Popen(
      # JAX warns of every fork; nothing of it runs before one.
      [sys.executable, "-W", "ignore", "-c", _SERVER],
      cwd=runs.ROOT,
      env=dict(os.environ) | settings,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )

  def run(self, args: Sequence[str], before: str = "") -> tuple[int, str]:
    """Return exit code (-9 after SIGKILL) and output of a run.

    Args:
      args: flags of main.py.
      before: Python that is run first.
    """
    assert self._server.stdin is not None
    assert self._server.stdout is not None
    if before:  # a file that is written in a kill would be read by others
      name = "jax_persistent_cache_min_compile_time_secs"
      before = f"import jax\njax.config.update('{name}', 1e9)\n{before}"
    task = {"args": [*args], "before": before, "out": str(self._out)}
    self._server.stdin.write(json.dumps(task) + "\n")
    self._server.stdin.flush()
    code = self._server.stdout.readline()
    assert code, "the server has ended"
    return int(code), self._out.read_text()

  def close(self) -> None:
    """End the process."""
    self._server.communicate()
