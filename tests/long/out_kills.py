"""Tasks whose --out lies in a bucket, killed at a random request of theirs.

Each of prepare, metadata, embed and export is started, killed with SIGKILL when
a request to the emulated bucket has been answered, started again, and its
folder is compared with one on the disk that nothing disturbed, to the byte.

python -m tests.long.out_kills [--num_kills=20] [--tasks=embed] [--json]
"""

import dataclasses
import json
import pathlib
import random
import re
import tempfile

from absl import app, flags

from tests import bucket_emulators as emulators
from tests import out_jobs

_NUM_KILLS = flags.DEFINE_integer(
  "num_kills", 20, "Kills of each task, in turns at gs:// and s3://.", 1
)
_TASKS = flags.DEFINE_list(
  "tasks", ["prepare", "metadata", "embed", "export"], "Tasks to kill."
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the requests.")
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object.")


@dataclasses.dataclass(frozen=True)
class Kill:
  """One task: the request that it was killed at, and its end."""

  task: str
  scheme: str
  request: int
  num_requests: int
  was_killed: bool
  code: int
  said: str
  difference: str

  @property
  def is_equal(self) -> bool:
    # A kill behind the last file leaves a folder that is not written again.
    is_over = not self.code or "must be a new or empty folder" in self.said
    return self.was_killed and is_over and not self.difference


def _kills(job: out_jobs.Job, folder: pathlib.Path, started) -> list[Kill]:
  result = job.run(folder / job.name)
  assert result.code == 0, result.stderr
  expected = out_jobs.contents(folder / job.name)
  kills, rng = [], random.Random(f"{job.name} {_SEED.value}")
  counts: dict[str, int] = {}
  for number in range(_NUM_KILLS.value):
    emulator = started[number % len(started)]
    with emulators.connected(emulator.variables):
      if emulator.scheme not in counts:
        out = out_jobs.out_of(emulator.root, "whole", job.name)
        whole = job.run(out, emulator.variables)
        assert whole.code == 0, whole.stderr
        difference = out_jobs.difference(out_jobs.contents(out), expected)
        assert not difference, difference
        (count,) = re.findall(r"requests: (\d+)", whole.stderr)
        counts[emulator.scheme] = int(count)
      out = out_jobs.out_of(emulator.root, str(number), job.name)
      kill_at = rng.randint(1, counts[emulator.scheme])
      killed = job.run(out, emulator.variables, kill_at)
      result = job.run(out, emulator.variables)
      kill = Kill(
        task=job.name,
        scheme=emulator.scheme,
        request=kill_at,
        num_requests=counts[emulator.scheme],
        was_killed=out_jobs.was_killed(killed),
        code=result.code,
        said=result.stderr.strip().rpartition("error: ")[2],
        difference=out_jobs.difference(out_jobs.contents(out), expected),
      )
    kills.append(kill)
    if not kill.is_equal:
      print(kill, result.stderr, sep="\n", flush=True)
  return kills


def main(argv: list[str]) -> None:
  """Kill and resume; print how many ended equal."""
  del argv
  kills = []
  with (
    tempfile.TemporaryDirectory() as folder,
    emulators.started("gs") as gs,
    emulators.started("s3") as s3,
  ):
    for job in out_jobs.make(pathlib.Path(folder)):
      if job.name not in _TASKS.value:
        continue
      made = _kills(job, pathlib.Path(folder), (gs, s3))
      equal = sum(kill.is_equal for kill in made)
      print(f"{job.name}: {equal} of {len(made)} equal", flush=True)
      kills += made
  if _JSON.value:
    print(json.dumps([dataclasses.asdict(kill) for kill in kills]))
  if not all(kill.is_equal for kill in kills):
    raise SystemExit(1)


if __name__ == "__main__":
  app.run(main)
