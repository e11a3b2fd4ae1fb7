"""Config of --task=curate as frozen dataclasses, checked."""

import dataclasses
import pathlib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from curation import operators, pools, rules
from curation import pool as pool_lib
from input_pipeline.sources import columns as columns_lib
from input_pipeline.storage import files
from runtime import checks, sections

_SEE = "configs/curate/fields.py"
# Columns that no step may make.
_OWN = ("uid", "row", "step", "caption", "fault", "dropped_by")


@dataclasses.dataclass(frozen=True)
class Recipe:
  """Parameters of a curation.

  Attributes:
    pool: location and columns of the pairs.
    cache_dir: folder for indices and models.
    max_attempts: highest number of attempts at a shard that fails.
    steps: name -> operator, in the order in which they run.
    max_failed_shards: share of the shards that may be left out because all
      attempts failed.
    report_shares: whether the report shows the shares of languages, places and
      demographic terms.
  """

  pool: pool_lib.PoolConfig
  cache_dir: str
  max_attempts: int
  steps: Mapping[str, operators.Operator]
  max_failed_shards: float = 0.0
  report_shares: bool = True


@checks.collected()
def checked(
  values: Mapping[str, Any], *others: Callable[[Recipe], None]
) -> Recipe:
  """Return the recipe of a config's values.

  Args:
    values: fields of a config.
    others: further checks, whose problems are named with those of the values.

  Raises:
    ValueError: fields are unknown or values bad; the message names all.
  """
  fields = (
    *("pool", "cache_dir", "max_attempts", "max_failed_shards"),
    *("order", "steps"),
  )
  added = ("report_shares",)  # recipes of older versions lack it
  unknown = [name for name in values if name not in (*fields, *added)]
  missing = [name for name in fields if name not in values]
  if len(missing) == len(fields):
    raise ValueError(
      "--config is no recipe of --task=curate: expected one of "
      "configs/curate/*.py, with the fields "
      f"{', '.join(fields)}; it has {', '.join(list(values)[:3])}, ..."
    )
  if unknown or missing:
    raise ValueError(
      f"--config is no recipe of --task=curate: expected {', '.join(fields)}; "
      f"missing {missing}, unknown {unknown}. See {_SEE}"
    )
  recipe = Recipe(
    pool=sections.make(
      pool_lib.PoolConfig, values["pool"], prefix="pool.", see=_SEE
    ),
    cache_dir=values["cache_dir"],
    max_attempts=values["max_attempts"],
    max_failed_shards=float(values["max_failed_shards"]),
    steps=_steps(values["order"], values["steps"]),
    report_shares=values.get("report_shares", True),
  )
  checks.one_of("pool.format", recipe.pool.format, pools.FORMATS)
  checks.at_least("max_attempts", recipe.max_attempts, 1)
  checks.in_range("max_failed_shards", recipe.max_failed_shards, 0, 1)
  for name, step in recipe.steps.items():
    with checks.collected():
      step.check(f"steps.{name}")
  check_signals(recipe.steps)
  for name, step in recipe.steps.items():
    for path in step.files():
      if "://" not in path and not pathlib.Path(path).exists():
        checks.refuse(f"steps.{name}: there is no {path}")
  for other in others:
    with checks.collected():
      other(recipe)
  return recipe


def check_paths(recipe: Recipe) -> None:
  """Raise ValueError where the pool's path on this disk is not there."""
  files.check_local(recipe.pool.path, "pool.path")


def check_signals(steps: Mapping[str, operators.Operator]) -> None:
  """Raise ValueError if two steps make a signal of the same name."""
  makers: dict[str, str] = {}
  for name, step in steps.items():
    for signal in step.signals:
      if signal in _OWN:
        checks.refuse(
          f"steps.{name} makes a signal {signal!r}, a name that is reserved; "
          f"expected none of {', '.join(_OWN)}"
        )
      if signal in makers:
        checks.refuse(
          f"steps.{makers[signal]} and steps.{name} both make the signal "
          f"{signal!r}; expected names that differ"
        )
      makers[signal] = name


@checks.collected()
def check_columns(
  steps: Mapping[str, operators.Operator], pool_columns: Collection[str]
) -> None:
  """Raise ValueError if a step reads a column that does not exist before it."""
  makers = {signal: name for name in steps for signal in steps[name].signals}
  known = {"uid", "row", *pool_columns}
  # These reductions measure before the first step runs.
  for name, step in steps.items():
    if isinstance(step, operators.Reduction) and step.measures_raw:
      _check_reads(name, step.measured, known, {}, steps)
  for name, step in steps.items():
    reads = tuple(step.columns)
    if isinstance(step, operators.Reduction) and not step.measures_raw:
      reads = (*step.measured, *reads)
    if isinstance(step, operators.MeshFilter):
      reads = (*reads, *step.fetched)
    _check_reads(name, reads, known, makers, steps)
    known |= set(step.signals)


def _check_reads(
  name: str,
  reads: Iterable[str],
  known: Collection[str],
  makers: Mapping[str, str],
  order: Iterable[str],
) -> None:
  for column in reads:
    if column in known:
      continue
    if column in makers:
      checks.refuse(
        f"steps.{name} reads {column}, which steps.{makers[column]} makes: "
        f"put {makers[column]!r} before {name!r} in order; it is "
        f"{', '.join(order)}"
      )
      continue
    names = sorted(set(known) - {"uid", "row"})
    addresses = [x for x in names if x.lower() in columns_lib.ADDRESSES]
    advice = ""
    if column in ("image", "width", "height") and addresses:
      advice = f"; pool.image=('{addresses[0]}',) fetches images from there"
    checks.refuse(
      f"steps.{name} reads {column}, which pool.path's files do not have; they "
      f"have {', '.join(names) or 'none'}{advice}"
    )


def _steps(
  order: tuple[str, ...], values: Mapping[str, Mapping[str, Any]]
) -> dict[str, operators.Operator]:
  """Return the operators of the steps that are in `order`."""
  steps: dict[str, operators.Operator] = {}
  for name in order:
    with checks.collected():
      if name not in values:
        raise ValueError(
          f"order names {name!r}, which is not among the steps "
          f"{', '.join(values)}"
        )
      if name in steps:
        raise ValueError(f"order names {name!r} twice")
      fields = dict(values[name])
      op = fields.pop("op", "")
      checks.one_of(f"steps.{name}.op", op, rules.OPERATORS)
      steps[name] = sections.make(
        rules.OPERATORS[op], fields, prefix=f"steps.{name}.", see=_SEE
      )
  return steps
