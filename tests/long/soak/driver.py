"""Driver of a soak: a scheduler that disturbs the job that it keeps running."""

import dataclasses
import pathlib
import random
import time
from typing import Any

from tests import bucket_emulators as emulators
from tests.long.soak import disturbances
from tests.long.soak import job as job_lib

# Unexpected ends in a row after which the driver gives up.
_MOST_FAILURES = 3
_SHOW_SECONDS = 30.0
# Seconds that a disturbance and the start after it are taken to last.
_SECONDS_EACH = 40.0
# Most seconds that a step is made to last.
_SLOWEST = 5.0
# Seconds without a new checkpoint after which an attempt is taken to hang.
_PATIENCE = 300.0


@dataclasses.dataclass
class Record:
  """One disturbance, and what followed.

  Attributes:
    kind: of disturbances.KINDS.
    outcome: as it went.
    seconds: since the start.
    step: last step in the log before it.
    is_starting: whether it came before the attempt had resumed.
    attempt: number of the attempt that was disturbed.
    since: lengths of its logs at that moment.
    recovered: seconds until a newer checkpoint was whole.
  """

  kind: str
  outcome: disturbances.Outcome
  seconds: float
  step: int
  is_starting: bool
  attempt: int
  since: list[int]
  recovered: float | None = None


@dataclasses.dataclass
class Soak:
  """Runs a job to its end, with disturbances.

  Attributes:
    job, rng, store, proxy, disk: as of `disturbances.Scene`.
    seconds: length that is aimed at.
    total_steps: of the run.
    unexpected: ends of an attempt that no disturbance explains.
  """

  job: job_lib.Job
  rng: random.Random
  store: str
  proxy: emulators.Proxy | None
  disk: pathlib.Path
  seconds: float
  total_steps: int
  unexpected: list[dict[str, Any]] = dataclasses.field(default_factory=list)
  _started: float = dataclasses.field(default_factory=time.monotonic)
  _shown: float = 0.0
  _num_left: int = 0
  _now: str = ""
  # Attempt that a disturbance ended.
  _ended: int | None = None

  def run(self, num: int, kinds: list[str]) -> list[Record]:
    """Disturb until nothing is left to do; return what was done."""
    kinds = kinds or disturbances.draw(num, self.store, self.rng)
    self._started, self._num_left = time.monotonic(), len(kinds)
    self.job.set_pace(0.5)
    records: list[Record] = []
    slot = self.seconds / (len(kinds) + 1)
    for index, kind in enumerate(kinds):
      early = kind in disturbances.EARLY and bool(records)
      early = early and self.rng.random() < 0.25
      delay = self.rng.uniform(0, 8.0 if early else 4.0)
      self._now = f"{index + 1}: {kind}, to come"
      if not self._wait_for_moment(early, delay, index * slot, records):
        break
      scene = disturbances.Scene(
        job=self.job,
        rng=self.rng,
        store=self.store,
        proxy=self.proxy,
        disk=self.disk,
        is_starting=early,
        tick=self._tick,
      )
      attempt = self.job.attempts[-1]
      self._now = f"{index + 1}: {kind}"
      record = Record(
        kind=kind,
        outcome=disturbances.Outcome(""),
        seconds=self.elapsed(),
        step=attempt.step(),
        is_starting=early,
        attempt=attempt.number,
        since=attempt.sizes(),
      )
      record.outcome = disturbances.KINDS[kind](scene)
      records.append(record)
      if not attempt.is_running():
        self._ended = attempt.number
      self._num_left -= 1
      problems = record.outcome.problems
      self._say(
        f"{index + 1:2} {kind} at step {record.step}: {record.outcome.detail};"
        f" codes {record.outcome.codes}"
        + (f"; PROBLEM: {problems}" if problems else "")
      )
    self._now = "to the end"
    self._finish(records)
    return records

  def _wait_for_moment(
    self, early: bool, delay: float, not_before: float, records: list[Record]
  ) -> bool:
    """Wait until a disturbance is due; False where the run is complete.

    Args:
      early: whether it comes before the attempt has resumed.
      delay: seconds after the start, or after a new checkpoint.
      not_before: seconds since the start of the soak.
      records: disturbances so far; the last one's recovery is noted.
    """
    if not early:
      while self.elapsed() < not_before or not self._has_recovered(records):
        if not self._keep_running():
          return False
    elif not self._keep_running():
      return False
    deadline = time.monotonic() + delay
    while time.monotonic() < deadline:
      if not self._keep_running():
        return False
    return True

  def _has_recovered(self, records: list[Record]) -> bool:
    """Return whether a checkpoint was saved since the last disturbance."""
    attempt = self.job.attempts[-1] if self.job.attempts else None
    if attempt is None or not attempt.is_running():
      return False
    least = attempt.first_saved
    if records and records[-1].attempt == attempt.number:
      least = max(least, records[-1].step)
    saved = max(self.job.steps(), default=0) > least
    if saved and records and records[-1].recovered is None:
      records[-1].recovered = self.elapsed() - records[-1].seconds
    return saved

  def _keep_running(self) -> bool:
    """Start the job where it does not run; return whether it is unfinished."""
    self._tick()
    time.sleep(0.3)
    attempt = self.job.attempts[-1] if self.job.attempts else None
    if attempt is not None and attempt.is_running():
      if all(code is None for code in attempt.codes()):
        return True
      attempt.wait(60.0)  # the others notice
      attempt.kill()
    if attempt is not None and set(attempt.codes()) == {0}:
      return False
    if attempt is not None and self._ended != attempt.number:
      tail = attempt.text()[-3000:]
      self.unexpected.append(
        {"attempt": attempt.number, "codes": attempt.codes(), "log": tail}
      )
      self._say(f"UNEXPECTED end, codes {attempt.codes()}: {tail}")
      if len(self.unexpected) >= _MOST_FAILURES:
        raise SystemExit("error: the run ends by itself again and again")
    self.job.start()
    return True

  def _finish(self, records: list[Record]) -> None:
    """Let the run complete."""
    while self._keep_running():
      self._has_recovered(records)

  def elapsed(self) -> float:
    """Return seconds since the start."""
    return time.monotonic() - self._started

  def _tick(self) -> None:
    """Set the pace, and show where the soak stands, now and then."""
    if time.monotonic() - self._shown < _SHOW_SECONDS:
      return
    left = self.seconds - self.elapsed()
    step = self.job.attempts[-1].step() if self.job.attempts else 0
    # Steps must be left for each disturbance.
    wanted = max(left, self._num_left * _SECONDS_EACH, 1.0)
    pace = wanted / max(self.total_steps - step, 1)
    self.job.set_pace(min(pace, _SLOWEST) if self._num_left else 0.0)
    self._say(
      f"step {step}/{self.total_steps}, {self._num_left} disturbances left,"
      f" about {max(left, 0) / 60:.0f} min left; {self._now}"
    )

  def _say(self, text: str) -> None:
    self._shown = time.monotonic()
    minutes, seconds = divmod(round(self.elapsed()), 60)
    print(f"{minutes:02}:{seconds:02}  {text}", flush=True)
