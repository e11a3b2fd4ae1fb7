"""Rows of a training step, drawn from the super-batch that it reads.

The model that learns and its teacher embed the super-batch without a gradient,
in parts of at most the rows of a micro-batch, so that no part needs more memory
than the step itself. losses/joint_selection.py draws the rows; the step then
learns from them as from any batch. Both models embed as in evaluation: nothing
is dropped, and statistics are the running ones. Source: ACID (arXiv 2411.18674)
as in SigLIP 2 (arXiv 2502.14786, section 2.5).
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import P

from losses import joint_selection
from models import dual_encoder
from runtime import mesh as mesh_lib
from training import config as config_lib
from training.objectives import gradient_cache

# (variables, the teacher's variables, super-batch, key)
#   -> batch, and {name: float32 scalar}
DrawFn = Callable[[Any, Any, Any, jax.Array], tuple[Any, dict[str, jax.Array]]]
# Most bytes of rows that a device sends at a time.
_MOST_SENT = 64 * 2**20


def make(
  config: config_lib.Config, teacher: dual_encoder.ModelConfig
) -> DrawFn:
  """Return the draws of a config's rows, for the mesh in use.

  The function's metrics are the mean learnability S_ii of the drawn rows,
  "train/learnability", and of all rows, "train/learnability_all".

  Args:
    config: checked, with curating.
    teacher: model of config.curating.teacher.
  """
  learner_fn, teacher_fn = (_embed_fn(x) for x in (config.model, teacher))

  def draw(variables, teacher_variables, batch, key):
    models = [(learner_fn, variables), (teacher_fn, teacher_variables)]
    num_rows = config.batch_size // config.num_microbatches
    parts = num_parts(config.num_rows_read, num_rows)

    def embed(index: jax.Array) -> list[Any]:
      part = gradient_cache.microbatch(batch, index, parts)
      return [fn(x, part) for fn, x in models]

    embedded = jax.lax.map(embed, jnp.arange(parts))
    learner, expert = (
      _of_all_rows(pair, x)
      for pair, (_, x) in zip(embedded, models, strict=True)
    )
    index = joint_selection.select(
      *(learner, expert, key),
      num_selected=config.batch_size,
      num_blocks=config.curating.num_blocks,
      axes=mesh_lib.BATCH_AXES,
    )
    own_B = joint_selection.of_pairs(learner, expert)
    return rows_of(batch, index), {
      "train/learnability": jnp.mean(own_B[index]),
      "train/learnability_all": jnp.mean(own_B),
    }

  return draw


def num_parts(num_rows_read: int, num_rows: int) -> int:
  """Return the parts that each device's rows of a super-batch are embedded in.

  They are the fewest equal parts that have at most the rows of a micro-batch.

  Args:
    num_rows_read: rows of the super-batch, on all devices.
    num_rows: rows of a micro-batch, on all devices.
  """
  shards = mesh_lib.num_batch_shards(jax.sharding.get_abstract_mesh())
  here, most = num_rows_read // shards, num_rows // shards
  divisors = (n for n in range(1, here + 1) if here % n == 0)
  return next(n for n in divisors if here // n <= most)


def rows_of(batch: Any, index_b: jax.Array) -> Any:
  """Return rows of a batch, both split over BATCH_AXES of the mesh in use.

  Devices exchange a few rows at a time, each of which goes to one device: no
  device holds all rows.

  Args:
    batch: pytree of arrays [B, ...].
    index_b: rows, int32 [b], as many for each device; the same on all devices.
  """
  shards = mesh_lib.num_batch_shards(jax.sharding.get_abstract_mesh())
  if shards == 1:
    return jax.tree.map(lambda x: x[index_b], batch)
  axes = mesh_lib.BATCH_AXES
  rows = P(axes)

  @functools.partial(jax.shard_map, in_specs=(rows, P(), rows), out_specs=rows)
  def exchange(x, index_b, number):
    size = len(x)
    count = len(index_b) // shards
    row_bytes = math.prod(x.shape[1:]) * x.dtype.itemsize
    most = max(1, _MOST_SENT // (shards * row_bytes))
    width = max(n for n in range(1, count + 1) if count % n == 0 and n <= most)
    # [k, shards * width]: rows of turn k, those of each device together.
    turns = index_b.reshape(shards, -1, width).swapaxes(0, 1)
    turns = turns.reshape(-1, shards * width) - number[0] * size

    def send(place_n: jax.Array) -> jax.Array:
      is_here_n = (place_n >= 0) & (place_n < size)
      found = x[jnp.clip(place_n, 0, size - 1)]
      is_here = is_here_n.reshape(-1, *[1] * (x.ndim - 1))
      found = jnp.where(is_here, found, jnp.zeros_like(found))
      # One device alone has a row; the others add zeros.
      return jax.lax.psum_scatter(found, axes, tiled=True)

    return jax.lax.map(send, turns).reshape(count, *x.shape[1:])

  numbers = jnp.arange(shards)
  return jax.tree.map(lambda x: exchange(x, index_b, numbers), batch)


def _of_all_rows(parts: Any, variables: Any) -> joint_selection.Embeddings:
  """Return the embeddings of all parts, with their scale and bias."""
  zimg_BE, ztxt_BE = gradient_cache.join(parts)
  scale = jnp.exp(variables["log_scale"])
  return joint_selection.Embeddings(zimg_BE, ztxt_BE, scale, variables["bias"])


def _embed_fn(
  model: dual_encoder.ModelConfig,
) -> Callable[[Any, Any], tuple[jax.Array, jax.Array]]:
  """Return embed(variables, rows) -> zimg_bE, ztxt_bE, float32 of length 1."""
  # Without a gradient there is nothing to recompute.
  model = dataclasses.replace(model, remat="none", remat_chunks=1)
  graph = dual_encoder.make_graph(model, mesh_lib.BATCH_AXES)

  def embed(variables, rows):
    zimg_bE, ztxt_bE = dual_encoder.merge(graph, variables)(
      rows.images, rows.tokens
    )
    assert zimg_bE is not None  # both were given
    assert ztxt_bE is not None
    return zimg_bE, ztxt_bE

  return embed
