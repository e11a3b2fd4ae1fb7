"""Runs of tests/tiny.py: main.py as a process of its own, and what it saved."""

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import pytest

from input_pipeline import loader
from runtime import mesh as mesh_lib
from runtime.storage import segments
from tests import tiny
from training import checkpointing, train_state, train_step
from training import config as config_lib

ROOT = pathlib.Path(__file__).parent.parent
# XLA's older code for fused loops compiles in half the time. Newer versions do
# not have it, and end a process that asks for it.
FAST_COMPILATION = (
  "--xla_cpu_use_fusion_emitters=false"
  if jax.__version_info__ < (0, 11)
  else ""
)
# Seconds after which a process is taken to hang: a run takes 10 on a quiet
# machine, ten times that where caches are cold and others compile.
_PATIENCE = 240


def make_config(
  changes: Mapping[str, Any] | None = None,
) -> config_lib.Config:
  """Return the checked config, with {"model.dtype": value} changed."""
  config = tiny.get_config()
  config.update_from_flattened_dict(dict(changes or {}))
  return config_lib.checked(config.to_dict())


@dataclasses.dataclass(frozen=True)
class Result:
  """Output and exit code of a process."""

  code: int
  stdout: str
  stderr: str
  seconds: float


@dataclasses.dataclass(frozen=True)
class Runner:
  """Starts main.py.

  Attributes:
    cache_dir: prepared data, shared.
    compiled: folder of compiled programs, which all processes read and write.
      None: compile everything.
    python: the interpreter.
  """

  cache_dir: pathlib.Path
  compiled: pathlib.Path | None
  python: str = sys.executable

  def start(
    self,
    workdir: pathlib.Path | str | None,
    *args: str,
    config: str | None = "tests/tiny.py",
    env: Mapping[str, str] | None = None,
    before: str = "",
  ) -> subprocess.Popen:
    """Start a process; stdout and stderr are pipes; `before` is run first."""
    command = [self.python, "main.py"]
    if before:
      run = "runpy.run_path('main.py', run_name='__main__')"
      command[1:] = ["-c", f"import runpy\n{before}\n{run}"]
    if config is not None:
      command.append(f"--config={config}")
      if config.startswith("tests/tiny.py"):
        command.append(f"--config.data.cache_dir={self.cache_dir}")
    if workdir is not None:
      command.append(f"--workdir={workdir}")
    settings = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    plans = "--task=plan" in args
    if not plans:
      # Compiles in half the time, and these programs run for a moment only.
      settings["XLA_FLAGS"] = (
        f"--xla_backend_optimization_level=0 {FAST_COMPILATION}"
      )
    if self.compiled is not None and not plans:
      settings |= {
        "JAX_COMPILATION_CACHE_DIR": str(self.compiled),
        # JAX writes these files in place. With a limit of size it locks the
        # folder, and no process reads half of a file.
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**34),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
      }
    return subprocess.Popen(
      [*command, *args],
      cwd=ROOT,
      env=dict(os.environ) | settings | dict(env or {}),
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  def start_cluster(
    self,
    workdir: pathlib.Path,
    num_processes: int,
    *args: str,
    num_devices: int = 4,
    before: str = "",
    config: str | None = "tests/tiny.py",
    env: Callable[[int], Mapping[str, str]] = lambda index: {},
  ) -> list[subprocess.Popen]:
    """Start one run of several processes that share `num_devices`.

    Args:
      workdir: folder of the run.
      num_processes: 1 gives no flags of several.
      *args: of `start`, as are those that are not here.
      num_devices: of all processes together.
      before: as in `start`.
      config: of `start`.
      env: function of a process's index.
    """
    with socket.socket() as probe:
      probe.bind(("127.0.0.1", 0))
      port = probe.getsockname()[1]
    devices = {"JAX_NUM_CPU_DEVICES": str(num_devices // num_processes)}
    if num_processes == 1:
      return [
        self.start(
          *(workdir, *args),
          config=config,
          env=devices | dict(env(0)),
          before=before,
        )
      ]
    return [
      self.start(
        workdir,
        f"--coordinator_address=127.0.0.1:{port}",
        f"--num_processes={num_processes}",
        f"--process_id={index}",
        *args,
        config=config,
        env=devices | dict(env(index)),
        before=before,
      )
      for index in range(num_processes)
    ]

  def run(self, *args: Any, **kwargs: Any) -> Result:
    """Start a process and wait for its end; arguments as of `start`."""
    return finish(self.start(*args, **kwargs))


def finish(process: subprocess.Popen, patience: float = _PATIENCE) -> Result:
  """Wait for a process's end, for so many seconds at most."""
  start = time.monotonic()
  try:
    stdout, stderr = process.communicate(timeout=patience)
  except subprocess.TimeoutExpired:
    process.kill()
    stdout, stderr = process.communicate()
    raise AssertionError(f"main.py hangs: {stdout}\n{stderr}") from None
  return Result(process.returncode, stdout, stderr, time.monotonic() - start)


def wait_until(
  condition: Callable[[], bool], process: subprocess.Popen
) -> None:
  """Return as soon as `condition` holds; the process must not end before."""
  deadline = time.monotonic() + _PATIENCE
  while not condition():
    if process.poll() is not None or time.monotonic() > deadline:
      process.kill()
      stdout, stderr = process.communicate()
      raise AssertionError(
        f"main.py ended ({process.returncode}) or hung: {stdout}\n{stderr}"
      )
    time.sleep(0.002)


def kill(process: subprocess.Popen) -> None:
  """SIGKILL; the process must not have ended by itself."""
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert process.returncode == -signal.SIGKILL, process.returncode


def rows(workdir: pathlib.Path) -> list[dict[str, Any]]:
  """Return the lines of metrics.jsonl."""
  path = workdir / "metrics.jsonl"
  return [json.loads(line) for line in path.read_text().splitlines()]


def train_lines(workdir: pathlib.Path) -> list[str]:
  """Return the lines of training steps in metrics.jsonl, as written."""
  path = workdir / "metrics.jsonl"
  return [
    line for line in path.read_text().splitlines() if "train/loss" in line
  ]


def last_step(workdir: pathlib.Path) -> int:
  """Return the last whole line's step in metrics.jsonl, 0 without any."""
  try:
    text = segments.read(workdir / "metrics.jsonl").decode()
  except FileNotFoundError:
    return 0
  lines = text[: text.rfind("\n") + 1].splitlines()
  return max((json.loads(line)["step"] for line in lines), default=0)


def abstract_state(
  config: config_lib.Config, mesh: jax.sharding.Mesh
) -> tuple[train_state.TrainState, Any, Any]:
  """Return (shapes and shardings of the state, init_params, optimizer)."""
  program = train_step.make(config, mesh)
  return program.state, program.init_params, program.optimizer


def make_iterator(config: config_lib.Config) -> Any:
  """Return the iterator of the training data that the loop would make."""
  return loader.make_loader(
    config.data,
    folder=None,
    batch_size=config.batch_size,
    seed=config.seed,
  )


def saved_arrays(
  workdir: pathlib.Path, cache_dir: pathlib.Path
) -> dict[str, np.ndarray]:
  """Return all arrays of a run's newest checkpoint; none must be rejected."""
  config = make_config({"data.cache_dir": str(cache_dir)})
  mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
  abstract, _, _ = abstract_state(config, mesh)
  checkpointer = checkpointing.Checkpointer(workdir / "checkpoints", keep=None)
  newest = checkpointer.steps()[-1]
  state = checkpointer.restore(abstract, make_iterator(config))
  checkpointer.close()
  assert int(state.step) == newest
  return {
    jax.tree_util.keystr(path): np.asarray(x)
    for path, x in jax.tree.leaves_with_path(state)
  }


def assert_same_run(
  got: pathlib.Path, expected: pathlib.Path, cache_dir: pathlib.Path
) -> None:
  """Training lines equal to the byte, final arrays equal to the bit."""
  assert train_lines(got) == train_lines(expected)
  got_arrays, expected_arrays = (
    saved_arrays(folder, cache_dir) for folder in (got, expected)
  )
  assert got_arrays.keys() == expected_arrays.keys()
  for name, array in expected_arrays.items():
    assert array.tobytes() == got_arrays[name].tobytes(), name


def largest_differences(
  got: pathlib.Path, expected: pathlib.Path, cache_dir: pathlib.Path
) -> tuple[float, float]:
  """Return how far final parameters of two runs are apart.

  Returns:
    The largest difference of a value: of all parameters but the keys' biases,
    and of these. A bias of the keys adds one number to all logits of a query,
    and a softmax does not depend on that. Its gradient is nothing but
    rounding, which Adam makes as large as any other step.
  """
  got_arrays, expected_arrays = (
    saved_arrays(folder, cache_dir) for folder in (got, expected)
  )
  assert got_arrays.keys() == expected_arrays.keys()
  largest = {True: 0.0, False: 0.0}
  for name, array in expected_arrays.items():
    if name.startswith(".params"):
      difference = float(np.max(np.abs(array - got_arrays[name])))
      is_free = name.endswith("['key']['bias']")
      largest[is_free] = max(largest[is_free], difference)
  return largest[False], largest[True]


def assert_other_seed_is_refused(first: Result, second: Result) -> None:
  """Check that two processes, of seed 0 and 1, have joined and ended."""
  assert (first.code, second.code) == (1, 1)
  message = "same config; seed is 0 on process 0 and 1 here"
  assert f"error: process 1: all processes must have the {message}" in (
    first.stderr
  )
  assert message in second.stderr


@contextlib.contextmanager
def small_disk(folder: pathlib.Path, num_bytes: int) -> Iterator[None]:
  """Mount a disk of `num_bytes`; skips where that is not allowed."""
  folder.mkdir()
  done = subprocess.run(
    ("mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(folder)),
    capture_output=True,
    text=True,
  )
  if done.returncode:
    pytest.skip(f"cannot mount a tmpfs to fill it: {done.stderr.strip()}")
  try:
    yield
  finally:
    subprocess.run(("umount", str(folder)), check=True)
