"""NormSim: p-norm of an image's cosines with the images of a target task.

Wang et al. (arXiv 2405.19547): p is infinite (the largest cosine) or 2 (their
variance alignment score, VAS).
Shape letters: R targets, r of one block, b images, E embedding.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import P

from evaluators import embedding
from losses import products
from runtime import mesh as mesh_lib

# Targets that images are compared with at once, on a device.
_BLOCK = 4096


def reference(z_NE: np.ndarray, z_RE: np.ndarray, norm: str) -> np.ndarray:
  """Return float64 [N], from the whole matrix."""
  cosine_NR = z_NE.astype(np.float64) @ z_RE.astype(np.float64).T
  if norm == "inf":
    return cosine_NR.max(axis=1)
  return np.sqrt((cosine_NR**2).sum(axis=1))


class Targets:
  """Target images on the devices of a mesh, to compare others with."""

  def __init__(self, z_RE: np.ndarray, norm: str, mesh: jax.sharding.Mesh):
    """Put targets on devices.

    Args:
      z_RE: float16 or float32, rows of length 1; may be a memory map.
      norm: "inf" or "2".
      mesh: devices; with "inf" they share the targets.
    """
    self._mesh = mesh
    self._is_max = norm == "inf"
    if self._is_max:
      shards = mesh_lib.num_batch_shards(mesh)
      size = min(_BLOCK, -(-len(z_RE) // shards))
      num_blocks = -(-len(z_RE) // (size * shards)) * shards
      # Copies of one target as padding do not change the largest cosine.
      filled = np.empty((num_blocks * size, z_RE.shape[1]), z_RE.dtype)
      filled[: len(z_RE)], filled[len(z_RE) :] = z_RE, z_RE[0]
      self._on_devices = embedding.to_global(
        filled.reshape(num_blocks, size, -1),
        mesh_lib.batch_sharding(mesh),
      )
    else:
      # The sum of squares is z' (sum of r r') z for any number of targets r.
      gram_EE = np.zeros((z_RE.shape[1],) * 2)
      for start in range(0, len(z_RE), _BLOCK):
        part = z_RE[start : start + _BLOCK].astype(np.float64)
        gram_EE += part.T @ part
      self._on_devices = embedding.to_global(
        gram_EE.astype(np.float32), mesh_lib.replicated(mesh)
      )

  def compare(self, z_NE: np.ndarray, batch_size: int) -> np.ndarray:
    """Return float32 [N] of images, float16 or float32 [N, E]."""
    scores = [np.zeros(0, np.float32)]
    for start in range(0, len(z_NE), batch_size):
      rows = z_NE[start : start + batch_size]
      filled = np.zeros((batch_size, z_NE.shape[1]), np.float32)
      filled[: len(rows)] = rows
      fn = _largest if self._is_max else _norm_2
      z_bE = embedding.to_global(filled, mesh_lib.replicated(self._mesh))
      result = fn(z_bE, self._on_devices, self._mesh)
      scores.append(jax.device_get(result)[: len(rows)])
    return np.concatenate(scores)


@functools.partial(jax.jit, static_argnames=("mesh",))
def _largest(z_bE, blocks_rE, mesh):
  axes = mesh_lib.BATCH_AXES

  def on_device(z_bE, blocks_rE):
    def step(largest_b, block_rE):
      cosine_br = products.einsum(
        "bE,rE->br", z_bE, block_rE.astype(jnp.float32)
      )
      return jnp.maximum(largest_b, cosine_br.max(axis=1)), None

    # The start is computed from a device's own blocks, so that it varies over
    # devices as the result of a step does.
    start_b = products.einsum(
      "bE,E->b", z_bE, blocks_rE[0, 0].astype(jnp.float32)
    )
    largest_b, _ = jax.lax.scan(step, start_b, blocks_rE)
    return jax.lax.pmax(largest_b, axes)

  return jax.shard_map(
    on_device, mesh=mesh, in_specs=(P(), P(axes)), out_specs=P()
  )(z_bE, blocks_rE)


@functools.partial(jax.jit, static_argnames=("mesh",))
def _norm_2(z_bE, gram_EE, mesh):
  del mesh  # every device computes all of it: it is little
  moved_bE = products.einsum("bE,EF->bF", z_bE, gram_EE)
  # Rounding may leave a sum of squares a hair below 0.
  return jnp.sqrt(jnp.maximum(jnp.sum(moved_bE * z_bE, axis=1), 0))
