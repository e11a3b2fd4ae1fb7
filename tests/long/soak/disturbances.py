"""Disturbances of a job, and the lines of its log that must tell of each."""

import contextlib
import dataclasses
import pathlib
import random
import re
import signal
import time
from collections.abc import Callable

from runtime.storage import bucket_path, objects
from tests import bucket_emulators as emulators
from tests.long.soak import job as job_lib

# Exit codes after which a scheduler starts the same command again.
REQUEUE = (75, 143)
_STOPPED_SECONDS = 60.0
# The other processes must end in this time: the machine may be loaded.
_NOTICE_SECONDS = 240.0
_LOST = (
  r"process \d of 2 ended or cannot be reached"
  # Without process 0, JAX may be faster to end a process, in C++.
  r"|Terminating process because the JAX distributed service"
)
_RESUMED = r"Resuming from the checkpoint of step \d+"
_BLOCK = 1 << 16
# Files of a checkpoint without which it is restored to the same bits.
_UNREAD = re.compile(
  r"commit_success\.txt$|/_sharding$|/array_metadatas/"
  r"|/ocdbt\.process_\d+/manifest\.ocdbt$"
)


@dataclasses.dataclass
class Scene:
  """Everything that a disturbance may touch.

  Attributes:
    job: under test; its newest attempt runs.
    rng: of all that is drawn.
    store: "s3", "gs" or "disk".
    proxy: before the emulator, None on a disk.
    disk: small file system of temporary files.
    is_starting: whether the attempt may not have joined or resumed yet.
    tick: called while a disturbance lasts.
  """

  job: job_lib.Job
  rng: random.Random
  store: str
  proxy: emulators.Proxy | None
  disk: pathlib.Path
  is_starting: bool
  tick: Callable[[], None]

  @property
  def attempt(self) -> job_lib.Attempt:
    return self.job.attempts[-1]

  def pause(self, seconds: float, *, while_running: bool = False) -> None:
    """Wait, for as long as the attempt runs where asked to."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
      self.tick()
      if while_running and not self.attempt.is_running():
        return
      time.sleep(0.2)


@dataclasses.dataclass
class Outcome:
  """A disturbance, as it went.

  Attributes:
    detail: what was done, in words.
    here: patterns that this attempt's log must have from then on.
    later: patterns that the log of a later attempt must have.
    problems: what should not have happened.
    codes: exit codes of the processes; None for those that go on.
  """

  detail: str
  here: list[str] = dataclasses.field(default_factory=list)
  later: list[str] = dataclasses.field(default_factory=list)
  problems: list[str] = dataclasses.field(default_factory=list)
  codes: list[int | None] = dataclasses.field(default_factory=list)


def _end_all(
  scene: Scene, outcome: Outcome, allowed: tuple[int, ...], *, alone: bool
) -> None:
  """Wait for the end of the attempt, which must come by itself if `alone`.

  Args:
    scene: of the disturbance.
    outcome: its problems are added to.
    allowed: exit codes, beside those of a signal that was sent.
    alone: whether no scheduler may help. Processes that have not met cannot
      notice that one is lost, and are ended as a scheduler does.
  """
  attempt = scene.attempt
  if not attempt.wait(_NOTICE_SECONDS if alone else 30.0):
    if alone:
      outcome.problems.append(
        f"still running {_NOTICE_SECONDS:.0f} s later: {attempt.codes()}"
      )
    attempt.send(signal.SIGTERM)
    if not attempt.wait(30.0):
      attempt.kill()
    allowed += (-signal.SIGTERM, -signal.SIGKILL, 143, 75, 1)
  outcome.codes = attempt.codes()
  wrong = [code for code in outcome.codes if code not in allowed]
  if wrong:
    outcome.problems.append(f"exit codes {outcome.codes}, expected {allowed}")
  if "Traceback" in attempt.text() and not scene.is_starting:
    outcome.problems.append("a traceback")


def kill_one(scene: Scene) -> Outcome:
  """SIGKILL of one process; the others must notice."""
  attempt = scene.attempt
  victim = scene.rng.randrange(len(attempt.processes))
  attempt.send(signal.SIGKILL, victim)
  outcome = Outcome(f"SIGKILL of process {victim} of {len(attempt.processes)}")
  _end_all(
    scene,
    outcome,
    (-signal.SIGKILL, 1, -signal.SIGABRT),
    alone=not scene.is_starting,
  )
  if len(attempt.processes) > 1 and not scene.is_starting:
    outcome.here = [_LOST]
  outcome.later = [_RESUMED]
  return outcome


def kill_all(scene: Scene) -> Outcome:
  """SIGKILL of all processes, as by a machine that loses power."""
  scene.attempt.send(signal.SIGKILL)
  outcome = Outcome("SIGKILL of all processes", later=[_RESUMED])
  _end_all(scene, outcome, (-signal.SIGKILL,), alone=True)
  return outcome


def terminate(scene: Scene) -> Outcome:
  """SIGTERM of one process or all, as before a preemption."""
  attempt = scene.attempt
  indices = list(range(len(attempt.processes)))
  if scene.rng.random() < 0.5:
    indices = [scene.rng.choice(indices)]
  attempt.send(signal.SIGTERM, *indices)
  outcome = Outcome(f"SIGTERM of processes {indices}", later=[_RESUMED])
  allowed = (75,)
  if scene.is_starting:  # as the kernel ends a process that still imports
    allowed += (143, -signal.SIGTERM)
  else:
    outcome.here = [r"SIGTERM: saved step \d+"]
  _end_all(scene, outcome, allowed, alone=not scene.is_starting)
  return outcome


def stop(scene: Scene) -> Outcome:
  """SIGSTOP of one process for a minute: a machine that does not answer."""
  attempt = scene.attempt
  victim = scene.rng.randrange(len(attempt.processes))
  step = attempt.step()
  attempt.send(signal.SIGSTOP, victim)
  scene.pause(_STOPPED_SECONDS)
  attempt.send(signal.SIGCONT, victim)
  outcome = Outcome(f"SIGSTOP of process {victim} for a minute")
  deadline = time.monotonic() + 2 * _NOTICE_SECONDS
  while attempt.is_running() and attempt.step() <= step + 1:
    scene.pause(0.5)
    if time.monotonic() > deadline:
      outcome.problems.append("neither a step nor an end after it went on")
      attempt.kill()
  if attempt.is_running():
    outcome.detail += f"; went on from step {step}"
    outcome.here = [r"No step ended for \d+ s: a process was stopped"]
  else:
    outcome.detail += "; the run ended"
    outcome.here, outcome.later = [_LOST], [_RESUMED]
    _end_all(scene, outcome, (1, -signal.SIGABRT, 75, 143), alone=True)
  return outcome


def fill_disk(scene: Scene) -> Outcome:
  """Fill the disk of temporary files (the run's, where it lies on a disk)."""
  left = scene.rng.choice([0, 4096, 65536])
  filler = scene.disk / "filler"
  _fill(filler, left)
  outcome = Outcome(f"full disk, {left} bytes left")
  saved = max(scene.job.steps(), default=0)
  deadline = time.monotonic() + _NOTICE_SECONDS
  while scene.attempt.is_running() and time.monotonic() < deadline:
    scene.pause(2.0)
    # An uploaded checkpoint leaves space.
    _fill(filler, left)
    # One step may have been written before.
    if sum(step > saved for step in scene.job.steps()) > 1:
      break
  if scene.attempt.is_running():
    outcome.detail += "; the run went on"
    if scene.store != "gs":  # which needs no disk but for events
      outcome.problems.append("a checkpoint needs the disk that is full")
  else:
    outcome.here = [r"error: .*(The disk is full|No space left)"]
    _end_all(scene, outcome, (1, -signal.SIGABRT), alone=True)
    outcome.later = [_RESUMED]
  filler.unlink()
  return outcome


def _fill(filler: pathlib.Path, left: int) -> None:
  """Make a file as large as its disk allows, less `left` bytes."""
  with open(filler, "ab", buffering=0) as file:
    with contextlib.suppress(OSError):
      while True:
        file.write(b"\1" * _BLOCK)
    with contextlib.suppress(OSError):
      while True:
        file.write(b"\1")
    file.truncate(max(0, file.tell() - left))


def bucket_errors(scene: Scene) -> Outcome:
  """Errors, silence or lost replies of the bucket."""
  proxy = scene.proxy
  assert proxy is not None
  mode = scene.rng.choice(["503", "503", "lost", "silent"])
  # As long as two heartbeats of a lease, and less than all tries.
  seconds = scene.rng.uniform(12, 25)
  before = proxy.num_disturbed
  proxy.mode = mode
  scene.pause(seconds, while_running=True)
  proxy.mode = "pass"
  num = proxy.num_disturbed - before
  outcome = Outcome(f"bucket: {mode} for {seconds:.0f} s, {num} requests")
  if not num:
    outcome.problems.append("no request came in this time")
  scene.pause(5.0, while_running=True)
  if scene.attempt.is_running():
    # The clients of gs:// try again by themselves, as does S3's after a loss.
    if not scene.is_starting and scene.store == "s3" and mode == "503":
      outcome.here = [r"trying again|was not renewed"]
  else:
    outcome.here, outcome.later = [r"error: .*://"], [_RESUMED]
    _end_all(scene, outcome, (1,), alone=True)
  return outcome


def corrupt(scene: Scene) -> Outcome:
  """Change or delete a file of the newest checkpoint while nothing runs."""
  scene.attempt.kill()
  newest = scene.job.steps()[-1]
  folder = scene.job.workdir / "checkpoints" / str(newest)
  names = _files(folder)
  name = scene.rng.choice(sorted(names))
  way = scene.rng.choice(["changed", "deleted", "cut short"])
  path = folder / name
  data = bytearray(path.read_bytes())
  if way == "deleted" or not data:
    path.unlink()
  else:
    if way == "changed":
      for _ in range(8):
        data[scene.rng.randrange(len(data))] ^= scene.rng.randrange(1, 256)
    else:
      del data[len(data) // 2 :]
    path.write_bytes(bytes(data))
  outcome = Outcome(f"step {newest}: {name} {way}", codes=scene.attempt.codes())
  outcome.later = [rf"Checkpoint of step {newest} is not usable", _RESUMED]
  return outcome


def _files(folder: pathlib.Path) -> list[str]:
  """Return the files of a checkpoint that a resumed run reads."""
  if isinstance(folder, bucket_path.BucketPath):
    names = list(objects.sizes(str(folder)))
  else:
    names = [
      str(path.relative_to(folder))
      for path in folder.rglob("*")
      if path.is_file()
    ]
  return [name for name in names if not _UNREAD.search(name)]


def processes(scene: Scene) -> Outcome:
  """SIGTERM, and another number of processes for the same devices."""
  scene.attempt.send(signal.SIGTERM)
  before, after = scene.job.num_processes, 3 - scene.job.num_processes
  outcome = Outcome(
    f"{before} processes, then {after}",
    here=[r"SIGTERM: saved step \d+"],
    later=[rf"saved with mesh .*; processes {before}; now", _RESUMED],
  )
  _end_all(scene, outcome, (75,), alone=True)
  scene.job.num_processes = after
  return outcome


def clock(scene: Scene) -> Outcome:
  """Let the clock of one process or all jump, and back a while later."""
  indices = list(range(len(scene.attempt.processes)))
  if scene.rng.random() < 0.5:
    indices = [0]
  seconds = scene.rng.choice([-86400, -3600, -120, 120, 3600, 86400])
  for index in indices:
    scene.job.clock(index).write_text(f"{seconds:+d}")
  scene.pause(20.0, while_running=True)
  for index in indices:
    scene.job.clock(index).write_text("+0")
  scene.pause(10.0, while_running=True)
  outcome = Outcome(
    f"clock of processes {indices}: {seconds:+d} s, and back",
    here=[rf"clock jumped by \{seconds:+d}"],
    codes=scene.attempt.codes(),
  )
  if not scene.attempt.is_running():
    outcome.problems.append(f"the run ended: {scene.attempt.codes()}")
  return outcome


KINDS: dict[str, Callable[[Scene], Outcome]] = {
  "kill one": kill_one,
  "kill all": kill_all,
  "terminate": terminate,
  "stop": stop,
  "full disk": fill_disk,
  "bucket errors": bucket_errors,
  "corrupt": corrupt,
  "processes": processes,
  "clock": clock,
}
# Kinds that may come before an attempt has resumed.
EARLY = ("kill one", "kill all", "terminate", "bucket errors")


def kinds_of(store: str) -> list[str]:
  """Return the kinds that a store can be disturbed with."""
  return [kind for kind in KINDS if store != "disk" or kind != "bucket errors"]


def draw(num: int, store: str, rng: random.Random) -> list[str]:
  """Return kinds in a drawn order, each at least once where `num` allows."""
  kinds = kinds_of(store)
  drawn = rng.sample(kinds, min(num, len(kinds)))
  drawn += rng.choices(kinds, k=num - len(drawn))
  rng.shuffle(drawn)
  return drawn


def lines(text: str, pattern: str) -> list[str]:
  """Return the lines of a log that match."""
  return [line for line in text.splitlines() if re.search(pattern, line)]
