"""Job under test: processes of one run, their logs, and what they saved."""

import dataclasses
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping

from runtime.storage import bucket_path, committed
from tests import runs

CONFIG = "tests/tiny.py:skin_tone"
# A step takes as long as a file says, so that a run lasts as long as wanted.
# libfaketime 0.9.10 refuses the absolute monotonic time that Python sleeps to.
_HOOK = """
import os, runpy, select, time
def sleep(seconds): select.select([], [], [], seconds)
time.sleep = sleep
from training import metrics
metrics._LOG_SECONDS = 1.0
write = metrics.Writer.write
def paced(self, step, values):
  write(self, step, values)
  if "train/loss" in values:
    with open(os.environ["SOAK_PACE"]) as file: time.sleep(float(file.read()))
metrics.Writer.write = paced
runpy.run_path("main.py", run_name="__main__")
"""
_STEP = re.compile(r"^step (\d+)/", re.MULTILINE)


@dataclasses.dataclass
class Attempt:
  """Processes that one submission of the job started.

  Attributes:
    number: from 0 on.
    processes: by their index in the run.
    logs: file of stdout and stderr of each.
    first_saved: newest step that was saved before they started.
  """

  number: int
  processes: list[subprocess.Popen[bytes]]
  logs: list[pathlib.Path]
  first_saved: int

  def is_running(self) -> bool:
    """Return whether any process is left."""
    return any(process.poll() is None for process in self.processes)

  def codes(self) -> list[int | None]:
    """Return exit codes, negative for a signal, None while running."""
    return [process.poll() for process in self.processes]

  def text(self, since: list[int] | None = None) -> str:
    """Return the logs of all processes, from these positions on."""
    starts = since or [0] * len(self.logs)
    return "\n".join(
      path.read_bytes()[start:].decode(errors="replace")
      for path, start in zip(self.logs, starts, strict=True)
    )

  def sizes(self) -> list[int]:
    """Return the length of each log."""
    return [path.stat().st_size for path in self.logs]

  def step(self) -> int:
    """Return the last step that the log of process 0 tells."""
    numbers = _STEP.findall(self.logs[0].read_text(errors="replace"))
    return int(numbers[-1]) if numbers else 0

  def send(self, number: signal.Signals, *indices: int) -> None:
    """Send a signal to processes that are left, all by default."""
    for index in indices or range(len(self.processes)):
      if self.processes[index].poll() is None:
        os.killpg(self.processes[index].pid, number)

  def wait(self, seconds: float) -> bool:
    """Wait for the end of all; return whether it came in time."""
    deadline = time.monotonic() + seconds
    while self.is_running() and time.monotonic() < deadline:
      time.sleep(0.1)
    return not self.is_running()

  def kill(self) -> None:
    """End all processes."""
    self.send(signal.SIGKILL)
    for process in self.processes:
      process.wait()


@dataclasses.dataclass
class Job:
  """One command that a scheduler starts again and again.

  Attributes:
    workdir: of the run.
    folder: logs and settings of the attempts, on this disk.
    cache_dir: prepared data.
    compiled: compiled programs.
    args: flags of main.py.
    env: variables of all processes.
    num_processes: processes of the next attempt, which share two devices.
    attempts: so far.
  """

  workdir: pathlib.Path
  folder: pathlib.Path
  cache_dir: pathlib.Path
  compiled: pathlib.Path
  args: tuple[str, ...]
  env: Mapping[str, str]
  num_processes: int = 2
  num_devices: int = 2
  attempts: list[Attempt] = dataclasses.field(default_factory=list)

  def start(self) -> Attempt:
    """Start the processes."""
    self.folder.mkdir(parents=True, exist_ok=True)
    number = len(self.attempts)
    command = [sys.executable, "-c", _HOOK, f"--config={CONFIG}"]
    command += [f"--config.data.cache_dir={self.cache_dir}"]
    command += [f"--workdir={self.workdir}", *self.args]
    if self.num_processes > 1:
      with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
      command += [f"--coordinator_address=127.0.0.1:{port}"]
      command += [f"--num_processes={self.num_processes}"]
    attempt = Attempt(number, [], [], max(self.steps(), default=0))
    for index in range(self.num_processes):
      log = self.folder / f"attempt-{number:03}-process-{index}.log"
      more = [f"--process_id={index}"] if self.num_processes > 1 else []
      with open(log, "wb") as output:
        process = subprocess.Popen(
          [*command, *more],
          cwd=runs.ROOT,
          env=dict(os.environ) | self._settings(index) | dict(self.env),
          stdout=output,
          stderr=subprocess.STDOUT,
          start_new_session=True,
        )
      attempt.processes.append(process)
      attempt.logs.append(log)
    self.attempts.append(attempt)
    return attempt

  def _settings(self, index: int) -> dict[str, str]:
    clock = self.clock(index)
    if not clock.exists():
      clock.write_text("+0")
    return {
      "JAX_PLATFORMS": "cpu",
      "JAX_NUM_CPU_DEVICES": str(self.num_devices // self.num_processes),
      "XLA_FLAGS": (
        f"--xla_backend_optimization_level=0 {runs.FAST_COMPILATION}"
      ),
      "JAX_COMPILATION_CACHE_DIR": str(self.compiled),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
      "SOAK_PACE": str(self.folder / "pace"),
      "FAKETIME_TIMESTAMP_FILE": str(clock),
    }

  def set_pace(self, seconds: float) -> None:
    """Let a step take so long."""
    self.folder.mkdir(parents=True, exist_ok=True)
    new = self.folder / "pace.new"
    new.write_text(f"{seconds:.3f}")
    new.replace(self.folder / "pace")

  def clock(self, index: int) -> pathlib.Path:
    """Return the file that libfaketime reads a process's offset from."""
    return self.folder / f"clock-{index}"

  def steps(self) -> list[int]:
    """Return the steps that have a whole checkpoint, oldest first."""
    folder = self.workdir / "checkpoints"
    if isinstance(folder, bucket_path.BucketPath):
      names = committed.names(folder)
    else:
      names = [path.name for path in folder.glob("*")]
    return sorted(int(name) for name in names if name.isdecimal())
