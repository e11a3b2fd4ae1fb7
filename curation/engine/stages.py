"""Stages of a recipe: groups of steps, each group one pass over the shards.

A stage ends before a step that depends on all shards (a reduction): the step
is measured at the end of the stage, and decides at the start of the next one.
A step that runs a model is a stage of its own, as it runs on devices; nothing
is measured in that stage.
"""

import dataclasses
from collections.abc import Iterator, Mapping

from curation import operators
from input_pipeline.sources import record

# Version of the files that a stage writes; raised when their form changes.
_VERSION = 2


@dataclasses.dataclass(frozen=True)
class Stage:
  """One pass.

  Attributes:
    number: index of the stage, from 0 on.
    steps: names of the steps that decide in it, in order.
    measures: names of reductions measured on the pairs left at its end.
    raw_measures: names of reductions measured on all pairs; first stage only.
    on_mesh: whether its only step runs a model.
    key: digest of everything that its result depends on.
    left_out: unreadable shards, which later stages leave out; known when the
      stage is done.
  """

  number: int
  steps: tuple[str, ...]
  measures: tuple[str, ...]
  raw_measures: tuple[str, ...]
  on_mesh: bool
  key: str
  left_out: tuple[str, ...] = ()

  @property
  def measured(self) -> tuple[str, ...]:
    """Return the names of all reductions measured in the stage."""
    return (*self.raw_measures, *self.measures)

  @property
  def folder(self) -> str:
    """Return the name of the stage's folder."""
    return f"{self.number:02d}-{self.key}"

  @property
  def suffix(self) -> str:
    """Return the suffix of the state folder: "" if no shard was left out.

    A reduction over fewer shards is thus never taken for one over all.
    """
    return f"-{record.digest(self.left_out)[:16]}" if self.left_out else ""

  @property
  def result_key(self) -> str:
    """Return a key of everything that the pairs left by the stage depend on."""
    return self.key + self.suffix


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
  """Return a stage without some shards; its key, as its result, is another."""
  if not left_out:
    return stage
  key = record.digest((stage.key, left_out))[:16]
  return dataclasses.replace(stage, key=key)


def digest(step: operators.Operator) -> str:
  """Return a digest of a step: its operator, parameters and files."""
  files = tuple(operators.file_facts(path) for path in step.files())
  return record.digest((type(step).__name__, step.version, repr(step), files))


def _parts(
  steps: Mapping[str, operators.Operator],
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
  """Yield the steps and the measures of each stage."""
  current: list[str] = []
  # Whether the first stage, the one with raw measures, is still open.
  is_first = True
  for name, step in steps.items():
    is_reduction = isinstance(step, operators.Reduction)
    measured = (name,) if is_reduction and not step.measures_raw else ()
    if measured and current and _on_mesh(steps[current[-1]]):
      # Other parameters of a reduction must not cause a model to run again.
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
