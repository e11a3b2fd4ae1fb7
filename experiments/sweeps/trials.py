"""Trials of a sweep: changes of a config, checked, each named by their hash."""

import ast
import collections
import dataclasses
import hashlib
import itertools
import json
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from experiments.sweeps import study
from runtime import failures

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
_OPEN, _CLOSED = "([{", ")]}"
_ID_LENGTH = 10
# Problems that a message shows.
_NUM_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Trial:
  """One trial.

  Attributes:
    changes: config field -> value; in a chain, the field begins with the name
      of its task.
    steps: training steps that it plans, 0 where no config has any.
    evaluates_every: steps between its evaluations, 0 for the last one alone.
  """

  changes: Mapping[str, Any]
  steps: int = 0
  evaluates_every: int = 0

  @property
  def id(self) -> str:
    """Hash of the changes, whatever their order."""
    text = json.dumps(dict(self.changes), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_LENGTH]

  @property
  def title(self) -> str:
    """Changes in one line."""
    return " ".join(f"{k}={text_of(v)}" for k, v in self.changes.items())


@dataclasses.dataclass(frozen=True)
class Base:
  """Flags that all trials share, and what reads them.

  Attributes:
    chain: tasks of each trial.
    parse: words of a command line with --config and its fields -> fields.
    check: raises where fields cannot be used.
    may_change: whether a config field may change when a sweep goes on.
    is_chain: whether tasks have folders of their own in the trial's.
  """

  chain: tuple[study.Task, ...]
  parse: Callable[[Sequence[str]], Any]
  check: Callable[[Any], None]
  may_change: Callable[[str], bool] = lambda field: False
  is_chain: bool = False

  def config_words(self, task: study.Task) -> list[str]:
    """Return a task's flags of its config."""
    return [x for x in task.flags if re.match(r"--config(\.[^=]+)?=", x)]

  def folder(self, root: pathlib.Path, trial: Trial, name: str) -> pathlib.Path:
    """Return the folder of a trial's task."""
    folder = root / trial.id
    return folder / name if self.is_chain else folder

  def commands(self, root: pathlib.Path, trial: Trial) -> dict[str, list[str]]:
    """Return task name -> flags of main.py."""
    folders = {
      task.name: str(self.folder(root, trial, task.name)) for task in self.chain
    }
    return {
      task.name: [
        *(_filled(word, folders) for word in task.flags),
        *(
          f"--config.{field}={text_of(value)}"
          for field, value in self.changes_of(task, trial.changes).items()
        ),
      ]
      for task in self.chain
    }

  def changes_of(
    self, task: study.Task, changes: Mapping[str, Any]
  ) -> dict[str, Any]:
    """Return the changes of a task's config, by its own fields."""
    if not self.is_chain:
      return dict(changes)
    prefix = f"{task.name}."
    return {
      field.removeprefix(prefix): value
      for field, value in changes.items()
      if field.startswith(prefix)
    }

  def task_of(self, field: str) -> study.Task:
    """Return the task that a field belongs to; ValueError for none."""
    if not self.is_chain:
      return self.chain[0]
    for task in self.chain:
      if field.startswith(f"{task.name}."):
        return task
    names = ", ".join(f"{task.name}." for task in self.chain)
    raise ValueError(f"{field} must begin with a task of CHAIN: {names}")


def text_of(value: Any) -> str:
  """Return a value as the flag of a config field takes it.

  >>> text_of((1, "a")), text_of(True), text_of(1e-3)
  ("(1, 'a')", 'true', '0.001')
  """
  if isinstance(value, bool):
    return str(value).lower()
  if isinstance(value, str):
    return value
  if isinstance(value, list):
    value = tuple(value)
  return repr(value)


def split(text: str) -> list[str]:
  """Split at commas that are in no bracket and no quotes.

  >>> split("(1,2),'a,b',3")
  ['(1,2)', "'a,b'", '3']

  Raises:
    ValueError: a bracket or quote is not closed, or a value is empty.
  """
  parts, depth, quote = [""], 0, ""
  for char in text:
    if quote:
      quote = "" if char == quote else quote
    elif char in "'\"":
      quote = char
    elif char == "," and not depth:
      parts.append("")
      continue
    depth += 0 if quote else (char in _OPEN) - (char in _CLOSED)
    parts[-1] += char
    if depth < 0:
      break
  if depth or quote:
    raise ValueError(f"brackets and quotes must be closed; got {text!r}")
  if not all(part.strip() for part in parts):
    raise ValueError(f"values must be separated by one comma; got {text!r}")
  return [part.strip() for part in parts]


def expand(text: str, *, like: Any) -> list[str]:
  """Return the values of --sweep.FIELD as texts.

  Args:
    text: values separated by commas; FIRST..LAST, both included, for a number.
    like: value of the field in the config.

  Raises:
    ValueError: the text has no values.
  """
  values = []
  for part in split(text):
    match = _RANGE.fullmatch(part)
    if isinstance(like, str):
      is_quoted = len(part) > 1 and part[0] == part[-1] and part[0] in "'\""
      values.append(part[1:-1] if is_quoted else part)
    elif match:
      first, last = int(match[1]), int(match[2])
      if first > last:
        raise ValueError(f"FIRST..LAST must not fall; got {part}")
      values += map(str, range(first, last + 1))
    else:
      values.append(part)
  return values


def of_flags(flags: Mapping[str, str], base: Base) -> list[study.Changes]:
  """Return the product of --sweep.FIELD=VALUES, as texts.

  Raises:
    RunError: a field is not in the config, or its values cannot be read.
  """
  problems, lists = [], []
  for field, text in flags.items():
    try:
      values = expand(text, like=_value(base, field))
      for value in values:
        _value(base, field, value)
      lists.append([{field: value} for value in dict.fromkeys(values)])
    except Exception as error:
      problems.append(f"--sweep.{field}: {failures.of_parsing(error)}")
  _raise(problems)
  return [
    {field: value for change in row for field, value in change.items()}
    for row in itertools.product(*lists)
  ]


def resolve(
  changes: Iterable[Mapping[str, Any]], base: Base, origin: str
) -> list[Trial]:
  """Return the trials of changes: values parsed by the config, all checked.

  A trial that stands in the list before is left out.

  Args:
    changes: field -> value, or text of a value.
    base: what they change.
    origin: "--sweep." or "--study=FILE: ", to begin messages with.

  Raises:
    RunError: fields or values that cannot be used; the message names them.
  """
  problems: list[str] = []
  known: dict[tuple[str, str], Any] = {}
  trials: dict[str, Trial] = {}
  for change in changes:
    parsed = {}
    for field, value in change.items():
      key = (field, text_of(value))
      if key not in known:
        try:
          known[key] = _value(base, *key)
        except Exception as error:
          problems.append(
            f"{origin}{field}={key[1]}: {failures.of_parsing(error)}"
          )
          known[key] = None
      parsed[field] = known[key]
    trial = Trial(parsed)
    trials.setdefault(trial.id, trial)
  _raise(problems)
  counts: collections.Counter[str] = collections.Counter()
  checked = [_checked(trial, base, counts) for trial in trials.values()]
  _raise([f"{x} (in {n} of {len(trials)} trials)" for x, n in counts.items()])
  return checked


def matches(trial: Trial, state: str, terms: Sequence[str]) -> bool:
  """Return whether a trial has one of the ids, and all values, of a filter.

  Args:
    trial: one trial.
    state: its state.
    terms: beginnings of ids; FIELD=VALUE; state=STATE.
  """
  ids = [term for term in terms if "=" not in term]
  if ids and not trial.id.startswith(tuple(ids)):
    return False
  for term in terms:
    field, equals, text = term.partition("=")
    if equals:
      value = {"state": state, **trial.changes}.get(field)
      if text != text_of(value) and _literal(text) != value:
        return False
  return True


def check_filter(terms: Sequence[str], trials: Sequence[Trial]) -> None:
  """Raise RunError for a field of a filter that no trial changes."""
  fields = dict.fromkeys(field for t in trials for field in t.changes)
  for term in terms:
    field, equals, _ = term.partition("=")
    if equals and field not in ("state", *fields):
      raise failures.RunError(
        f"--filter must name one of state, {', '.join(fields)}; got {field!r}"
      )


def _literal(text: str) -> Any:
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text


def _checked(
  trial: Trial, base: Base, problems: collections.Counter[str]
) -> Trial:
  """Return the trial with its steps; count problems of its fields."""
  steps = every = 0
  for task in base.chain:
    words = base.config_words(task)
    if not words:
      continue
    try:
      value = base.parse(
        [*words, *_words(base.changes_of(task, trial.changes))]
      )
      if "total_steps" in value:
        steps, every = value.total_steps, value.evaluate.every_steps
      base.check(value)
    except Exception as error:
      text = failures.describe(error) or failures.of_parsing(error)
      lines = [line.strip() for line in text.splitlines()]
      problems.update(x for x in lines if not re.fullmatch(r"\d+ problems:", x))
  return dataclasses.replace(trial, steps=steps, evaluates_every=every)


def _value(base: Base, field: str, text: str | None = None) -> Any:
  """Return a field's value, as the config has it or with another one's text."""
  task = base.task_of(field)
  words = base.config_words(task)
  if not words:
    raise ValueError(f"task {task.name} of CHAIN has no --config to change")
  name = field.removeprefix(f"{task.name}.") if base.is_chain else field
  extra = [] if text is None else [f"--config.{name}={text}"]
  value = base.parse([*words, *extra])
  for part in name.split("."):
    value = value[part]
  to_dict = getattr(value, "to_dict", None)
  return to_dict() if to_dict else value


def _words(changes: Mapping[str, Any]) -> list[str]:
  return [f"--config.{field}={text_of(v)}" for field, v in changes.items()]


def _filled(word: str, folders: Mapping[str, str]) -> str:
  for name, folder in folders.items():
    word = word.replace(f"{{{name}}}", folder)
  return word


def _raise(problems: Sequence[str]) -> None:
  lines = list(dict.fromkeys(problems))
  if len(lines) == 1:
    raise failures.RunError(lines[0])
  if lines:
    more = len(lines) - _NUM_SHOWN
    shown = lines[:_NUM_SHOWN] + ([f"and {more} more"] if more > 0 else [])
    raise failures.RunError(f"{len(lines)} problems:\n  " + "\n  ".join(shown))
