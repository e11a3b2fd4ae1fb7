"""SemDeDup's rule: near-copies within a cluster yield to the farthest out.

Abbas et al. (arXiv 2303.09540), section 3, and facebookresearch/SemDeDup: the
rows of a cluster are sorted by their distance to its centroid, the farthest
first; row j is removed iff a row before it has a cosine above 1 - epsilon with
it. A removed row removes others too: the rule is about all pairs of a cluster,
not about connected groups. Rows at equal distance are ordered by uid.

The cosine with the nearest row before, returned by `nearest_before`, does not
depend on epsilon, so another epsilon costs nothing.

Shape letters: N rows, D tiles of one call, i and j rows of a tile, E embedding.
"""

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

# Rows of a tile: a pair of tiles is one matrix product.
TILE = 1024
# Tiles kept in memory: a cluster of at most this many is read once.
_KEPT_TILES = 64
# Lowest cosine, for a row with no row before it.
NONE_BEFORE = -1.0


def reference(
  z_NE: np.ndarray, cluster_N: np.ndarray, cosine_N: np.ndarray
) -> np.ndarray:
  """Return the result of `nearest_before`, from whole matrices."""
  before_N = np.full(len(z_NE), NONE_BEFORE, np.float32)
  for cluster in np.unique(cluster_N):
    rows = np.flatnonzero(cluster_N == cluster)
    rows = rows[np.argsort(cosine_N[rows], kind="stable")]
    z_nE = z_NE[rows].astype(np.float32)
    z_nE /= np.linalg.norm(z_nE, axis=1, keepdims=True)
    upper = np.triu(np.ones((len(rows), len(rows)), bool), 1)
    cosine_nn = np.where(upper, z_nE @ z_nE.T, NONE_BEFORE)
    before_N[rows] = cosine_nn.max(axis=0)
  return before_N


def nearest_before(
  z_NE: np.ndarray,
  cluster_N: np.ndarray,
  cosine_N: np.ndarray,
  mesh: jax.sharding.Mesh,
  *,
  tile: int = TILE,
) -> np.ndarray:
  """Return each row's largest cosine with a row before it in its cluster.

  All rows in the order of clusters are cut into tiles, and each tile is
  multiplied with those that have rows of its clusters. Small clusters share a
  product, large ones take several, and one program computes all of them.

  Args:
    z_NE: rows sorted by uid; float16 or float32, may be a memory map.
    cluster_N: int, cluster of each row.
    cosine_N: cosine of each row with its centroid.
    mesh: devices; each takes a pair of tiles at a time.
    tile: number of rows of a tile.

  Returns:
    float32 [N]; NONE_BEFORE for the first row of a cluster.
  """
  num_rows = len(z_NE)
  # Farthest from the centroid first; equal ones stay sorted by uid.
  order = np.lexsort((cosine_N, cluster_N))
  sorted_N = cluster_N[order]
  # For each tile, the tile in which the cluster of its first row begins.
  firsts = np.searchsorted(sorted_N, sorted_N[::tile]) // tile
  num_shards = mesh_lib.num_batch_shards(mesh)
  pair_fn = _pair_fn(mesh)

  @functools.lru_cache(maxsize=_KEPT_TILES)
  def rows_of(index: int) -> tuple[np.ndarray, np.ndarray]:
    rows = order[index * tile : (index + 1) * tile]
    missing = tile - len(rows)
    z_iE = np.pad(z_NE[rows], ((0, missing), (0, 0)), mode="edge")
    clusters = sorted_N[index * tile : (index + 1) * tile].astype(np.int32)
    return z_iE, np.pad(clusters, (0, missing), constant_values=-1)

  before = np.full(num_rows, NONE_BEFORE, np.float32)
  num_pairs = int((np.arange(len(firsts)) - firsts + 1).sum())
  with progress.Progress("Pairs of tiles", num_pairs) as bar:
    for pairs in _batches(firsts, num_shards):
      left, right = zip(*pairs, strict=True)
      arrays = [
        np.stack(parts)
        for side in (left, right)
        for parts in zip(*map(rows_of, side), strict=True)
      ]
      same_tile = np.array(left) == np.array(right)
      for j, best_j in zip(
        right, jax.device_get(pair_fn(*arrays, same_tile)), strict=True
      ):
        part = before[j * tile : (j + 1) * tile]
        np.maximum(part, best_j[: len(part)], out=part)
      bar.advance(len(set(pairs)))
  result = np.empty_like(before)
  result[order] = before
  return result


def epsilon(before_N: np.ndarray, fraction: float) -> float:
  """Return the epsilon that removes a fraction of rows.

  The cosines of the rows are interpolated linearly. They may be those of a
  sample of the clusters: the paper takes 10 %.

  Args:
    before_N: result of `nearest_before`.
    fraction: share of the rows to remove, 0 to 1.
  """
  return float(1 - np.quantile(before_N.astype(np.float64), 1 - fraction))


def _batches(firsts: np.ndarray, size: int) -> Iterator[list[tuple[int, int]]]:
  """Yield `size` pairs of tiles at a time; copies fill up the last batch."""
  batch = []
  for j, first in enumerate(firsts.tolist()):
    for i in range(first, j + 1):
      batch.append((i, j))
      if len(batch) == size:
        yield batch
        batch = []
  if batch:
    yield batch + batch[-1:] * (size - len(batch))


def _pair_fn(mesh: jax.sharding.Mesh):
  """Return fn(z_DiE, cluster_Di, z_DjE, cluster_Dj, same_D) -> [D, j]."""
  split = mesh_lib.batch_sharding(mesh)

  def pair(z_iE, cluster_i, z_jE, cluster_j, same):
    cosine_ij = products.einsum("iE,jE->ij", _unit(z_iE), _unit(z_jE))
    index = jnp.arange(len(z_iE))
    # Rows of an earlier tile all come before.
    before_ij = ~same | (index[:, None] < index[None])
    counts_ij = before_ij & (cluster_i[:, None] == cluster_j[None])
    return jnp.where(counts_ij, cosine_ij, NONE_BEFORE).max(axis=0)

  pairs = jax.shard_map(
    jax.vmap(pair),
    mesh=mesh,
    in_specs=P(mesh_lib.BATCH_AXES),
    out_specs=P(mesh_lib.BATCH_AXES),
  )
  program = jax.jit(pairs, out_shardings=mesh_lib.replicated(mesh))
  return lambda *arrays: program(
    *(embedding.to_global(array, split) for array in arrays)
  )


def _unit(z_nE: jax.Array) -> jax.Array:
  """Return float32 rows of length 1; float16 rounds the length."""
  z_nE = z_nE.astype(jnp.float32)
  norm = jnp.linalg.norm(z_nE, axis=1, keepdims=True)
  return z_nE / jnp.where(norm == 0, 1, norm)
