"""Low-rank updates of linear maps (LoRA, arXiv 2106.09685).

A map with kernel W computes x W + (alpha / rank) (x A) B. W is held fixed by
`optimizer.freeze`, and A and B are trained: gradients and optimizer state are
those of rank x (inputs + outputs) numbers a map. B begins at 0, so that the
model begins as its base; A is uniform within 1 / sqrt(inputs), as in peft.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models import layers
from runtime import checks, marks

# Last parts of the parameters' paths, beside the map's "kernel".
NAMES = ("lora_a", "lora_b")


@dataclasses.dataclass(frozen=True)
class LoraConfig:
  """Fields of `config.model.lora`; configs/base.py explains them."""

  rank: marks.Fixed[int] = 0
  alpha: marks.Fixed[float] = 16.0
  maps: marks.Fixed[tuple[str, ...]] = ()

  def check(self) -> None:
    """Raise ValueError for the first field that cannot be used."""
    checks.at_least("model.lora.rank", self.rank, 0)
    if not self.rank:
      return
    checks.above("model.lora.alpha", self.alpha, 0)
    if not self.maps:
      checks.refuse(
        "model.lora.maps must name maps, such as "
        '(r"(img|txt)/blocks/attn/(query|value)",); got ()'
      )

  @property
  def scale(self) -> float:
    """Factor of the update."""
    return self.alpha / self.rank


def is_update(path: str) -> bool:
  """Return whether the path of a parameter is that of A or B."""
  return path.rpartition("/")[2] in NAMES


def add(model: nnx.Module, config: LoraConfig, rngs: nnx.Rngs) -> None:
  """Add A and B to the maps of a model that `config.maps` names.

  Raises:
    ValueError: a name that is of no linear map of the model.
  """
  if not config.rank:
    return
  maps = _maps(model)
  named = set()
  for pattern in config.maps:
    matching = {path for path in maps if re.fullmatch(pattern, path)}
    if not matching:
      raise ValueError(
        f"model.lora.maps: {pattern!r} matches no linear map; got the maps "
        f"{', '.join(maps)}"
      )
    named |= matching
  for path in sorted(named):
    dense = maps[path]
    *stacked, num_in, num_out = dense.kernel.shape
    limit = num_in**-0.5
    down = jax.random.uniform(
      *(rngs.params(), (*stacked, num_in, config.rank)),
      minval=-limit,
      maxval=limit,
    )
    up = jnp.zeros((*stacked, config.rank, num_out))
    # The attributes were None, which is no data.
    dense.lora_a = nnx.data(nnx.Param(down))
    dense.lora_b = nnx.data(nnx.Param(up))
    dense.lora_scale = config.scale


def merged(params: Mapping[str, Any], config: LoraConfig) -> dict[str, Any]:
  """Return parameters whose kernels have the updates added, in float32.

  Args:
    params: nested dict of a model's parameters, arrays of NumPy or JAX.
    config: the model's `lora`.
  """
  made = {}
  for name, value in params.items():
    if isinstance(value, Mapping):
      made[name] = merged(value, config)
    elif name not in NAMES:
      made[name] = value
  if NAMES[0] in params:
    update = jnp.matmul(
      *(params[name] for name in NAMES), precision=jax.lax.Precision.HIGHEST
    )
    made["kernel"] = params["kernel"] + config.scale * update
  return made


def _maps(model: nnx.Module) -> dict[str, layers.Dense]:
  """Return the linear maps of a model by path, such as "img/projection"."""
  return {
    "/".join(map(str, path)): module
    for path, module in nnx.iter_modules(model)
    if isinstance(module, layers.Dense)
  }
