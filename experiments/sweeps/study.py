"""Functions that a study file makes its list of trials with.

A study is a Python file with get_study(), which returns trials: mappings from a
config field to a value. Lists of trials are ordinary lists, so a condition is
an ordinary comprehension:

  from experiments.sweeps import study

  def get_study():
    trials = study.product(
      {"optimizer.learning_rate": [1e-3, 3e-4], "batch_size": [64, 128]}
    )
    trials = [
      trial
      for trial in trials
      if trial["batch_size"] == 128 or trial["optimizer.learning_rate"] < 1e-3
    ]
    return study.seeds(trials, 3)

A trial of several tasks has a CHAIN of `Task` in its file; its fields begin
with the name of their task ("curate.steps.keep.threshold").
"""

import builtins
import dataclasses
import importlib.util
import itertools
import math
import pathlib
import random as random_lib
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runtime import failures

Changes = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Task:
  """One task of a trial that is a chain of them.

  Attributes:
    name: name of its folder in the trial's, and first part of its fields.
    flags: flags of main.py. "{NAME}" in them is the folder of a task of the
      chain: ("--task=train", "--config=FILE", "--workdir={train}",
      "--config.data.sources.main.subset={curate}/selection.npy").
  """

  name: str
  flags: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Range:
  """Numbers from `low` to `high`, to be drawn from."""

  low: float
  high: float
  is_log: bool = False
  is_integer: bool = False


@dataclasses.dataclass(frozen=True)
class Adaptive:
  """Search by Optuna, which chooses a trial by the figures of earlier ones.

  Attributes:
    space: field -> Range, or list of values.
    figure: name of the figure to optimise, as in results.md.
    num_trials: number of trials in all.
    direction: "maximize" or "minimize".
    seed: seed of the sampler.
    sampler: an Optuna sampler; None for its tree-structured Parzen estimator.
  """

  space: Mapping[str, Any]
  figure: str
  num_trials: int
  direction: str = "maximize"
  seed: int = 0
  sampler: Any = None


def product(*parts: Any) -> list[Changes]:
  """Return all combinations of {field: values} and of lists of trials.

  The last field changes fastest.

  >>> product({"a": [1, 2], "b": [3]})
  [{'a': 1, 'b': 3}, {'a': 2, 'b': 3}]
  """
  lists: list[list[Changes]] = []
  for part in parts:
    if isinstance(part, Mapping):
      lists += [[{field: v} for v in values] for field, values in part.items()]
    else:
      lists.append(list(part))
  return [_joined(trials) for trials in itertools.product(*lists)]


def zip(fields: Mapping[str, Sequence[Any]]) -> list[Changes]:
  """Return trials of the fields' first values, their second ones, and so on.

  Raises:
    ValueError: the fields have different numbers of values.
  """
  columns = {field: list(values) for field, values in fields.items()}
  sizes = {field: len(values) for field, values in columns.items()}
  if len(set(sizes.values())) > 1:
    raise ValueError(
      f"fields of zip must have equally many values; got {sizes}"
    )
  return [
    dict(builtins.zip(columns, row, strict=True))
    for row in builtins.zip(*columns.values(), strict=True)
  ]


def random(seed: int, count: int, space: Mapping[str, Any]) -> list[Changes]:
  """Return `count` trials drawn from {field: Range or list of values}."""
  rng = random_lib.Random(seed)
  return [
    {field: _drawn(values, rng) for field, values in space.items()}
    for _ in range(count)
  ]


def seeds(
  trials: Iterable[Mapping[str, Any]],
  values: int | Iterable[int],
  field: str = "seed",
) -> list[Changes]:
  """Return each trial with each seed: 0 to `values` - 1, or those listed."""
  listed = list(range(values)) if isinstance(values, int) else list(values)
  return [{**trial, field: seed} for trial in trials for seed in listed]


def uniform(low: float, high: float) -> Range:
  """Return a range whose numbers are equally likely."""
  return _range(low, high)


def log_uniform(low: float, high: float) -> Range:
  """Return a range whose numbers' logarithms are equally likely."""
  if low <= 0:
    raise ValueError(f"log_uniform must begin above 0; got {low}")
  return _range(low, high, is_log=True)


def integers(low: int, high: int) -> Range:
  """Return a range of whole numbers, both ends included."""
  return _range(low, high, is_integer=True)


def load(path: str) -> tuple[list[Changes] | Adaptive, tuple[Task, ...]]:
  """Return the trials of a study file, and its chain of tasks (may be empty).

  Raises:
    RunError: the file is missing, fails, or yields no trials.
  """
  loaded = module(path)
  if not callable(getattr(loaded, "get_study", None)):
    raise failures.RunError(f"--study={path} must have a function get_study()")
  chain = tuple(getattr(loaded, "CHAIN", ()))
  try:
    made = loaded.get_study()
    if not isinstance(made, Adaptive):
      made = [dict(trial) for trial in made]
  except Exception as error:
    raise _failed(path, error) from error
  if not made:
    raise failures.RunError(f"--study={path} must yield trials; got none")
  return made, chain


def run_minutes(path: str) -> float | None:
  """Return the expected minutes of a run, None where a study has no claim.

  They are those of the STUDY that a study file may have beside its trials
  (experiments/studies/claims.py).

  Raises:
    RunError: the file is missing or fails.
  """
  return getattr(getattr(module(path), "STUDY", None), "run_minutes", None)


def module(path: str) -> types.ModuleType:
  """Return a study file, executed.

  Raises:
    RunError: the file is missing, is no Python file, or fails.
  """
  spec = importlib.util.spec_from_file_location(
    f"study_{pathlib.Path(path).stem}", path
  )
  if not path.endswith(".py") or not pathlib.Path(path).is_file():
    raise failures.RunError(f"--study must be a Python file; got {path}")
  assert spec is not None
  assert spec.loader is not None
  loaded = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(loaded)
  except Exception as error:
    raise _failed(path, error) from error
  return loaded


def _failed(path: str, error: Exception) -> failures.RunError:
  text = " ".join(str(error).split())
  return failures.RunError(f"--study={path}: {type(error).__name__}: {text}")


def _range(low: float, high: float, **kinds: bool) -> Range:
  if not low <= high:
    raise ValueError(f"ranges must end at or above {low}; got {high}")
  return Range(low, high, **kinds)


def _drawn(values: Any, rng: random_lib.Random) -> Any:
  if not isinstance(values, Range):
    return rng.choice(list(values))
  if values.is_integer:
    return rng.randint(int(values.low), int(values.high))
  if values.is_log:
    return math.exp(rng.uniform(math.log(values.low), math.log(values.high)))
  return rng.uniform(values.low, values.high)


def _joined(trials: Iterable[Changes]) -> Changes:
  joined: Changes = {}
  for trial in trials:
    if twice := joined.keys() & trial.keys():
      raise ValueError(f"{sorted(twice)[0]} stands twice in a product")
    joined |= trial
  return joined
