"""Adapters of peft (LoRA): a model's weights with an adapter's updates added.

A folder of peft has adapter_config.json, which names the base model, and
adapter_model.safetensors: for the module X of the base, A [rank, in] as
"base_model.model.X.lora_A.weight" and B [out, rank] as
"base_model.model.X.lora_B.weight". The weight is then W + scale B A.
"""

import dataclasses
import math
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
_UPDATE = re.compile(r"(?P<module>.+)\.lora_(?P<part>[AB])\.weight")
# Fields of adapter_config.json that change what an adapter computes, and the
# values with which it is W + scale B A.
_PLAIN: Mapping[str, tuple[Any, ...]] = {
  "peft_type": ("LORA",),
  "bias": ("none", None),
  "modules_to_save": (None, []),
  "target_parameters": (None, []),
  "trainable_token_indices": (None, [], {}),
  "layer_replication": (None, []),
  "use_dora": (False, None),
  "use_qalora": (False, None),
  "use_bdlora": (False, None),
  "lora_bias": (False, None),
  "alora_invocation_tokens": (None, []),
}


@dataclasses.dataclass(frozen=True)
class Update:
  """Update of one weight.

  Attributes:
    names: names of A and B among the adapter's tensors.
    scale: factor of their product.
    transposed: whether the base keeps this weight as [in, out].
  """

  names: tuple[str, str]
  scale: float
  transposed: bool


class Adapted(Mapping[str, np.ndarray]):
  """Tensors of a base model, the weights of an adapter's modules updated."""

  def __init__(
    self,
    base: Mapping[str, np.ndarray],
    adapter: Mapping[str, np.ndarray],
    updates: Mapping[str, Update],
  ):
    """Keep all three; `updates` are by the weight's name."""
    self._base, self._adapter, self._updates = base, adapter, updates

  def __getitem__(self, name: str) -> np.ndarray:
    weight = self._base[name]
    update = self._updates.get(name)
    if update is None:
      return weight
    a, b = (np.asarray(self._adapter[x], np.float32) for x in update.names)
    change = update.scale * (b @ a)
    change = change.T if update.transposed else change
    if change.shape != weight.shape:
      raise ValueError(
        f"tensors {' and '.join(update.names)} make an update of the shape "
        f"{change.shape}; {name} has {weight.shape}"
      )
    return np.asarray(weight, np.float32) + change

  def __contains__(self, name: object) -> bool:
    return name in self._base

  def __iter__(self) -> Iterator[str]:
    return iter(self._base)

  def __len__(self) -> int:
    return len(self._base)


def is_adapter(path: pathlib.Path) -> bool:
  """Return whether a path is a folder of peft."""
  return (path / CONFIG).is_file()


def check(path: pathlib.Path, config: Mapping[str, Any]) -> None:
  """Raise ValueError for an adapter that is not W + scale B A.

  Args:
    path: folder, for messages.
    config: content of adapter_config.json.
  """
  for field, values in _PLAIN.items():
    if field in config and config[field] not in values:
      raise ValueError(
        f"{path}/{CONFIG}: {field} must be {values[0]!r} for an adapter that is"
        f" read; got {config[field]!r:.80}. Merge it with peft's"
        " merge_and_unload, and save the model"
      )


def updates(
  config: Mapping[str, Any],
  names: Iterator[str] | tuple[str, ...],
  base: Mapping[str, np.ndarray],
  wrappers: tuple[str, ...],
) -> dict[str, Update]:
  """Return the update of each weight that an adapter changes, by its name.

  Args:
    config: content of adapter_config.json.
    names: names of the adapter's tensors.
    base: the base model's tensors.
    wrappers: prefixes that the base's names may have lost.

  Raises:
    ValueError: a tensor is of no update, or of a weight that the base lacks.
  """
  parts: dict[str, dict[str, str]] = {}
  for name in names:
    match = _UPDATE.fullmatch(name)
    if not match:
      raise ValueError(
        f"tensor {name} is no part of a low-rank update: expected "
        f"{PREFIX}MODULE.lora_A.weight and lora_B.weight"
      )
    parts.setdefault(match["module"], {})[match["part"]] = name
  if not parts:
    raise ValueError("the adapter has no tensor")
  made = {}
  for module, sides in parts.items():
    if len(sides) < 2:
      (name,) = sides.values()
      raise ValueError(f"tensor {name} has no other half, lora_A or lora_B")
    weight = _weight_of(module, base, wrappers)
    made[weight] = Update(
      (sides["A"], sides["B"]),
      _scale(config, module),
      bool(config.get("fan_in_fan_out")),
    )
  return made


def _weight_of(
  module: str, base: Mapping[str, np.ndarray], wrappers: tuple[str, ...]
) -> str:
  """Return the name of a module's weight in the base."""
  name = f"{module}.weight"
  while name not in base:
    prefix = next((x for x in wrappers if name.startswith(x)), "")
    if not prefix:
      raise ValueError(
        f"the adapter updates {module}, whose weight the base model lacks"
      )
    name = name.removeprefix(prefix)
  return name


def _scale(config: Mapping[str, Any], module: str) -> float:
  """Return alpha / rank, or alpha / sqrt(rank) with use_rslora."""
  rank = _by_pattern(config, "rank_pattern", "r", module)
  alpha = _by_pattern(config, "alpha_pattern", "lora_alpha", module)
  return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _by_pattern(
  config: Mapping[str, Any], patterns: str, default: str, module: str
) -> float:
  """Return a number that a pattern of the module's name may override."""
  module = module.removeprefix(PREFIX)
  for pattern, value in (config.get(patterns) or {}).items():
    # peft matches a pattern with the end of a name, from a dot on.
    if re.match(rf"(.*\.)?({pattern})$", module):
      return float(value)
  return float(config[default])
