"""A curation's configuration as frozen dataclasses, checked."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from curation import operators, steps
from training import sections

_SEE = "configs/curation.py"


@dataclasses.dataclass(frozen=True)
class PoolConfig:
  """Fields of `config.pool`; configs/curation.py explains them."""

  format: str
  path: str
  image: tuple[str, ...]
  caption: tuple[str, ...]
  language: str
  language_field: str
  uid: str


@dataclasses.dataclass(frozen=True)
class Recipe:
  """A curation.

  Attributes:
    pool: where the pairs are.
    cache_dir: for indices and models.
    max_attempts: of a shard that fails.
    steps: name -> operator, in the order in which they are taken.
  """

  pool: PoolConfig
  cache_dir: str
  max_attempts: int
  steps: Mapping[str, operators.Operator]


def checked(values: Mapping[str, Any]) -> Recipe:
  """Return the recipe of a config's values.

  Raises:
    ValueError: a field or value that cannot be used; the message names it.
  """
  fields = ("pool", "cache_dir", "max_attempts", "order", "steps")
  unknown = [name for name in values if name not in fields]
  missing = [name for name in fields if name not in values]
  if unknown or missing:
    raise ValueError(
      f"--config is no recipe of --task=curate: expected {', '.join(fields)}; "
      f"missing {missing}, unknown {unknown}. See {_SEE}"
    )
  recipe = Recipe(
    pool=sections.make(PoolConfig, values["pool"], prefix="pool.", see=_SEE),
    cache_dir=values["cache_dir"],
    max_attempts=values["max_attempts"],
    steps=_steps(values["order"], values["steps"]),
  )
  if recipe.max_attempts < 1:
    raise ValueError(
      f"max_attempts must be at least 1; got {recipe.max_attempts}"
    )
  for name, step in recipe.steps.items():
    step.check(f"steps.{name}")
  check_signals(recipe.steps)
  for name, step in recipe.steps.items():
    for path in step.files():
      if "://" not in path and not pathlib.Path(path).exists():
        raise ValueError(f"steps.{name}: there is no {path}")
  return recipe


def check_signals(found: Mapping[str, operators.Operator]) -> None:
  """Raise ValueError where two steps make a signal of the same name."""
  makers: dict[str, str] = {}
  for name, step in found.items():
    for signal in step.signals:
      if signal in makers:
        raise ValueError(
          f"steps.{makers[signal]} and steps.{name} both make the signal "
          f"{signal!r}; expected names that differ"
        )
      makers[signal] = name


def _steps(
  order: tuple[str, ...], values: Mapping[str, Mapping[str, Any]]
) -> dict[str, operators.Operator]:
  """Return the operators of the steps that are in `order`."""
  found: dict[str, operators.Operator] = {}
  for name in order:
    if name not in values:
      raise ValueError(
        f"order names {name!r}, which is not among the steps "
        f"{', '.join(values)}"
      )
    if name in found:
      raise ValueError(f"order names {name!r} twice")
    fields = dict(values[name])
    op = fields.pop("op", "")
    if op not in steps.OPERATORS:
      raise ValueError(
        f"steps.{name}.op must be one of {', '.join(steps.OPERATORS)}; got "
        f"{op!r}"
      )
    found[name] = sections.make(
      steps.OPERATORS[op], fields, prefix=f"steps.{name}.", see=_SEE
    )
  return found
