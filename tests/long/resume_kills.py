"""Comparison of runs killed at a random moment and resumed with unbroken ones.

Each run is started, killed with SIGKILL after a time drawn uniformly from the
length of an unbroken run (imports, compilation, training and the last
evaluation), started again, and compared with the unbroken run: the lines of
training steps in metrics.jsonl and results.json to the byte, the arrays of the
last checkpoint to the bit.

With --store=s3 or gs, the killed runs lie in an emulated bucket, the unbroken
one on the disk.

python -m tests.long.resume_kills [--num_kills=20] [--store=disk] [--json]
"""

import contextlib
import dataclasses
import json
import pathlib
import random
import subprocess
import tempfile
import time

from absl import app, flags, logging

from runtime.storage import bucket_path
from tests import bucket_emulators as emulators
from tests import runs

# Flags of a run longer than the tests', so that a third of the kills fall in
# the loop, many of them while a checkpoint is being saved, and some in
# evaluations.
_LONGER = (
  "--config.total_steps=400",
  "--config.checkpoint.every_steps=8",
  "--config.checkpoint.keep=3",
  "--config.evaluate.every_steps=150",
)
# Seconds after which a run is taken to hang, on a machine that does much else.
_PATIENCE = 3600.0

_NUM_KILLS = flags.DEFINE_integer("num_kills", 20, "Runs to kill.", 1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the moments of the kills.")
_STORE = flags.DEFINE_enum(
  "store", "disk", ["disk", "s3", "gs"], "Place of the killed runs."
)
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object.")


@dataclasses.dataclass(frozen=True)
class Kill:
  """One run: time of the kill, last saved step, and comparison of its end."""

  seconds: float
  saved_step: int | None
  last_step: int
  ended_before: bool  # the run had ended before the kill
  equal: bool
  difference: str


def kill_and_resume(
  runner: runs.Runner,
  workdir: pathlib.Path,
  reference: pathlib.Path,
  seconds: float,
) -> Kill:
  """Run in `workdir`, kill after `seconds`, resume, compare."""
  process = runner.start(workdir, *_LONGER)
  try:
    process.communicate(timeout=seconds)
    ended_before = True
  except subprocess.TimeoutExpired:
    ended_before = False
    runs.kill(process)
  steps = [
    int(path.name)
    for path in (workdir / "checkpoints").glob("*")
    if path.name.isdigit()
  ]
  saved_step, last_step = max(steps, default=None), runs.last_step(workdir)
  difference = ""
  try:
    result = runs.finish(runner.start(workdir, *_LONGER), _PATIENCE)
    assert result.code == 0, result.stderr
    runs.assert_same_run(workdir, reference, runner.cache_dir)
    got, expected = (
      (run / "results.json").read_bytes() for run in (workdir, reference)
    )
    assert got == expected, "results.json"
  except AssertionError as error:
    difference = str(error) or "metrics.jsonl"
  return Kill(
    seconds=seconds,
    saved_step=saved_step,
    last_step=last_step,
    ended_before=ended_before,
    equal=not difference,
    difference=difference,
  )


def main(argv: list[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)
  rng = random.Random(_SEED.value)
  with (
    contextlib.ExitStack() as stack,
    tempfile.TemporaryDirectory() as name,
  ):
    folder = root = pathlib.Path(name)
    if _STORE.value != "disk":
      emulator = stack.enter_context(emulators.started(_STORE.value))
      stack.enter_context(emulators.connected(emulator.variables))
      root = bucket_path.make(f"{emulator.root}/runs")
    # Every run compiles its own program, as on a preempted machine.
    runner = runs.Runner(folder / "cache", compiled=None)
    result = runner.run(folder / "prepare", "--config.total_steps=5")
    assert result.code == 0, result.stderr
    start = time.monotonic()
    process = runner.start(folder / "reference", *_LONGER)
    result = runs.finish(process, _PATIENCE)
    length = time.monotonic() - start
    assert result.code == 0, result.stderr
    kills = []
    for index in range(_NUM_KILLS.value):
      kill = kill_and_resume(
        runner,
        root / str(index),
        folder / "reference",
        rng.uniform(0, length),
      )
      kills.append(kill)
      if not _JSON.value:
        print(
          f"{index + 1:3}  killed after {kill.seconds:5.1f} s at step"
          f" {kill.last_step:2}, saved: {kill.saved_step},"
          f" {'equal' if kill.equal else 'DIFFERENT: ' + kill.difference}",
          flush=True,
        )
  equal = sum(kill.equal for kill in kills)
  if _JSON.value:
    print(
      json.dumps(
        {
          "num_kills": len(kills),
          "num_equal": equal,
          "seconds_unbroken": length,
          "kills": [dataclasses.asdict(kill) for kill in kills],
        },
        indent=2,
      )
    )
  else:
    print(
      f"{equal} of {len(kills)} equal the unbroken run ({length:.1f} s) to the"
      " bit"
    )


if __name__ == "__main__":
  app.run(main)
