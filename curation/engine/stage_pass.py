"""One stage over all shards: failed shards are retried, finished ones noted."""

import dataclasses
import functools
import json
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from curation import operators
from curation import pool as pool_lib
from curation.engine import (
  engines,
  failures_file,
  shard_file,
  shard_pass,
  stages,
)
from runtime import failures, processes, progress
from runtime.storage import mirror, strict_json, whole_files

# Number of failures without a success after which the stage is given up.
_NUM_HOPELESS = 16
# Number of tasks from which on a reduction shows progress: tasks are short.
_NUM_SHOWN = 64
_FACTS = "facts.json"


@dataclasses.dataclass
class Pass:
  """Result of a stage.

  Attributes:
    tally: sum over all shards.
    inputs: shard name -> (number of pairs, digest); first stage only.
    left_out: names of shards that failed at every attempt.
    seconds: duration in this process, 0 if the stage was done before.
  """

  tally: shard_file.Tally
  inputs: dict[str, tuple[int, str]]
  left_out: tuple[str, ...]
  seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Tries:
  """Engine, and policy for its failures.

  Attributes:
    engine: runs all work without a model.
    max_attempts: attempts for each task.
    max_failed: number of shards that may be left out.
    failures: ledger of failures.
  """

  engine: engines.Engine
  max_attempts: int
  max_failed: int
  failures: failures_file.Ledger


def run(
  work: shard_pass.Work,
  shards: Sequence[pool_lib.Shard],
  tries: Tries,
  label: str,
) -> Pass:
  """Run a stage over shards.

  Raises:
    RunError: too many shards failed at every attempt, or the disk is full.
  """
  done = work.folder / "done.json"
  work.copy.fetch(done)
  if done.exists():
    print(f"{label}: done before", file=sys.stderr)
    return _read(done)
  work.fetch_stages()
  start = time.monotonic()
  result = Pass(shard_file.Tally(), {}, ())
  for name in work.stage.steps:
    result.tally.count(name, 0, 0)
  num_before = num_rows = 0
  with progress.Progress(f"{label}, shards", len(shards)) as bar:

    def take(number: int, tally: shard_file.Tally) -> None:
      nonlocal num_before, num_rows
      tries.failures.succeeded(work.stage, _names(work.stage), shards[number])
      num_before += not tally.is_new
      num_rows += tally.rows if tally.is_new else 0
      rate = num_rows / max(time.monotonic() - start, 1e-9)
      bar.advance(note=f"{rate:,.0f} pairs/s")
      result.tally.add(tally)
      if not work.stage.number:
        result.inputs[shards[number].name] = (tally.rows, tally.sha256)

    if work.stage.on_mesh:
      tries = dataclasses.replace(tries, engine=engines.Inline())
    broken = _attempts(
      tries,
      functools.partial(shard_pass.run, work),
      shards,
      take,
      lambda number, error: tries.failures.failed(
        work.stage, _names(work.stage), shards[number], error
      ),
    )
  if num_before:
    before = f"{num_before} of {len(shards)} shards done before"
    print(f"{label}: {before}", file=sys.stderr)
  if len(broken) > tries.max_failed:
    number, error = min(broken.items())
    raise failures.RunError(
      f"{len(broken)} of {len(shards)} shards failed {tries.max_attempts} "
      f"times, {shards[number].path} among them: {error}. The others are done. "
      f"{tries.failures.path} lists all; the same command retries them, "
      "config.max_failed_shards is the share that may be left out"
    )
  result.left_out = tuple(sorted(shards[number].name for number in broken))
  result.seconds = time.monotonic() - start
  if not broken:  # done.json would keep the next run from retrying
    _write(work.copy, done, result)
  return result


def reduce(
  work: shard_pass.Work,
  shards: Sequence[pool_lib.Shard],
  name: str,
  tries: Tries,
) -> dict[str, Any]:
  """Compute a reduction's state, whole or not at all; return its facts."""
  step = work.steps[name]
  assert isinstance(step, operators.Reduction)
  folder = work.state_folder(name)
  facts = folder / _FACTS
  work.copy.fetch(facts)
  if facts.exists():
    return json.loads(facts.read_text())
  work.fetch_stages()
  # Sorted, so that the order of the pool's files has no effect.
  parts = sorted(work.part_path(name, shard) for shard in shards)
  folder.parent.mkdir(parents=True, exist_ok=True)
  with work.copy.new_folder(folder, last=_FACTS) as temporary:
    context = operators.StepContext(
      work.workdir,
      work.cache_dir,
      temporary,
      _earlier(work, name),
      functools.partial(_run_shown, tries, work.stage, name),
      work.copy,
    )
    text = strict_json.dumps(step.reduce(parts, context))
    whole_files.write(temporary / _FACTS, text.encode())
  return json.loads(text)


def _earlier(
  work: shard_pass.Work, name: str
) -> tuple[tuple[str, pathlib.Path], ...]:
  """Return (name, state folder) of the reductions before a step.

  A step that measures all pairs (measures_raw) is reduced before earlier steps.
  """
  names = list(work.steps)
  measured = {other for stage in work.stages for other in stage.measured}
  return tuple(
    (other, work.state_folder(other))
    for other in names[: names.index(name)]
    if other in measured
  )


def _run_shown(
  tries: Tries,
  of_stage: stages.Stage,
  name: str,
  fn: Callable[[Any], Any],
  items: Sequence[Any],
) -> list[Any]:
  """Return `run_all`, with a progress bar where there are many tasks."""
  run_fn = functools.partial(run_all, tries, of_stage, name, fn, items)
  if len(items) < _NUM_SHOWN:
    return run_fn()
  with progress.Progress(f"Reducing {name}, tasks", len(items)) as bar:
    return run_fn(bar.advance)


def run_all(
  tries: Tries,
  of_stage: stages.Stage,
  name: str,
  fn: Callable[[Any], Any],
  items: Sequence[Any],
  done: Callable[[], None] = lambda: None,
) -> list[Any]:
  """Return fn(item) of each item, in order.

  Args:
    tries: engine, and policy for its failures.
    of_stage: stage that failures are noted under.
    name: step that failures are noted under, or "signals" or "selection".
    fn: function to run.
    items: arguments of `fn`.
    done: called once for each finished item.

  Raises:
    RunError: an item failed at every attempt.
  """
  results: dict[int, Any] = {}

  def take(number: int, result: Any) -> None:
    results[number] = result
    done()

  broken = _attempts(
    tries,
    fn,
    items,
    take,
    lambda _, error: tries.failures.failed(of_stage, (name,), None, error),
  )
  if broken:
    number, error = min(broken.items())
    if not error.is_users:
      raise error  # a defect: its traceback is wanted
    raise failures.RunError(
      f"{name} failed {tries.max_attempts} times at {items[number]}: {error}. "
      f"{tries.failures.path} tells more; the same command goes on from here"
    )
  tries.failures.succeeded(of_stage, (name,), None)
  return [results[number] for number in range(len(items))]


def _attempts(
  tries: Tries,
  fn: Callable[[Any], Any],
  tasks: Sequence[Any],
  take: Callable[[int, Any], None],
  note: Callable[[int, processes.TaskError], None],
) -> dict[int, processes.TaskError]:
  """Run tasks until none fails; return number -> error of those that never did.

  Args:
    tries: engine, and number of attempts for each task.
    fn: function to run.
    tasks: arguments of `fn`.
    take: called with the number and the result of each finished task.
    note: called with the number and the error of each failure.
  """
  num_done = 0
  pending = list(range(len(tasks)))
  broken: dict[int, processes.TaskError] = {}
  for _ in range(tries.max_attempts):
    # A task whose worker was killed is retried with all memory to itself.
    alone = [n for n in pending if n in broken and broken[n].was_killed]
    is_alone = set(alone)
    together = [n for n in pending if n not in is_alone]
    rounds = [together, *([number] for number in alone)]
    broken = {}
    for numbers in rounds:
      batch = [tasks[number] for number in numbers]
      for index, result in tries.engine.run(fn, batch) if batch else ():
        number = numbers[index]
        if not isinstance(result, Exception):
          take(number, result)
          num_done += 1
          continue
        error = processes.task_error(result)
        if error.disk_is_full:
          raise failures.RunError(engines.DISK_IS_FULL)
        if error.is_final:
          raise failures.RunError(error.message)
        note(number, error)
        broken[number] = error
        if not num_done and len(broken) == _NUM_HOPELESS:
          raise failures.RunError(
            f"The first {_NUM_HOPELESS} of {len(tasks)} tasks all failed: "
            f"{error}"
          )
    pending = sorted(broken)
    if not pending:
      break
  return broken


def _names(of_stage: stages.Stage) -> tuple[str, ...]:
  """Return the names of all steps that a stage runs or measures."""
  return (
    *of_stage.raw_measures,
    *of_stage.steps,
    *(n for n in of_stage.measures if n not in of_stage.steps),
  )


def _write(copy: mirror.Mirror, path: pathlib.Path, result: Pass) -> None:
  fields = {
    "tally": json.loads(result.tally.to_json()),
    "inputs": result.inputs,
    "seconds": result.seconds,
  }
  copy.write(path, strict_json.dumps(fields).encode())


def _read(path: pathlib.Path) -> Pass:
  fields = json.loads(path.read_text())
  tally = shard_file.tally_of_json(json.dumps(fields["tally"]))
  inputs = {name: tuple(facts) for name, facts in fields["inputs"].items()}
  return Pass(tally, inputs, (), fields["seconds"])
