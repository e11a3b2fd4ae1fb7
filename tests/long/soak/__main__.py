"""Soak: a run of two processes, disturbed again and again, against another.

The run lies in an emulated bucket. A driver starts it as a scheduler does: the
same command again after exit code 75 or a signal. Disturbances are drawn, each
kind at least once: SIGKILL of one process and of all, SIGTERM, SIGSTOP for a
minute, a full disk, errors of the bucket, a damaged checkpoint, another number
of processes for the same devices, and jumps of the clock. In the end the
parameters must equal those of an undisturbed run to the bit, the lines of
metrics.jsonl to the byte; losses and parameters of a run resumed on another
mesh must be within 1e-5 (but for biases of the keys, which change no output);
each disturbance must be found in the run's log; and nothing may be left behind.

python -m tests.long.soak --minutes=30 --disturbances=20 --store=s3
python -m tests.long.soak --minutes=3 --disturbances=4  # while developing

Needs root (for a small tmpfs, which is filled) and Debian's `faketime`.
--out has report.md, report.json and the log of each process.
"""

import contextlib
import glob
import json
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from absl import app, flags, logging

from runtime.storage import bucket_path
from tests import bucket_emulators as emulators
from tests import runs
from tests.long.soak import disturbances, driver, outcome
from tests.long.soak import job as job_lib

_MINUTES = flags.DEFINE_float("minutes", 30.0, "Length of the disturbed run.")
_DISTURBANCES = flags.DEFINE_integer("disturbances", 20, "Disturbances.", 1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of all that is drawn.")
_STORE = flags.DEFINE_enum(
  "store", "s3", ["s3", "gs", "disk"], "Place of the disturbed run."
)
_KINDS = flags.DEFINE_list("kinds", [], "Kinds in this order, not drawn ones.")
_OUT = flags.DEFINE_string("out", "", "Folder of the report and the logs.")
_STEPS_A_MINUTE = 12
_SMALL_MB = 64
# Most that a loss may differ by where the mesh changes, relative to it.
_CLOSE = 1e-5


@contextlib.contextmanager
def _small_disk(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Mount a small file system, which can be full."""
  folder.mkdir(parents=True)
  options = ["-t", "tmpfs", "-o", f"size={_SMALL_MB}m", "tmpfs", str(folder)]
  try:
    subprocess.run(["mount", *options], check=True, capture_output=True)
  except (OSError, subprocess.CalledProcessError) as error:
    raise SystemExit(f"error: a tmpfs cannot be mounted: {error}") from error
  try:
    yield folder
  finally:
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _faketime() -> dict[str, str]:
  libraries = sorted(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1"))
  if not libraries:
    raise SystemExit("error: libfaketime is missing: apt install faketime")
  return {
    "LD_PRELOAD": libraries[0],
    "FAKETIME_CACHE_DURATION": "1",
    # No clock but that of the day jumps.
    "DONT_FAKE_MONOTONIC": "1",
    "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    "NO_FAKE_STAT": "1",
  }


def _reference(scratch: pathlib.Path, args: tuple[str, ...]) -> pathlib.Path:
  """Run undisturbed on the disk with two processes, and compile for one."""
  for name, num, more in (
    ("alone", 1, ("--config.total_steps=6",)),
    ("reference", 2, ()),
  ):
    job = job_lib.Job(
      workdir=scratch / name,
      folder=scratch / f"{name}-logs",
      cache_dir=scratch / "cache",
      compiled=scratch / "compiled",
      args=(*args, *more),
      env={},
      num_processes=num,
    )
    job.set_pace(0.0)
    attempt = job.start()
    attempt.wait(1800)
    assert set(attempt.codes()) == {0}, attempt.text()
  return scratch / "reference"


def _other_mesh(scratch: pathlib.Path, args: tuple[str, ...]) -> dict[str, Any]:
  """Resume the undisturbed run on one device; return how far both differ."""
  reference, workdir = scratch / "reference", scratch / "mesh"
  shutil.copytree(reference, workdir)
  folder = workdir / "checkpoints"
  steps = sorted(int(path.name) for path in folder.iterdir())
  for step in steps[1:]:
    shutil.rmtree(folder / str(step))
  for name in ("results.json", "report.html"):
    (workdir / name).unlink()
  job = job_lib.Job(
    workdir=workdir,
    folder=scratch / "mesh-logs",
    cache_dir=scratch / "cache",
    compiled=scratch / "compiled",
    args=args,
    env={},
    num_processes=1,
    num_devices=1,
  )
  job.set_pace(0.0)
  attempt = job.start()
  attempt.wait(1800)
  assert attempt.codes() == [0], attempt.text()
  losses, expected = (
    [json.loads(line)["train/loss"] for line in runs.train_lines(run)]
    for run in (workdir, reference)
  )
  assert len(losses) == len(expected)
  pairs = list(zip(losses, expected, strict=True))
  pattern = r"was saved with mesh data=2.*now mesh data=1"
  parameters, key_biases = runs.largest_differences(
    workdir, reference, scratch / "cache"
  )
  return {
    "steps": len(losses) - steps[0],
    "largest": max(abs(a - b) / abs(b) for a, b in pairs),
    "parameters": parameters,
    "key_biases": key_biases,
    "lines": disturbances.lines(attempt.text(), pattern),
  }


def main(argv: list[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)
  rng = random.Random(_SEED.value)
  out = pathlib.Path(_OUT.value or f"{tempfile.gettempdir()}/diptych-soak")
  shutil.rmtree(out, ignore_errors=True)
  out.mkdir(parents=True)
  args = (
    f"--config.total_steps={round(_STEPS_A_MINUTE * _MINUTES.value)}",
    "--config.checkpoint.every_steps=3",
    "--config.checkpoint.keep=3",
  )
  env = _faketime()
  with contextlib.ExitStack() as stack:
    name = stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-"))
    scratch = pathlib.Path(name)
    disk = stack.enter_context(_small_disk(scratch / "small"))
    (disk / "tmp").mkdir()
    start = time.monotonic()
    print("undisturbed run ...", flush=True)
    reference = _reference(scratch, args)
    print(f"undisturbed run: {time.monotonic() - start:.0f} s", flush=True)
    proxy, workdir = None, disk / "run"
    if _STORE.value != "disk":
      emulator = stack.enter_context(emulators.started(_STORE.value))
      proxy = emulators.Proxy(emulator.port)
      env |= emulators.variables(_STORE.value, proxy.port)
      stack.enter_context(emulators.connected(emulator.variables))
      workdir = bucket_path.make(f"{emulator.root}/soak/run")
    job = job_lib.Job(
      workdir=workdir,
      folder=out,
      cache_dir=scratch / "cache",
      compiled=scratch / "compiled",
      args=args,
      env=env | {"TMPDIR": str(disk / "tmp")},
    )
    stack.callback(lambda: [attempt.kill() for attempt in job.attempts])
    soak = driver.Soak(
      job=job,
      rng=rng,
      store=_STORE.value,
      proxy=proxy,
      disk=disk,
      seconds=60 * _MINUTES.value,
      total_steps=round(_STEPS_A_MINUTE * _MINUTES.value),
    )
    records = soak.run(_DISTURBANCES.value, _KINDS.value)
    report = outcome.report(soak, records, reference)
    mesh = report["other_mesh"] = _other_mesh(scratch, args)
    largest = max(mesh["largest"], mesh["parameters"])
    report["ok"] &= largest < _CLOSE and len(mesh["lines"]) == 1
  report["seed"], report["store"] = _SEED.value, _STORE.value
  (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
  text = outcome.markdown(report)
  (out / "report.md").write_text(text)
  print(text)
  raise SystemExit(0 if report["ok"] else 1)


if __name__ == "__main__":
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  app.run(main)
