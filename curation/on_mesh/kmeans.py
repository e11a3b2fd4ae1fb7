"""Spherical k-means on the mesh, for more embeddings than fit into memory.

The rules, and what makes a result repeatable to the bit:

- A row belongs to the centroid with the largest inner product; among equal
  ones, to the first.
- A centroid is the normalised sum of its rows. Rows are rounded to multiples of
  1 / FIXED_POINT and summed as integers, so the order of the rows, and how many
  devices share them, changes nothing.
- It starts from the `num_clusters` rows of the lowest priority; the caller
  hashes a row's uid for it, so that they are a sample which the order of the
  shards does not change.
- A centroid without rows takes the row that is next in priority, and keeps its
  place once there are none left.

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
from runtime import mesh as mesh_lib
from runtime import progress

# Rows of length 1 as integers: the smallest step of float16 near 1 is 2^-11.
FIXED_POINT = 1 << 14
# int32 sums cannot overflow before.
_ROWS_PER_FLUSH = (2**31 - 1) // FIXED_POINT
# Centroids that rows are compared with at once, which bounds [b, k].
_BLOCK = 4096


@dataclasses.dataclass(frozen=True)
class KMeans:
  """How clusters are found.

  Attributes:
    num_clusters: K.
    num_iterations: of assigning all rows and moving all centroids.
    batch_size: rows of one call, at least; over all devices.
  """

  num_clusters: int
  num_iterations: int = 20
  batch_size: int = 16384

  def __post_init__(self):
    for name, value in vars(self).items():
      if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}")


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
    settings: K and how long.
    mesh: its devices share the rows of a batch.

  Raises:
    ValueError: there are fewer rows than clusters.
  """
  num_rows, num_clusters = len(z_NE), settings.num_clusters
  if num_rows < num_clusters:
    raise ValueError(
      f"num_clusters is {num_clusters}, but there are only {num_rows} rows to"
      " find clusters in; lower it"
    )
  # Reserves for empty clusters: they rarely are more than a few.
  reserve = np.argsort(priority_N, kind="stable")
  centroid_KE = _unit(z_NE[reserve[:num_clusters]])
  next_row = num_clusters
  with progress.Progress("k-means", settings.num_iterations * num_rows) as bar:
    for _ in range(settings.num_iterations):
      sum_KE, count_K = _sums(z_NE, centroid_KE, settings, mesh, bar)
      # A sum of opposite rows has no direction: as if it were empty.
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
    (int32 [N, M], their cosines float32 [N, M]); of equal cosines the centroid
    of the lowest index is first.

  Raises:
    ValueError: `num_nearest` is above the centroids, or _BLOCK.
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
  """Return int64 sums of each centroid's rows, and how many they are."""
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
  """Add a batch to (sums [K, E], counts [K]); rows from `count` on are none."""
  num_clusters = len(sums[1])
  axes = mesh_lib.BATCH_AXES

  def add(z_bE, is_row_b, blocks):
    id_b = _nearest_block(z_bE, blocks, num_clusters, 1)[0][:, 0]
    # Past the end: segment_sum leaves these out.
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
    # A scan's carry over replicated blocks and split rows.
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
      place = jnp.argmax(score_bk, axis=1, keepdims=True)
      top = jnp.max(score_bk, axis=1, keepdims=True)
    else:
      top, place = jax.lax.top_k(score_bk, num_nearest)
    # What was found first comes first: top_k keeps the order of equal ones.
    scores, ids = (
      jnp.concatenate(pair, axis=1)
      for pair in zip(best, (top, start + place), strict=True)
    )
    top, place = jax.lax.top_k(scores, num_nearest)
    return (top, jnp.take_along_axis(ids, place, axis=1)), None

  start = (
    jnp.full((len(z_bE), num_nearest), -jnp.inf),
    jnp.zeros((len(z_bE), num_nearest), jnp.int32),
  )
  starts = jnp.arange(num_blocks) * size
  (cosine, ids), _ = jax.lax.scan(step, start, (blocks, starts))
  return ids, cosine


def _blocks(centroid_KE: np.ndarray, mesh: jax.sharding.Mesh) -> jax.Array:
  """Return centroids as [blocks, k, E] on every device, zeros at the end."""
  num_clusters, width = centroid_KE.shape
  size = min(_BLOCK, num_clusters)
  num_blocks = -(-num_clusters // size)
  padded = np.zeros((num_blocks * size, width), np.float32)
  padded[:num_clusters] = centroid_KE
  return embedding.to_global(
    padded.reshape(num_blocks, size, width), mesh_lib.replicated(mesh)
  )


def _batch_size(wanted: int, num_rows: int, mesh: jax.sharding.Mesh) -> int:
  """Return a multiple of the devices that is not far above `num_rows`."""
  shards = mesh_lib.num_batch_shards(mesh)
  wanted = min(wanted, num_rows, _ROWS_PER_FLUSH - shards)
  return -(-wanted // shards) * shards


def _batches(
  z_NE: np.ndarray, batch_size: int, mesh: jax.sharding.Mesh
) -> Iterator[tuple[int, jax.Array, int]]:
  """Yield (first row, rows padded to one shape, how many are rows)."""
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
