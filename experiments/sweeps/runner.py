"""Trials run as processes of main.py, several at once, until all have ended.

A trial's process leads a group of its own: it ends with a signal that the sweep
passes on, and goes on where the sweep itself is killed.
"""

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from experiments.sweeps import joining, records, slots
from experiments.sweeps import trials as trials_lib
from runtime import cluster, stopping
from runtime.storage import leases, mirror

# Seconds between two looks at the processes, and at files of metrics.
_LOOK_SECONDS = 0.02
_READ_SECONDS = 0.5
# Pause after files were read, for each second that it took: in a bucket it
# takes long.
_PAUSE = 10.0
# Starts of one trial whose process was asked to end by someone else.
_MOST_STARTS = 3
# Exit codes of processes that were asked to end, by main.py or before it began.
_ASKED = (*stopping.CODES, -signal.SIGTERM, -signal.SIGINT)
METRICS = "metrics.jsonl"


@dataclasses.dataclass
class _Attempt:
  """A trial whose process is running."""

  trial: trials_lib.Trial
  slot: slots.Slot
  claim: contextlib.ExitStack
  files: tuple[int, ...]
  process: subprocess.Popen
  task: str
  began: float
  is_pausing: bool = False
  due: float = 0.0  # time of the next look at its metrics


def _none(count: int) -> Sequence[trials_lib.Trial]:
  del count
  return ()


class Runner:
  """Runs the trials of one sweep.

  Attributes:
    codes: exit code of each trial that ended here.
    is_halted: whether a failure keeps further trials from starting.
  """

  def __init__(
    self,
    copy: mirror.Mirror,
    base: trials_lib.Base,
    *,
    max_parallel: int = 1,
    keep_going: bool = True,
  ):
    self._copy = copy
    self._root = copy.address
    self._base = base
    self._slots = slots.divide(max_parallel)
    self._keep_going = keep_going
    self._running: list[_Attempt] = []
    self._starts: dict[str, int] = {}
    self._said = 0.0
    self._began, self._since = time.monotonic(), records.now()
    self._done_before: float | None = None
    self.codes: dict[str, int] = {}
    self.is_halted = False

  def run(
    self,
    trials: Sequence[trials_lib.Trial],
    *,
    until: int | None = None,
    all_trials: Sequence[trials_lib.Trial] | None = None,
    more: Callable[[int], Sequence[trials_lib.Trial]] = _none,
  ) -> Iterator[trials_lib.Trial]:
    """Run trials in their order; yield each as it ends.

    A trial that is done, or past `until`, is not started. One that another
    sweep runs is waited for.

    Args:
      trials: trials to run.
      until: step to pause the training at; None runs to the end.
      all_trials: trials that the progress line counts; by default `trials`.
      more: function that returns up to so many further trials.

    Raises:
      Stopped: SIGTERM or Ctrl-C; processes have saved their state and ended.
    """
    waiting = list(trials)
    free = list(self._slots)
    counted = trials if all_trials is None else all_trials
    self._done_before = self._done_before or self._units(counted)
    due = 0.0  # time at which trials that others run are tried again
    try:
      while True:
        if len(waiting) < len(free):
          waiting += more(len(free) - len(waiting))
        if not (waiting or self._running):
          return
        elsewhere, start = 0, time.monotonic()
        while start >= due and waiting and free and elsewhere < len(waiting):
          trial = waiting.pop(0)
          if self._is_over(trial, until):
            yield trial
          elif (attempt := self._started(trial, free[0], until)) is None:
            waiting.append(trial)
            elsewhere += 1
          else:
            free.pop(0)
            self._running.append(attempt)
            say(f"{trial.id} starts: {trial.title}")
        if elsewhere:
          due = time.monotonic() + _PAUSE * (time.monotonic() - start)
        for attempt in [*self._running]:
          if self._has_ended(attempt, until):
            self._running.remove(attempt)
            due = 0.0
            free.insert(0, attempt.slot)
            if self._is_again(attempt):
              waiting.append(attempt.trial)
            else:
              yield attempt.trial
              if self.codes[attempt.trial.id] and not self._keep_going:
                self.is_halted = True
                waiting.clear()
                more = _none
        self._progress(counted)
        is_idle = waiting and not self._running
        time.sleep(_READ_SECONDS if elsewhere and is_idle else _LOOK_SECONDS)
    except stopping.Stopped as stop:
      self._end_all(stop)
      raise

  def _is_over(self, trial: trials_lib.Trial, until: int | None) -> bool:
    """Return whether a trial has nothing to do."""
    record = records.read(self._root, trial.id)
    if records.is_done(record, self._base.commands(records.ROOT, trial)):
      return True
    if record["state"] == records.FAILED and record["time"] >= self._since:
      return True  # in this sweep, or one beside it
    return until is not None and self.step(trial) >= until

  def _started(
    self, trial: trials_lib.Trial, slot: slots.Slot, until: int | None
  ) -> _Attempt | None:
    """Claim a trial and start it; None where another sweep has it."""
    with contextlib.ExitStack() as stack:
      claim = records.claim(self._root, trial, self._base)
      files = stack.enter_context(claim)
      if files is None or self._is_over(trial, until):  # done in the meantime
        return None
      commands = self._base.commands(self._root, trial)
      keys = self._base.commands(records.ROOT, trial)
      was = records.read(self._root, trial.id).get("finished", {})
      finished = {}
      for name, words in keys.items():
        if was.get(name) != words:
          break  # what follows is made of it
        finished[name] = words
      if finished == keys:
        records.write(self._root, trial, state=records.DONE, reason="")
        return None
      task = next(name for name in keys if name not in finished)
      process = self._process(trial, commands[task], slot, files)
      records.write(
        self._root,
        trial,
        state=records.RUNNING,
        reason="",
        process=leases.identity(process.pid),
        finished=finished,
        commands=commands,
      )
      return _Attempt(
        trial, slot, stack.pop_all(), files, process, task, time.monotonic()
      )
    raise AssertionError

  def _process(
    self,
    trial: trials_lib.Trial,
    words: Sequence[str],
    slot: slots.Slot,
    files: tuple[int, ...],
  ) -> subprocess.Popen:
    # A value of the user's own wins.
    environment = joining.variables(self._root, trial) | os.environ
    environment |= slot.variables
    path = self._log(trial)
    path.parent.mkdir(parents=True, exist_ok=True)
    self._copy.fetch(path)
    with open(path, "ab") as log, slot.held():
      log.write(f"$ python main.py {' '.join(words)}\n".encode())
      log.flush()
      return subprocess.Popen(
        [*joining.MAIN, *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        pass_fds=files,
        start_new_session=True,
      )

  def _has_ended(self, attempt: _Attempt, until: int | None) -> bool:
    """Note a task's end, and start the next one; False while one runs."""
    trial, code = attempt.trial, attempt.process.poll()
    if code is None:
      if until is not None and not attempt.is_pausing:
        self._pause(attempt, until)
      return False
    seconds = time.monotonic() - attempt.began
    record = records.read(self._root, trial.id)
    seconds += record.get("seconds", 0.0)
    commands = record["commands"]
    finished = dict(record["finished"])
    if code == 0:
      finished[attempt.task] = self._base.commands(records.ROOT, trial)[
        attempt.task
      ]
      left = [name for name in commands if name not in finished]
      if left:
        attempt.task, attempt.began = left[0], time.monotonic()
        attempt.process = self._process(
          trial, commands[left[0]], attempt.slot, attempt.files
        )
        records.write(
          self._root,
          trial,
          finished=finished,
          seconds=seconds,
          process=leases.identity(attempt.process.pid),
        )
        return False
      state, why = records.DONE, ""
    elif attempt.is_pausing and code in _ASKED:
      state, why, code = records.PAUSED, f"at step {self.step(trial)}", 0
    elif code in _ASKED:
      state, why = records.INTERRUPTED, f"exit code {code}"
    else:
      state, why = records.FAILED, records.reason(self._log(trial), code)
      if self._base.is_chain:
        why = f"{attempt.task}: {why}"
    self._copy.push(self._log(trial))
    records.write(
      self._root,
      trial,
      state=state,
      reason=why,
      exit_code=code,
      finished=finished,
      seconds=seconds,
    )
    attempt.claim.close()
    self.codes[trial.id] = code
    say(f"{trial.id} {state}" + (f": {why}" if why else ""))
    return True

  def _is_again(self, attempt: _Attempt) -> bool:
    """Return whether a trial that somebody stopped is started once more."""
    trial = attempt.trial
    # Further processes of the trial have ended with it, and are not started.
    is_alone = cluster.announced()[1] == 1
    if self.codes[trial.id] != stopping.REQUEUE or not is_alone:
      return False
    self._starts[trial.id] = self._starts.get(trial.id, 1) + 1
    return self._starts[trial.id] <= _MOST_STARTS

  def _pause(self, attempt: _Attempt, until: int) -> None:
    start = time.monotonic()
    if start < attempt.due:
      return
    if self.step(attempt.trial) >= until:
      attempt.is_pausing = True
      attempt.process.send_signal(signal.SIGTERM)
    attempt.due = time.monotonic() + _PAUSE * (time.monotonic() - start)

  def _log(self, trial: trials_lib.Trial) -> pathlib.Path:
    """Return the log that a trial's processes write, on this disk."""
    return self._copy.local / trial.id / records.LOG

  def _end_all(self, stop: stopping.Stopped) -> None:
    for attempt in self._running:
      with contextlib.suppress(ProcessLookupError):
        attempt.process.send_signal(signal.SIGTERM)
    for attempt in self._running:
      code = attempt.process.wait()
      state = records.INTERRUPTED
      log = self._log(attempt.trial)
      why = f"exit code {code}"
      if code not in (0, *_ASKED):
        state, why = records.FAILED, records.reason(log, code)
      self._copy.push(log)
      # A code of 0 is found out again by the next start, at no cost.
      records.write(self._root, attempt.trial, state=state, reason=why)
      attempt.claim.close()
    self._running.clear()
    stop.is_kept = True

  def step(self, trial: trials_lib.Trial) -> int:
    """Return the last step in a trial's metrics."""
    folders = (
      self._base.folder(self._root, trial, task.name)
      for task in self._base.chain
    )
    return max(records.last_step(folder / METRICS) for folder in folders)

  def _units(self, trials: Sequence[trials_lib.Trial]) -> float:
    """Return how many trials are done, with parts of those begun."""
    units = 0.0
    for trial in trials:
      state = records.read(self._root, trial.id)["state"]
      if state in (records.DONE, records.FAILED, records.STOPPED):
        units += 1
      elif trial.steps and state != records.WAITING:
        units += min(self.step(trial) / trial.steps, 1.0)
    return units

  def _progress(self, trials: Sequence[trials_lib.Trial]) -> None:
    """Show a line on a terminal each half second, else each half minute."""
    is_terminal = sys.stderr.isatty()
    now = time.monotonic()
    if now - self._said < (_READ_SECONDS if is_terminal else 30.0):
      return
    self._said = now
    line = self._line(trials, now - self._began)
    if is_terminal:
      sys.stderr.write(f"\r\x1b[K{line}")
      sys.stderr.flush()
    else:
      say(line)

  def _line(self, trials: Sequence[trials_lib.Trial], seconds: float) -> str:
    states = [records.read(self._root, trial.id)["state"] for trial in trials]
    counts: Mapping[str, int] = {
      state: states.count(state)
      for state in (records.DONE, records.FAILED, records.STOPPED)
    }
    shown = [f"{counts[records.DONE]}/{len(trials)} trials done"]
    shown += [
      f"{counts[state]} {state}"
      for state in (records.FAILED, records.STOPPED)
      if counts[state]
    ]
    shown += [
      f"{a.trial.id} {a.task} {self.step(a.trial)}/{a.trial.steps}"
      for a in self._running
    ]
    units = self._units(trials)
    new = units - (self._done_before or 0.0)
    if new > 0:
      left = seconds / new * (len(trials) - units)
      minutes, left_seconds = divmod(round(left), 60)
      hours, minutes = divmod(minutes, 60)
      shown.append(f"{hours}:{minutes:02}:{left_seconds:02} left")
    return ", ".join(shown)


def say(text: str) -> None:
  """Print a line to stderr, in place of the progress line."""
  end = "\r\x1b[K" if sys.stderr.isatty() else ""
  print(f"{end}{text}", file=sys.stderr, flush=True)
