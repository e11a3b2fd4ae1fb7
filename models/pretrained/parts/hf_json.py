"""Readers and checks of the settings in transformers' json files."""

import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from models.pretrained import opening

Tower = TypeVar("Tower")
# From hidden_act in config.json to the key of models.layers.ACTIVATIONS.
ACTIVATIONS: Mapping[str, str] = types.MappingProxyType(
  {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_accurate": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
  }
)
# From the key of models.layers.ACTIVATIONS to the hidden_act that is written.
WRITTEN: Mapping[str, str] = types.MappingProxyType(
  {
    "gelu": "gelu",
    "gelu_tanh": "gelu_pytorch_tanh",
    "quick_gelu": "quick_gelu",
  }
)
# Modules of a layer of CLIP and SigLIP: name here, name in the file.
LAYER: Mapping[str, str] = types.MappingProxyType(
  {
    "attn_norm": "layer_norm1",
    "attn/query": "self_attn.q_proj",
    "attn/key": "self_attn.k_proj",
    "attn/value": "self_attn.v_proj",
    "attn/out": "self_attn.out_proj",
    "mlp_norm": "layer_norm2",
    "mlp/up": "mlp.fc1",
    "mlp/down": "mlp.fc2",
  }
)
# Sizes of a transformer's layers: name in our config, name in config.json.
_SIZES = (
  ("width", "hidden_size"),
  ("depth", "num_hidden_layers"),
  ("num_heads", "num_attention_heads"),
  ("mlp_width", "intermediate_size"),
)


def activation(config: Mapping[str, Any], section: str = "config.json") -> str:
  """Return the key of models.layers.ACTIVATIONS for hidden_act."""
  expect(config, section, "hidden_act", *ACTIVATIONS)
  return ACTIVATIONS[config["hidden_act"]]


def expect(
  config: Mapping[str, Any], section: str, field: str, *allowed: Any
) -> None:
  """Raise ValueError for a field whose value is not one of `allowed`."""
  if config[field] not in allowed:
    raise ValueError(
      f"{section}: {field} must be one of"
      f" {', '.join(repr(x) for x in allowed)}; got {config[field]!r}"
    )


def integer(config: Mapping[str, Any], section: str, field: str) -> int:
  """Return a size; a file may have it as [height, width] with equal values."""
  value = config[field]
  if isinstance(value, list | tuple) and len({*value}) == 1:
    value = value[0]
  if type(value) is not int or value < 1:
    raise ValueError(
      f"{section}: {field} must be an integer of at least 1 (two only where"
      f" equal); got {config[field]!r}"
    )
  return value


def read_layers(config: Mapping[str, Any], section: str) -> dict[str, Any]:
  """Return the fields of a tower's config that describe its layers."""
  return {
    **{ours: integer(config, section, theirs) for ours, theirs in _SIZES},
    "activation": activation(config, section),
    "norm_epsilon": config["layer_norm_eps"],
  }


def written_layers(tower: Any) -> dict[str, Any]:
  """Return the settings that describe the layers of a tower's config."""
  return {
    **{theirs: getattr(tower, ours) for ours, theirs in _SIZES},
    "hidden_act": WRITTEN[tower.activation],
    "layer_norm_eps": tower.norm_epsilon,
  }


def written_labels(count: int) -> dict[str, Any]:
  """Return the settings that name the classes of a classifier."""
  names = [f"LABEL_{index}" for index in range(count)]
  return {
    "id2label": {str(index): name for index, name in enumerate(names)},
    "label2id": {name: index for index, name in enumerate(names)},
  }


def beside(files: opening.PublishedFiles, name: str) -> Any:
  """Return the content of a JSON file beside the weights, {} if missing."""
  path = files.folder / name
  return opening.read_json(path) if path.is_file() else {}


def as_tower(section: str, tower: Any, *kinds: type[Tower]) -> Tower:
  """Return the tower's config, narrowed to one of `kinds`.

  Raises:
    ValueError: the tower is of another kind.
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
  """Raise ValueError for a tower that a format cannot express.

  Args:
    section: section of our config, for the message.
    tower: the tower's config, or None.
    fields: values that the tower's fields must have; None forbids a tower.
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
