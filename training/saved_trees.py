"""Train states as the trees of arrays that a checkpoint holds."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from models import batch_norm
from training import train_state

# Folders of a checkpoint. Parameters have their own, so that inference reads no
# other.
PARAMS = "params"
OPTIMIZER = "optimizer"
EMA = "ema"


def arrays_of(state: train_state.TrainState) -> dict[str, Any]:
  """Return the trees of a checkpoint, by the folder that each is saved in."""
  # Statistics are saved with the parameters, as inference reads that folder
  # alone. Orbax wants the optimizer's state in the form that it had when they
  # were parameters: with a gap in the place of each.
  gaps = jax.tree.map(lambda _: optax.MaskedNode(), state.stats)
  opt_state = _map_moments(
    lambda tree: batch_norm.join(tree, gaps), state.opt_state, state.params
  )
  arrays = {
    PARAMS: state.variables,
    OPTIMIZER: {"step": state.step, "opt_state": opt_state},
  }
  return arrays | ({EMA: state.ema} if state.ema else {})


def state_of(arrays: dict[str, Any]) -> train_state.TrainState:
  """Return the state of `arrays_of`."""
  params, stats = batch_norm.split(arrays[PARAMS])
  optimizer = arrays[OPTIMIZER]
  return train_state.TrainState(
    step=optimizer["step"],
    params=params,
    opt_state=_map_moments(
      lambda tree: batch_norm.split(tree)[0], optimizer["opt_state"], params
    ),
    stats=stats,
    ema=arrays.get(EMA, {}),
  )


def _map_moments(
  fn: Callable[[Any], Any], opt_state: Any, params: dict[str, Any]
) -> Any:
  """Return `opt_state` with fn(tree) for each tree that is like `params`."""

  def is_like_params(tree: Any) -> bool:
    return isinstance(tree, dict) and tree.keys() == params.keys()

  return jax.tree.map(
    lambda x: fn(x) if is_like_params(x) else x,
    opt_state,
    is_leaf=is_like_params,
  )


def digest(tree: Any) -> str:
  """Return a hash of all arrays' bits, the same on every mesh."""
  sums = jax.device_get(_bit_sums(jax.tree.leaves(tree)))
  text = json.dumps([int(x) for x in sums])
  return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@jax.jit
def _bit_sums(arrays: list[jax.Array]) -> list[jax.Array]:
  """Sum each array's bits as integers modulo 2 ** 32."""

  def bit_sum(x: jax.Array) -> jax.Array:
    unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[x.dtype.itemsize]
    bits = jax.lax.bitcast_convert_type(x, unsigned)
    return jnp.sum(bits.astype(jnp.uint32), dtype=jnp.uint32)

  return [bit_sum(x) for x in arrays]
