"""Marks of config fields: what a field means beside its value.

A field's type carries its mark: `dropout: marks.Training[float]`. The mark of a
section holds for all fields in it that have none of their own.
"""

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar


@dataclasses.dataclass(frozen=True)
class Mark:
  """Meaning of a config field.

  Attributes:
    may_change: whether a resumed run may have another value: no step's result
      depends on it (but for total_steps, which people do extend).
    is_local: whether processes of one run may have different values.
    embeds: whether two models that differ in it embed differently.
    values: values that --task=plan may try, least recomputation first; the
      first one recomputes nothing.
    cost: order in which planning tries such fields, cheapest in time first.
  """

  may_change: bool = False
  is_local: bool = False
  embeds: bool = True
  values: tuple[Any, ...] = ()
  cost: int = 0


T = TypeVar("T")
# Part of a result: a resumed run has the same value.
Fixed = Annotated[T, Mark()]
# Part of training or of number formats, but not of a trained model.
Training = Annotated[T, Mark(embeds=False)]
# Neither part of a result nor of a model: how often, how long, where.
Free = Annotated[T, Mark(may_change=True, embeds=False)]
# Work on one machine: speed of reading data, copies of figures.
Local = Annotated[T, Mark(may_change=True, is_local=True, embeds=False)]


def recomputes(*values: Any, cost: int) -> Mark:
  """Return the mark of a field that trades time for memory; see `Mark`."""
  return Mark(may_change=True, embeds=False, values=values, cost=cost)


def paths(cls: type) -> Iterator[tuple[str, Mark | None]]:
  """Yield (path, mark) of every field below a config's dataclass.

  Mappings of sections have NAME in their path; a field of several dataclasses
  of a union comes once for each. The mark is None where nothing says it.
  """
  yield from _paths(cls, "", None)


def recomputing(cls: type) -> dict[str, tuple[Any, ...]]:
  """Return path -> values of fields marked by `recomputes`, cheapest first."""
  fields = [(path, mark) for path, mark in paths(cls) if mark and mark.values]
  fields.sort(key=lambda field: field[1].cost)
  return {path: mark.values for path, mark in fields}


def no_recomputation(cls: type) -> dict[str, Any]:
  """Return path -> value of fields marked by `recomputes`: nothing is."""
  return {path: values[0] for path, values in recomputing(cls).items()}


def of(cls: type, path: str) -> Mark:
  """Return the mark of the field at "model.image.depth" below `cls`.

  Raises:
    KeyError: no such field, or no mark.
  """
  kinds: list[Any] = [cls]
  mark = None
  for name in path.split("."):
    members = [m for kind in kinds for m in _sections(kind)]
    if members:
      hints = [_hints(m)[name] for m in members if name in _hints(m)]
    else:
      hints = [h for kind in kinds if (h := _mapped(kind)) is not None]
    if not hints:
      if mark is None:
        raise KeyError(path)
      return mark  # inside a value, as a free form mapping
    marks = [m for hint in hints if (m := _mark(hint)) is not None]
    mark = marks[0] if marks else mark
    kinds = [_bare(hint) for hint in hints]
  if mark is None:
    raise KeyError(f"{path} has no mark (runtime/marks.py)")
  return mark


def _paths(
  cls: type, prefix: str, inherited: Mark | None
) -> Iterator[tuple[str, Mark | None]]:
  for name, hint in _hints(cls).items():
    mark = _mark(hint) or inherited
    kind = _bare(hint)
    below = f"{prefix}{name}."
    if (value := _mapped(kind)) is not None:
      kind, below = _bare(value), f"{below}NAME."
    members = _sections(kind)
    for member in members:
      yield from _paths(member, below, mark)
    if not members:
      yield below.removesuffix("."), mark


def _hints(cls: type) -> dict[str, Any]:
  hints = typing.get_type_hints(cls, include_extras=True)
  return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _mark(hint: Any) -> Mark | None:
  extras = getattr(hint, "__metadata__", ())
  return next((x for x in extras if isinstance(x, Mark)), None)


def _bare(hint: Any) -> Any:
  return typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint


def _mapped(kind: Any) -> Any:
  """Return the type of a Mapping's values, None for another type."""
  if typing.get_origin(kind) is Mapping:
    return typing.get_args(kind)[1]
  return None


def _sections(kind: Any) -> list[type]:
  """Return the dataclasses of a type, which may be a union of them."""
  is_union = isinstance(kind, types.UnionType)
  members = typing.get_args(kind) if is_union else (kind,)
  return [m for m in members if dataclasses.is_dataclass(m)]
