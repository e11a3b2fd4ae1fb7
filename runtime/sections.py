"""Sections of a config as frozen dataclasses, with checked types of fields."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from runtime import checks


def make(
  cls: type, values: Mapping[str, Any], *, prefix: str = "", see: str
) -> Any:
  """Return the dataclass `cls` of a section's values.

  Args:
    cls: dataclass whose fields may be dataclasses, tuples and mappings of them;
      of a union of dataclasses, the one whose first field, a Literal, has the
      section's value is selected.
    values: values of a ConfigDict or a JSON file.
    prefix: prefix of the fields' names in messages, such as "steps.NAME.".
    see: file that explains the fields, for messages.

  Raises:
    ValueError: fields that are missing and have no default, that are unknown,
      or of the wrong type; within checks.collected(), fields of a wrong type
      stay as they are.
  """
  hints = typing.get_type_hints(cls)
  # dataclasses.fields, since hints also has class variables.
  types_of = {f.name: hints[f.name] for f in dataclasses.fields(cls)}
  # A field that older versions did not have says what they did.
  absent = {
    field.name
    for field in dataclasses.fields(cls)
    if field.name not in values
    and not (
      field.default is dataclasses.MISSING
      and field.default_factory is dataclasses.MISSING
    )
  }
  missing = [
    f"{prefix}{name}" for name in types_of if name not in {*values, *absent}
  ]
  unknown = [f"{prefix}{name}" for name in values if name not in types_of]
  if len(missing) == len(types_of) > 1:
    raise ValueError(
      f"{prefix.removesuffix('.') or 'The config'} is of another kind: "
      f"expected {', '.join(list(types_of)[:3])}, ... as in {see}; got "
      f"{', '.join(list(values)[:3]) or 'none'}, ..."
    )
  made = {name: values[name] for name in types_of if name in values}
  with checks.collected():
    if missing or unknown:
      parts = []
      if missing:
        parts.append(f"lacks {', '.join(missing)}")
      if unknown:
        parts.append(f"has unknown {', '.join(unknown)}")
      checks.refuse(f"The config {' and '.join(parts)}; see {see}")
    for name in made:
      with checks.collected():
        made[name] = _value(
          types_of[name], values[name], f"{prefix}{name}", see
        )
    return cls(**made)


def flat(
  values: Mapping[str, Any], separator: str = ".", prefix: str = ""
) -> dict[str, Any]:
  """Return the leaves of nested mappings by path: {"model.image.depth": 12}."""
  leaves = {}
  for name, value in values.items():
    if isinstance(value, Mapping):
      leaves |= flat(value, separator, f"{prefix}{name}{separator}")
    else:
      leaves[f"{prefix}{name}"] = value
  return leaves


def _value(kind: Any, value: Any, name: str, see: str) -> Any:
  if isinstance(kind, types.UnionType):  # may admit None
    members = tuple(filter(dataclasses.is_dataclass, typing.get_args(kind)))
    if len(members) == 1:  # a section that older configs lack
      if value is None:
        return None
      kind = members[0]
    elif members:
      kind = _selected(members, value, name)
  if dataclasses.is_dataclass(kind):
    if not isinstance(value, Mapping):
      raise ValueError(f"{name} must be a section; got {value!r}")
    return make(typing.cast(type, kind), value, prefix=f"{name}.", see=see)
  if kind is float and type(value) is int:
    return float(value)
  if typing.get_origin(kind) is tuple:
    return _tuple(typing.get_args(kind), value, name, see)
  if typing.get_origin(kind) is Mapping:
    if not isinstance(value, Mapping):
      raise ValueError(f"{name} must be a section; got {value!r}")
    (_, kind) = typing.get_args(kind)
    return {
      key: _value(kind, v, f"{name}.{key}", see) for key, v in value.items()
    }
  if kind is Any or isinstance(kind, types.UnionType):
    return value
  if typing.get_origin(kind) is typing.Literal:
    return value  # checked when it selected the section's dataclass
  # Not isinstance, for which a bool is an int.
  if type(value) is not kind:
    raise ValueError(
      f"{name} must be of type {kind.__name__}; got {value!r}"
      f" ({type(value).__name__})"
    )
  return value


def _selected(members: tuple[Any, ...], value: Any, name: str) -> Any:
  """Return the dataclass whose first field's Literal is the section's."""
  field = dataclasses.fields(members[0])[0].name
  by_literal = {
    typing.get_args(typing.get_type_hints(kind)[field])[0]: kind
    for kind in members
  }
  if not isinstance(value, Mapping):
    raise ValueError(f"{name} must be a section; got {value!r}")
  checks.one_of(f"{name}.{field}", value.get(field, ""), by_literal)
  return by_literal[value[field]]


def _tuple(
  kinds: tuple[Any, ...], value: Any, name: str, see: str
) -> tuple[Any, ...]:
  if not isinstance(value, list | tuple):
    if not isinstance(value, str) or kinds[1:] != (Ellipsis,):
      raise ValueError(f"{name} must be a tuple; got {value!r}")
    checks.refuse(f"{name} must be a tuple; got {value!r}, not ({value!r},)")
    value = (value,)  # later checks see one item, not letters
  if len(kinds) == 2 and kinds[1] is Ellipsis:
    kinds = (kinds[0],) * len(value)
  if len(kinds) != len(value):
    raise ValueError(
      f"{name} must have {len(kinds)} items; got {len(value)}: {value!r}"
    )
  return tuple(
    _value(kind, item, f"{name}[{index}]", see)
    for index, (kind, item) in enumerate(zip(kinds, value, strict=True))
  )
