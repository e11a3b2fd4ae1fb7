"""Cuts a recipe's steps into stages, each one pass over the shards.

A stage ends where a step has to know what all shards together gave: its measure
is taken at the end of the stage, and the step itself begins the next one. Steps
that run a model are a stage each, as they run elsewhere, and nothing is
measured in it.
"""

import dataclasses
from collections.abc import Iterator, Mapping

from curation import operators
from input_pipeline.sources import record

# Raised when the form of what a stage writes changes.
_VERSION = 2


@dataclasses.dataclass(frozen=True)
class Stage:
  """One pass.

  Attributes:
    number: 0 for the first.
    steps: names of those that decide in it, in order.
    measures: names of reductions measured on what is left at its end.
    raw_measures: names of those measured on all pairs; of the first stage.
    on_mesh: whether its one step runs a model.
    key: stands for all that its result depends on.
    left_out: shards that are left out of what follows, as they cannot be read;
      known when the stage is done.
  """

  number: int
  steps: tuple[str, ...]
  measures: tuple[str, ...]
  raw_measures: tuple[str, ...]
  on_mesh: bool
  key: str
  left_out: tuple[str, ...] = ()

  @property
  def folder(self) -> str:
    """Return the name of its folder."""
    return f"{self.number:02d}-{self.key}"

  @property
  def suffix(self) -> str:
    """Return what tells apart what all its shards gave from what some did."""
    return f"-{record.digest(self.left_out)[:16]}" if self.left_out else ""


def make(
  steps: Mapping[str, operators.Operator], pool_digest: str
) -> tuple[Stage, ...]:
  """Return the stages of a recipe's steps; at least one."""
  raw = tuple(
    name
    for name, step in steps.items()
    if isinstance(step, operators.Reduction) and step.measures_raw
  )
  stages: list[Stage] = []
  facts: list[object] = [_VERSION, pool_digest]
  for decided, measured in _parts(steps):
    raw_measures = () if stages else raw
    names = (*decided, *measured, *raw_measures)
    facts += [(name, digest(steps[name])) for name in names]
    stages.append(
      Stage(
        number=len(stages),
        steps=decided,
        measures=measured,
        raw_measures=raw_measures,
        on_mesh=any(_on_mesh(steps[name]) for name in decided),
        key=record.digest(tuple(facts))[:16],
      )
    )
  return tuple(stages)


def without(stage: Stage, left_out: tuple[str, ...]) -> Stage:
  """Return a stage that begins with fewer shards: its result is another."""
  if not left_out:
    return stage
  key = record.digest((stage.key, left_out))[:16]
  return dataclasses.replace(stage, key=key)


def digest(step: operators.Operator) -> str:
  """Return what stands for a step: its operator, parameters and files."""
  files = tuple(operators.file_facts(path) for path in step.files())
  return record.digest((type(step).__name__, step.version, repr(step), files))


def _parts(
  steps: Mapping[str, operators.Operator],
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
  """Yield the steps and the measures of each stage."""
  current: list[str] = []
  # Whether the first stage, in which raw measures are taken, is still open.
  is_first = True
  for name, step in steps.items():
    is_reduction = isinstance(step, operators.Reduction)
    measured = (name,) if is_reduction and not step.measures_raw else ()
    if measured and current and _on_mesh(steps[current[-1]]):
      # Other parameters of what measures are no reason to run a model again.
      yield tuple(current), ()
      current = []
    if measured or (is_reduction and is_first):
      yield tuple(current), measured
      current, is_first = [], False
    elif current and (_on_mesh(step) or _on_mesh(steps[current[-1]])):
      yield tuple(current), ()
      current, is_first = [], False
    current.append(name)
  if current or is_first:
    yield tuple(current), ()


def _on_mesh(step: operators.Operator) -> bool:
  return isinstance(step, operators.MeshFilter)
