"""Read the settings of transformers' json files."""

import json
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from models.pretrained import opening

Tower = TypeVar("Tower")
# hidden_act there, key of models.layers.ACTIVATIONS here.
ACTIVATIONS: Mapping[str, str] = types.MappingProxyType(
  {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
  }
)
# The same, to be written.
WRITTEN: Mapping[str, str] = types.MappingProxyType(
  {
    "gelu": "gelu",
    "gelu_tanh": "gelu_pytorch_tanh",
    "quick_gelu": "quick_gelu",
  }
)


def activation(config: Mapping[str, Any], section: str = "config.json") -> str:
  """Return the key of models.layers.ACTIVATIONS for hidden_act."""
  expect(config, section, "hidden_act", *ACTIVATIONS)
  return ACTIVATIONS[config["hidden_act"]]


def expect(
  config: Mapping[str, Any], section: str, field: str, *allowed: Any
) -> None:
  """Raise ValueError where a field changes the function to one not known."""
  if config[field] not in allowed:
    raise ValueError(
      f"{section}: {field} must be one of"
      f" {', '.join(repr(x) for x in allowed)}; got {config[field]!r}"
    )


def integer(config: Mapping[str, Any], section: str, field: str) -> int:
  """Return a size, which files may give twice, as [height, width]."""
  value = config[field]
  if isinstance(value, list | tuple) and len({*value}) == 1:
    value = value[0]
  if type(value) is not int or value < 1:
    raise ValueError(
      f"{section}: {field} must be an integer of at least 1 (two only where"
      f" equal); got {config[field]!r}"
    )
  return value


def beside(found: opening.PublishedFiles, name: str) -> Any:
  """Return the content of a JSON file beside the weights, {} without it."""
  path = found.folder / name
  return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def as_tower(section: str, tower: Any, *kinds: type[Tower]) -> Tower:
  """Return a tower's config where it is of a kind that the format can hold.

  Raises:
    ValueError: it is another tower.
  """
  if not isinstance(tower, kinds):
    names = [typing.get_type_hints(kind)["tower"] for kind in kinds]
    expected = ", ".join(typing.get_args(name)[0] for name in names)
    raise ValueError(
      f"{section}.tower must be one of {expected} for these weights; got"
      f" {tower.tower}"
    )
  return tower


def refuse_others(
  section: str, tower: Any, fields: Mapping[str, Any] | None
) -> None:
  """Raise ValueError where a format cannot express a tower.

  Args:
    section: of the config, for the message.
    tower: its config, or None.
    fields: what its fields must be; None: there must be no tower.
  """
  if (tower is None) != (fields is None):
    raise ValueError(
      f"{section} must be {'None' if fields is None else 'a tower'} in this"
      f" format; got {'None' if tower is None else tower.tower}"
    )
  for field, wanted in (fields or {}).items():
    got = getattr(tower, field, None)
    if got != wanted:
      raise ValueError(
        f"{section}.{field} must be {wanted!r} in this format; got {got!r}"
      )
