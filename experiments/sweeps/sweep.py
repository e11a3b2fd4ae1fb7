"""A sweep from its flags to its table of results."""

import contextlib
import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from curation import recipe
from experiments.sweeps import (
  adaptive,
  halving,
  joining,
  records,
  results,
  runner,
  study,
)
from experiments.sweeps import trials as trials_lib
from runtime import cluster, failures, marks, stopping
from runtime.storage import bucket_path, mirror, strict_json, unfinished
from training import config as config_lib
from training.comparison import figures as figures_lib

# Pause after results were written, for each second that it took: there may be
# thousands of trials.
_PAUSE = 20.0


@dataclasses.dataclass(frozen=True)
class Settings:
  """Flags of a sweep that are about no trial; tasks/sweep.py explains them."""

  terms: str = ""
  dry_run: bool = False
  keep_going: bool = True
  max_parallel: int = 1
  index: int | None = None
  rungs: halving.Halving | None = None
  as_json: bool = False


def run(
  root: pathlib.Path,
  *,
  config_words: Sequence[str],
  study_path: str,
  fields: Mapping[str, str],
  parse: Callable[[Sequence[str]], Any],
  settings: Settings,
) -> int:
  """Run a sweep; print its table; return the exit code.

  Args:
    root: folder of the sweep.
    config_words: --config and its fields, for all trials.
    study_path: study file; "" for none.
    fields: config field -> text of its values.
    parse: function of words like `config_words` that returns the fields.
    settings: further flags.

  Raises:
    RunError: something about the trials cannot be used; nothing has run.
  """
  made, chain = study.load(study_path) if study_path else ([{}], ())
  base = _base(config_words, chain, parse)
  origin = f"--study={study_path}: " if study_path else "--sweep."
  if isinstance(made, study.Adaptive):
    return _run_adaptive(root, made, base, fields, settings, origin)
  changes = study.product(made, trials_lib.of_flags(fields, base))
  trials = trials_lib.resolve(changes, base, origin)
  if len(trials) < len(changes):
    runner.say(f"{len(changes) - len(trials)} trials stand twice in the list")
  chosen = _chosen(root, trials, base, settings)
  if settings.rungs:
    settings.rungs.check(chosen)
  if settings.dry_run:
    minutes = study.run_minutes(study_path) if study_path else None
    return _show(root, trials, chosen, base, settings, minutes)
  index, number = cluster.announced()
  if number > 1 and (settings.index is None or base.is_chain):
    raise failures.RunError(
      f"a sweep of {number} processes runs one trial that is no chain: give"
      " --index=K; or start one process"
    )
  if index:
    return joining.follow(root, chosen[0], base)
  records.write_list(root, trials, base)
  with mirror.opened(root) as copy:
    runner_ = _runner(copy, base, settings)
    if settings.rungs:
      ended = halving.run(runner_, root, chosen, base, settings.rungs)
    else:
      ended = runner_.run(chosen)
    return _finish(root, trials, chosen, base, ended, settings)


def _base(
  words: Sequence[str],
  chain: tuple[study.Task, ...],
  parse: Callable[[Sequence[str]], Any],
) -> trials_lib.Base:
  """Return what all trials share: the tasks of a chain, or training alone."""
  if bool(chain) == bool(words):
    raise failures.RunError(
      "--config is for a study without a CHAIN, whose tasks have their own"
      if chain
      else "--config is missing: --config=configs/NAME.py"
    )
  if chain:
    return trials_lib.Base(chain, parse, _check_fields, is_chain=True)
  task = study.Task("train", ("--task=train", *words, "--workdir={train}"))
  return trials_lib.Base((task,), parse, _check_run, _may_change)


def _check_fields(value: Any) -> None:
  """Check the fields of a task; earlier tasks make the paths in them."""
  if "steps" in value:
    recipe.checked(value.to_dict())
  elif "optimizer" in value:
    config_lib.checked(value.to_dict())


def _check_run(value: Any) -> None:
  config_lib.checked(value.to_dict(), lambda config: config.check_paths())


def _may_change(field: str) -> bool:
  try:
    return marks.of(config_lib.Config, field).may_change
  except KeyError:
    return False


def _runner(
  copy: mirror.Mirror, base: trials_lib.Base, settings: Settings
) -> runner.Runner:
  return runner.Runner(
    copy,
    base,
    max_parallel=settings.max_parallel,
    keep_going=settings.keep_going,
  )


def _chosen(
  root: pathlib.Path,
  trials: Sequence[trials_lib.Trial],
  base: trials_lib.Base,
  settings: Settings,
) -> list[trials_lib.Trial]:
  """Return the trials that --index and --filter leave."""
  if settings.index is not None:
    if settings.index >= len(trials):
      raise failures.RunError(
        f"--index must be below {len(trials)}, the number of trials; got"
        f" {settings.index}"
      )
    return [trials[settings.index]]
  if not settings.terms:
    return list(trials)
  terms = trials_lib.split(settings.terms)
  trials_lib.check_filter(terms, trials)
  chosen = [
    trial
    for trial in trials
    if trials_lib.matches(trial, records.state(root, trial, base), terms)
  ]
  if not chosen:
    raise failures.RunError(f"--filter={settings.terms} leaves no trial")
  return chosen


def _show(
  root: pathlib.Path,
  trials: Sequence[trials_lib.Trial],
  chosen: Sequence[trials_lib.Trial],
  base: trials_lib.Base,
  settings: Settings,
  minutes: float | None = None,
) -> int:
  """Print the trials that would be run, and their time if a run's is known."""
  numbers = {trial.id: number for number, trial in enumerate(trials)}
  rows = [
    {
      "index": numbers[trial.id],
      "id": trial.id,
      "state": records.state(root, trial, base),
      "steps": trial.steps,
      "changes": trial.changes,
    }
    for trial in chosen
  ]
  if settings.as_json:
    print(strict_json.dumps(rows, indent=2))
    return 0
  fields = list(dict.fromkeys(k for trial in chosen for k in trial.changes))
  print(
    figures_lib.markdown(
      ["index", "trial", "state", "steps", *fields],
      [
        [row["index"], row["id"], row["state"], row["steps"]]
        + [
          trials_lib.text_of(row["changes"][k]) if k in row["changes"] else ""
          for k in fields
        ]
        for row in rows
      ],
    )
  )
  steps = sum(trial.steps for trial in chosen)
  print(f"\n{len(chosen)} trials, {steps:,} steps")
  if minutes is not None:
    left = sum(row["state"] != records.DONE for row in rows)
    print(_time(len(rows), left, minutes, settings.max_parallel))
  return 0


def _time(num_trials: int, num_left: int, minutes: float, at_once: int) -> str:
  """Return the expected time of trials in words.

  >>> _time(24, 24, 2.0, 1)
  '24 trials of 2 minutes as the study expects: 48 minutes'
  """
  text = (
    f"{num_trials} trials of {minutes:g} minutes as the study expects:"
    f" {num_trials * minutes:g} minutes"
  )
  if num_left < num_trials:
    text += f"; {num_left} are left to run: {num_left * minutes:g} minutes"
  if at_once > 1:
    rounds = math.ceil(num_left / at_once)
    text += (
      f"; at --max_parallel={at_once}, {rounds * minutes:g} minutes where a"
      " trial is as fast on its share of the processors"
    )
  return text


def _finish(
  root: pathlib.Path,
  trials: list[trials_lib.Trial],
  chosen: Sequence[trials_lib.Trial],
  base: trials_lib.Base,
  ended: Iterable[trials_lib.Trial],
  settings: Settings,
) -> int:
  """Run `ended` to its end, with results after each trial; print them.

  Args:
    trials: the list, which may grow.
    chosen: trials of this call; of an adaptive search, `trials`.
  """
  due = 0.0
  try:
    for _ in ended:
      start = time.monotonic()
      if start >= due:
        results.write(root, trials, base)
        due = time.monotonic() + _PAUSE * (time.monotonic() - start)
  finally:
    table = results.write(root, trials, base)
  print(
    strict_json.dumps(table, indent=2)
    if settings.as_json
    else results.table(table)
  )
  states = [records.read(root, trial.id)["state"] for trial in chosen]
  failed = states.count(records.FAILED)
  if failed:
    runner.say(
      f"error: {failed} of {len(chosen)} trials failed; the same command runs"
      f" them again. Their output: {root}/ID/{records.LOG}"
    )
    return 1
  if {records.INTERRUPTED, records.RUNNING} & set(states):
    return stopping.REQUEUE
  return 0


def _run_adaptive(
  root: pathlib.Path,
  made: study.Adaptive,
  base: trials_lib.Base,
  fields: Mapping[str, str],
  settings: Settings,
  origin: str,
) -> int:
  for flag, value in (
    ("More than one process", cluster.announced()[1] > 1),
    ("--sweep.FIELD", fields),
    ("--index", settings.index is not None),
    ("--filter", settings.terms),
    ("--rungs", settings.rungs),
  ):
    if value:
      raise failures.RunError(f"{flag} is not used by an adaptive study")
  # The ends of each range, so that nothing is asked for that cannot run.
  corners = [
    {
      field: (values.high if end else values.low)
      if isinstance(values, study.Range)
      else list(values)[0 if end else -1]
      for field, values in made.space.items()
    }
    for end in (False, True)
  ]
  corners = [
    {
      field: int(value)
      if getattr(made.space[field], "is_integer", False)
      else value
      for field, value in corner.items()
    }
    for corner in corners
  ]
  ends = trials_lib.resolve(corners, base, origin)
  if settings.dry_run:
    runner.say(
      f"{made.num_trials} trials, chosen while running; ends of space:"
    )
    return _show(root, ends, ends, base, settings)
  with contextlib.ExitStack() as stack:
    if isinstance(root, bucket_path.BucketPath):
      # On a disk Optuna's journal is for several sweeps at once.
      journal = root / adaptive.IN_BUCKET
      stack.enter_context(unfinished.claim(journal, f"--workdir={root}"))
    copy = stack.enter_context(mirror.opened(root))
    return _search(root, copy, made, base, settings, origin)


def _search(
  root: pathlib.Path,
  copy: mirror.Mirror,
  made: study.Adaptive,
  base: trials_lib.Base,
  settings: Settings,
  origin: str,
) -> int:
  """Run trials that are chosen by the figures of earlier ones."""
  records.write_list(root, [], base)
  search = adaptive.Search(root, made)
  known: dict[str, study.Changes] = {}

  def resolved(changes: study.Changes) -> trials_lib.Trial:
    trial = trials_lib.resolve([changes], base, origin)[0]
    known[trial.id] = changes
    return trial

  trials = [resolved(changes) for changes in search.changes()]

  def more(count: int) -> list[trials_lib.Trial]:
    asked = [resolved(changes) for changes in search.ask(count)]
    trials.extend(
      trial for trial in asked if trial.id not in {t.id for t in trials}
    )
    records.write_list(root, trials, base)
    return asked

  def ended() -> Iterable[trials_lib.Trial]:
    for trial in _runner(copy, base, settings).run(
      [], all_trials=trials, more=more
    ):
      record = records.read(root, trial.id)
      if record["state"] in (records.DONE, records.FAILED):
        search.tell(known[trial.id], _figure(root, trial, base, made))
      yield trial

  return _finish(root, trials, trials, base, ended(), settings)


def _figure(
  root: pathlib.Path,
  trial: trials_lib.Trial,
  base: trials_lib.Base,
  made: study.Adaptive,
) -> float | None:
  if records.read(root, trial.id)["state"] == records.FAILED:
    return None
  figures = results.figures(root, trial, base)
  if made.figure not in figures:
    raise failures.RunError(
      f"figure={made.figure!r} of the study must be one of"
      f" {', '.join(figures) or 'none'}"
    )
  return figures[made.figure]
