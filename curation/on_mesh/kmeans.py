"""Spherical k-means on the mesh, for more embeddings than fit into memory.

Rules, which make a result repeatable to the bit:

- A row belongs to the centroid with the largest inner product; a tie goes to
  the first.
- A centroid is the normalised sum of its rows. Rows are rounded to multiples of
  1 / FIXED_POINT and summed as integers, so neither the order of the rows nor
  the number of devices changes the sum.
- The first centroids are the `num_clusters` rows of the lowest priority. The
  caller passes a hash of a row's uid as its priority: the order of the shards
  does not change this sample.
- A centroid without rows is replaced by the row that is next in priority, or
  stays if no row is left.

Centroids and rows are multiplied in float32. Shape letters: N rows, b rows of
one call, K centroids, k centroids of one block, E embedding, M nearest.
"""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import P

from evaluators import embedding
from losses import products
from runtime import checks, progress
from runtime import mesh as mesh_lib

# Scale of rows as integers: the smallest step of float16 near 1 is 2^-11.
FIXED_POINT = 1 << 14
# Rows of length 1 whose sum fits into int32.
_ROWS_PER_FLUSH = (2**31 - 1) // FIXED_POINT
# Centroids that rows are compared with at once, which bounds [b, k].
_BLOCK = 4096


@dataclasses.dataclass(frozen=True)
class KMeans:
  """Parameters of k-means.

  Attributes:
    num_clusters: K.
    num_iterations: number of times that rows are assigned and centroids moved.
    batch_size: rows of one call over all devices, rounded up to a multiple of
      the devices.
  """

  num_clusters: int
  num_iterations: int = 20
  batch_size: int = 16384

  def __post_init__(self):
    for name, value in vars(self).items():
      checks.at_least(name, value, 1)


def fit(
  z_NE: np.ndarray,
  priority_N: np.ndarray,
  settings: KMeans,
  mesh: jax.sharding.Mesh,
) -> np.ndarray:
  """Return centroids, float32 [K, E] of length 1.

  Args:
    z_NE: rows of length 1, float16 or float32; may be a memory map.
    priority_N: uint64, a hash of each row's uid.
    settings: parameters of k-means.
    mesh: devices that share the rows of a batch.

  Raises:
    ValueError: there are fewer rows than clusters.
  """
  num_rows, num_clusters = len(z_NE), settings.num_clusters
  if num_rows < num_clusters:
    raise ValueError(
      f"num_clusters is {num_clusters}, but there are only {num_rows} rows to"
      " find clusters in; lower it"
    )
  # Rows by priority; those after the first K replace empty clusters.
  reserve = np.argsort(priority_N, kind="stable")
  centroid_KE = _unit(z_NE[reserve[:num_clusters]])
  next_row = num_clusters
  with progress.Progress("k-means", settings.num_iterations * num_rows) as bar:
    for _ in range(settings.num_iterations):
      sum_KE, count_K = _sums(z_NE, centroid_KE, settings, mesh, bar)
      # A sum of 0 (opposite rows) has no direction and counts as empty.
      empty_K = (count_K == 0) | ~sum_KE.any(axis=1)
      centroid_KE[~empty_K] = _unit(sum_KE[~empty_K])
      rows = reserve[next_row : next_row + int(empty_K.sum())]
      centroid_KE[np.flatnonzero(empty_K)[: len(rows)]] = _unit(z_NE[rows])
      next_row += len(rows)
  return centroid_KE


def nearest(
  z_NE: np.ndarray,
  centroid_KE: np.ndarray,
  mesh: jax.sharding.Mesh,
  *,
  num_nearest: int = 1,
  batch_size: int = KMeans.batch_size,
) -> tuple[np.ndarray, np.ndarray]:
  """Return the nearest centroids of each row, nearest first.

  Returns:
    (int32 [N, M], their cosines float32 [N, M]); among equal cosines the
    centroid of the lowest index is first.

  Raises:
    ValueError: `num_nearest` is above the number of centroids, or _BLOCK.
  """
  if not 1 <= num_nearest <= min(len(centroid_KE), _BLOCK):
    raise ValueError(
      f"num_nearest must be 1 to {_BLOCK}, and at most the"
      f" {len(centroid_KE)} clusters there are; got {num_nearest}"
    )
  batch_size = _batch_size(batch_size, len(z_NE), mesh)
  blocks = _blocks(centroid_KE, mesh)
  id_NM = np.empty((len(z_NE), num_nearest), np.int32)
  cosine_NM = np.empty((len(z_NE), num_nearest), np.float32)
  for start, z_bE, count in _batches(z_NE, batch_size, mesh):
    part = _nearest(z_bE, blocks, len(centroid_KE), num_nearest)
    id_bM, cosine_bM = jax.device_get(part)
    id_NM[start : start + count] = id_bM[:count]
    cosine_NM[start : start + count] = cosine_bM[:count]
  return id_NM, cosine_NM


def _sums(z_NE, centroid_KE, settings, mesh, bar):
  """Return the sums of each centroid's rows and their numbers, int64."""
  num_clusters, width = centroid_KE.shape
  total_KE = np.zeros((num_clusters, width), np.int64)
  total_K = np.zeros(num_clusters, np.int64)
  batch_size = _batch_size(settings.batch_size, len(z_NE), mesh)
  blocks = _blocks(centroid_KE, mesh)
  zeros = functools.partial(
    jnp.zeros, dtype=jnp.int32, device=mesh_lib.replicated(mesh)
  )
  sums, waiting = None, 0
  for _, z_bE, count in _batches(z_NE, batch_size, mesh):
    if sums is None:
      sums = zeros((num_clusters, width)), zeros((num_clusters,))
    sums = _add(sums, z_bE, np.int32(count), blocks, mesh)
    waiting += batch_size
    bar.advance(count)
    if waiting + batch_size > _ROWS_PER_FLUSH:
      total_KE, total_K = _flush(total_KE, total_K, sums)
      sums, waiting = None, 0
  if sums is not None:
    total_KE, total_K = _flush(total_KE, total_K, sums)
  return total_KE, total_K


def _flush(total_KE, total_K, sums):
  sum_KE, count_K = jax.device_get(sums)
  return total_KE + sum_KE, total_K + count_K


@jax.jit(static_argnames=("mesh",), donate_argnames=("sums",))
def _add(sums, z_bE, count, blocks, mesh):
  """Add the first `count` rows of a batch to (sums [K, E], counts [K])."""
  num_clusters = len(sums[1])
  axes = mesh_lib.BATCH_AXES

  def add(z_bE, is_row_b, blocks):
    id_b = _nearest_block(z_bE, blocks, num_clusters, 1)[0][:, 0]
    # Padding gets an ID past the end, which segment_sum leaves out.
    id_b = jnp.where(is_row_b, id_b, num_clusters)
    fixed_bE = jnp.round(z_bE.astype(jnp.float32) * FIXED_POINT)
    part_KE = jax.ops.segment_sum(
      fixed_bE.astype(jnp.int32), id_b, num_clusters
    )
    part_K = jax.ops.segment_sum(jnp.ones_like(id_b), id_b, num_clusters)
    return jax.lax.psum((part_KE, part_K), axes)

  parts = jax.shard_map(
    add,
    mesh=mesh,
    in_specs=(P(axes), P(axes), P()),
    out_specs=P(),
    # The scan's carry mixes replicated blocks and split rows.
    check_vma=False,
  )(z_bE, jnp.arange(len(z_bE)) < count, blocks)
  return jax.tree.map(jnp.add, sums, parts)


@jax.jit(static_argnames=("num_clusters", "num_nearest"))
def _nearest(z_bE, blocks, num_clusters, num_nearest):
  return _nearest_block(z_bE, blocks, num_clusters, num_nearest)


def _nearest_block(z_bE, blocks, num_clusters, num_nearest):
  """Return ids and cosines [b, M], one block of centroids after another."""
  num_blocks, size, _ = blocks.shape
  z_bE = z_bE.astype(jnp.float32)

  def step(best, block):
    block_kE, start = block
    score_bk = products.einsum("bE,kE->bk", z_bE, block_kE)
    is_real_k = start + jnp.arange(size) < num_clusters
    score_bk = jnp.where(is_real_k, score_bk, -jnp.inf)
    if num_nearest == 1:  # much faster than top_k
      index = jnp.argmax(score_bk, axis=1, keepdims=True)
      top = jnp.max(score_bk, axis=1, keepdims=True)
    else:
      top, index = jax.lax.top_k(score_bk, num_nearest)
    # Earlier blocks come first: top_k keeps the order of equal scores.
    scores, ids = (
      jnp.concatenate(pair, axis=1)
      for pair in zip(best, (top, start + index), strict=True)
    )
    top, index = jax.lax.top_k(scores, num_nearest)
    return (top, jnp.take_along_axis(ids, index, axis=1)), None

  start = (
    jnp.full((len(z_bE), num_nearest), -jnp.inf),
    jnp.zeros((len(z_bE), num_nearest), jnp.int32),
  )
  starts = jnp.arange(num_blocks) * size
  (cosine, ids), _ = jax.lax.scan(step, start, (blocks, starts))
  return ids, cosine


def _blocks(centroid_KE: np.ndarray, mesh: jax.sharding.Mesh) -> jax.Array:
  """Return centroids as [blocks, k, E] on every device, padded with zeros."""
  num_clusters, width = centroid_KE.shape
  size = min(_BLOCK, num_clusters)
  num_blocks = -(-num_clusters // size)
  padded = np.zeros((num_blocks * size, width), np.float32)
  padded[:num_clusters] = centroid_KE
  return embedding.to_global(
    padded.reshape(num_blocks, size, width), mesh_lib.replicated(mesh)
  )


def _batch_size(wanted: int, num_rows: int, mesh: jax.sharding.Mesh) -> int:
  """Return a multiple of the devices, at most just above `num_rows`."""
  shards = mesh_lib.num_batch_shards(mesh)
  wanted = min(wanted, num_rows, _ROWS_PER_FLUSH - shards)
  return -(-wanted // shards) * shards


def _batches(
  z_NE: np.ndarray, batch_size: int, mesh: jax.sharding.Mesh
) -> Iterator[tuple[int, jax.Array, int]]:
  """Yield (first row, rows padded to one shape, number of rows)."""
  sharding = mesh_lib.batch_sharding(mesh)
  for start in range(0, len(z_NE), batch_size):
    rows = np.asarray(z_NE[start : start + batch_size])
    count = len(rows)
    if count < batch_size:
      pad = np.zeros((batch_size - count, rows.shape[1]), rows.dtype)
      rows = np.concatenate([rows, pad])
    yield start, embedding.to_global(rows, sharding), count


def _unit(rows: np.ndarray) -> np.ndarray:
  rows = rows.astype(np.float64)
  norm = np.linalg.norm(rows, axis=-1, keepdims=True)
  return (rows / np.where(norm == 0, 1, norm)).astype(np.float32)
