"""negCLIPLoss: cosine of a pair, less its log-sum-exp with others of a batch.

Wang et al. (arXiv 2405.19547), whose s-CLIPLoss is the same. For pair i in a
batch of B pairs, with temperature T,

  s_i = cos_ii - T/2 (log sum_j exp(cos_ij / T) + log sum_j exp(cos_ji / T))

and the score of a pair is the mean of its s_i in several random batches. The
[B, B] cosines are computed in blocks on the mesh and never stored as a whole.
Shape letters are those of losses/ring.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import P

from evaluators import embedding
from losses import products, softmax
from losses import ring as ring_lib
from runtime import mesh as mesh_lib

# Highest number of texts whose cosines with a device's images are in memory.
_BLOCK = 2048
# Logit of padding, as in losses/softmax.py: finite, and its exponential is 0.
_PADDING = -1e30


def reference(
  zimg_BE: np.ndarray, ztxt_BE: np.ndarray, temperature: float
) -> np.ndarray:
  """Return float64 s_B of a batch, from the whole matrix."""
  logits_BB = zimg_BE.astype(np.float64) @ ztxt_BE.astype(np.float64).T
  logits_BB /= temperature
  rows_B = np.logaddexp.reduce(logits_BB, axis=1)
  columns_B = np.logaddexp.reduce(logits_BB, axis=0)
  return temperature * (np.diag(logits_BB) - (rows_B + columns_B) / 2)


def scores(
  zimg_BE: np.ndarray,
  ztxt_BE: np.ndarray,
  temperature: float,
  mesh: jax.sharding.Mesh,
  *,
  padded: int,
) -> np.ndarray:
  """Return float32 s_B of a batch.

  Args:
    zimg_BE: float16 or float32, rows of length 1.
    ztxt_BE: float16 or float32, rows of length 1.
    temperature: positive number.
    mesh: devices that share the images.
    padded: number of rows that the batch is padded to, so that one program
      serves batches of almost one size.
  """
  num_rows = len(zimg_BE)
  shards = mesh_lib.num_batch_shards(mesh)
  size = -(-max(padded, num_rows) // shards) * shards
  sharding = mesh_lib.batch_sharding(mesh)

  def put(rows: np.ndarray) -> jax.Array:
    filled = np.zeros((size, *rows.shape[1:]), rows.dtype)
    filled[:num_rows] = rows
    return embedding.to_global(filled, sharding)

  is_row_B = np.ones(num_rows, bool)
  s_B = _scores(
    put(zimg_BE), put(ztxt_BE), put(is_row_B), np.float32(1 / temperature), mesh
  )
  return jax.device_get(s_B)[:num_rows]


@functools.partial(jax.jit, static_argnames=("mesh",))
def _scores(zimg_BE, ztxt_BE, is_row_B, scale, mesh):
  axes = mesh_lib.BATCH_AXES
  ring = ring_lib.Ring(axes, _BLOCK)

  def on_device(zimg_bE, ztxt_bE, is_row_b, scale):
    zimg_bE = zimg_bE.astype(jnp.float32)
    ztxt_bE = ztxt_bE.astype(jnp.float32)
    zero = jnp.float32(0)

    def visit(by_row, block):
      is_text_t = block.sent["is_row"]
      if block.is_row_t is not None:
        is_text_t &= block.is_row_t
      logits_bt = products.logits(zimg_bE, block.sent["ztxt"], scale, zero)
      logits_bt = jnp.where(is_row_b[:, None] & is_text_t, logits_bt, _PADDING)
      by_column = softmax.add_exp(block.collected, logits_bt, 0)
      return softmax.add_exp(by_row, logits_bt, 1), by_column

    zeros_b = jnp.zeros_like(zimg_bE[:, 0])
    nothing = (zeros_b - jnp.inf, zeros_b)
    sent = {"ztxt": ztxt_bE, "is_row": is_row_b}
    by_row, by_column = ring.tour(visit, nothing, sent, nothing)
    log_row_b, log_column_b = (
      largest_b + jnp.log(sum_b) for largest_b, sum_b in (by_row, by_column)
    )
    own_b = jnp.sum(zimg_bE * ztxt_bE, axis=1)
    return own_b - (log_row_b + log_column_b) / (2 * scale)

  s_B = jax.shard_map(
    on_device,
    mesh=mesh,
    in_specs=(P(axes), P(axes), P(axes), P()),
    out_specs=P(axes),
  )(zimg_BE, ztxt_BE, is_row_B, scale)
  # Replicated, so that each process can read all of it.
  return jax.lax.with_sharding_constraint(s_B, mesh_lib.replicated(mesh))
