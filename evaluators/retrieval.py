"""Image-text retrieval: recall@k and median rank, with ties at mid-rank.

The rank of a query is that of its best right candidate:

  rank = 1 + (wrong candidates above it) + (wrong candidates tied with it) / 2

and recall@k is the share of queries with rank <= k. A rank can thus be
fractional, and a right candidate tied with one wrong one (rank 1.5) does not
count for recall@1: a model whose embeddings are all equal gets rank (M+1)/2
and no recall, instead of figures that depend on the order of an argsort.

Shape letters beside those of models/layers.py: Q queries, q queries of one
block, M candidates.
"""

import dataclasses
import math
import typing
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import P

from evaluators import embedding
from input_pipeline import evaluation_split
from input_pipeline.sources import source_config
from runtime import checks
from runtime import mesh as mesh_lib

# Cosine similarities closer than this are tied. A float32 dot product of unit
# vectors is off by about 1e-7, and the order of its sums depends on its
# position in a blocked matmul: exact equality would depend on the number of
# devices.
TIE = 1e-6

KS = (1, 5, 10)
METRICS = (*(f"R@{k}" for k in KS), "median_rank")

# Largest number of similarities held at once on a device (64 MiB of float32).
_BLOCK_SIZE = 2**24


@dataclasses.dataclass(frozen=True)
class RetrievalConfig:
  """Section of an evaluation set for retrieval in both directions.

  Attributes:
    kind: selects this section's dataclass.
    source: images with captions. Every caption of an image is a query and a
      candidate, and all captions of an image are right for it, as in the
      protocols of COCO and Flickr30k (Karpathy and Fei-Fei, arXiv 1412.2306).
    all_names: whether images are also ranked against the captions of every
      split of the source, in the first of data.languages.
    metrics: figures to report, of METRICS.
  """

  kind: typing.Literal["retrieval"]
  source: source_config.SourceConfig
  all_names: bool
  metrics: tuple[str, ...]

  def check(self, field: str) -> None:
    """Raise ValueError, naming the field, where a value cannot be used."""
    evaluation_split.check_source(self.source, f"{field}.source")
    if not self.metrics:
      checks.refuse(f"{field}.metrics must have at least one item; got ()")
    for metric in self.metrics:
      checks.one_of(f"{field}.metrics", metric, METRICS)


def evaluate(
  zimg_NE: np.ndarray,
  ztxt_ME: np.ndarray,
  texts: Sequence[str],
  mesh: jax.sharding.Mesh,
  *,
  owners: Sequence[int],
) -> dict[str, dict[str, float]]:
  """Score N images and their M captions in both directions.

  Row m of ztxt belongs to texts[m], a caption of image owners[m]. An image and
  a text are right for each other where the image has a caption of that wording.
  Beside the figures are num_candidates, and num_right: the mean number of right
  candidates of a query.

  >>> mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(1, 1, 1), jax.devices()[:1])
  >>> z = np.eye(3, dtype=np.float32)
  >>> args = z[[0, 2, 1]], ["a", "b", "c"], mesh
  >>> evaluate(z, *args, owners=[0, 1, 2])["text_to_image"]["R@1"]
  0.3333333333333333
  """
  image_NK, text_M = labels(texts, owners)
  return {
    "image_to_text": scored(
      zimg_NE, ztxt_ME, label_Q=image_NK, label_M=text_M, mesh=mesh
    ),
    "text_to_image": scored(
      ztxt_ME, zimg_NE, label_Q=text_M, label_M=image_NK, mesh=mesh
    ),
  }


def labels(
  texts: Sequence[str], owners: Sequence[int], others: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
  """Return labels of images and of texts for `ranks`: equal texts, equal label.

  Args:
    texts: captions of images.
    owners: image of each caption, 0 to N - 1, each at least once.
    others: further candidate texts.

  Returns:
    int [N, K], the labels of each image's captions, the last one repeated; and
    int [len(texts) + len(others)].

  >>> labels(["a", "b", "b"], [0, 0, 1])
  (array([[0, 1],
         [1, 1]]), array([0, 1, 1]))
  """
  _, text_M = np.unique(np.asarray([*texts, *others]), return_inverse=True)
  by_owner: list[list[int]] = [[] for _ in range(max(owners) + 1)]
  for owner, label in zip(owners, text_M.tolist(), strict=False):
    by_owner[owner].append(label)
  most = max(map(len, by_owner))
  filled = [row + row[-1:] * (most - len(row)) for row in by_owner]
  return np.asarray(filled), text_M


def scored(
  zquery_QE: np.ndarray,
  zcand_ME: np.ndarray,
  *,
  label_Q: np.ndarray,
  label_M: np.ndarray,
  mesh: jax.sharding.Mesh,
) -> dict[str, float]:
  """Return `metrics` of `ranks`, num_candidates and num_right."""
  rank_Q = ranks(
    zquery_QE, zcand_ME, label_Q=label_Q, label_M=label_M, mesh=mesh
  )
  return {
    "num_candidates": len(zcand_ME),
    "num_right": float(np.mean(_num_right(label_Q, label_M))),
    **metrics(rank_Q),
  }


def metrics(rank_Q: np.ndarray) -> dict[str, float]:
  """Return recall@k for each of KS, and the median rank.

  >>> metrics(np.array([1.0, 1.5, 3.5, 7.0]))
  {'R@1': 0.25, 'R@5': 0.75, 'R@10': 1.0, 'median_rank': 2.5}
  """
  recalls = {f"R@{k}": float(np.mean(rank_Q <= k)) for k in KS}
  return recalls | {"median_rank": float(np.median(rank_Q))}


def chance(num_candidates: int, num_right: float = 1) -> dict[str, float]:
  """Return the expected `metrics` of a random order.

  Args:
    num_candidates: candidates of a query.
    num_right: mean number of them that are right, taken for all queries; the
      median rank is exact for one, and close to it for more.

  >>> chance(50)
  {'R@1': 0.02, 'R@5': 0.1, 'R@10': 0.2, 'median_rank': 25.5}
  """

  def recall(k: int) -> float:
    if num_right == 1:
      return min(1.0, k / num_candidates)
    wrong = num_candidates - num_right
    missed = (max(wrong - i, 0) / max(num_candidates - i, 1) for i in range(k))
    return 1 - math.prod(missed)

  middle = (num_candidates + 1) * (1 - 0.5 ** (1 / num_right))
  return {f"R@{k}": recall(k) for k in KS} | {"median_rank": middle}


def ranks(
  zquery_QE: np.ndarray,
  zcand_ME: np.ndarray,
  *,
  label_Q: np.ndarray,
  label_M: np.ndarray,
  mesh: jax.sharding.Mesh,
) -> np.ndarray:
  """Rank each query's best right candidate: float64 [Q], 1 is best.

  A candidate is right if one of its labels (integers >= 0) is one of the
  query's; labels are [Q], or [Q, K] for several, and [M] or [M, K] alike.
  Embeddings are float32 and L2-normalised, and every process has all of them;
  the work is split over queries.

  Raises:
    ValueError: a query has no right candidate.
  """
  label_Q, label_M = _columns(label_Q), _columns(label_M)
  orphans = np.flatnonzero(~np.isin(label_Q, label_M).any(axis=1))
  if orphans.size:
    raise ValueError(
      f"{orphans.size} of {len(label_Q)} queries have no right candidate, the "
      f"first is query {orphans[0]}"
    )
  num_shards = mesh_lib.num_batch_shards(mesh)
  rows = -(-len(zquery_QE) // num_shards)
  num_blocks = -(-rows // max(1, _BLOCK_SIZE // len(zcand_ME)))
  block_size = -(-rows // num_blocks)
  padding = num_shards * num_blocks * block_size - len(zquery_QE)

  split = mesh_lib.batch_sharding(mesh)
  whole = jax.NamedSharding(mesh, P())
  rank_Q = _ranks(
    embedding.to_global(np.pad(zquery_QE, ((0, padding), (0, 0))), split),
    embedding.to_global(_padded_labels(label_Q, padding), split),
    embedding.to_global(zcand_ME, whole),
    embedding.to_global(_padded_labels(label_M, 0), whole),
    mesh=mesh,
    num_blocks=num_blocks,
  )
  return jax.device_get(rank_Q)[: len(zquery_QE)].astype(np.float64)


def reference(
  zquery_QE: np.ndarray,
  zcand_ME: np.ndarray,
  *,
  label_Q: np.ndarray,
  label_M: np.ndarray,
) -> np.ndarray:
  """Return `ranks`, computed in NumPy with the whole similarity matrix.

  >>> z = np.eye(3, dtype=np.float32)
  >>> reference(z, z[[0, 0, 2]], label_Q=np.arange(3), label_M=np.arange(3))
  array([1.5, 2. , 1. ])
  """
  sim_QM = zquery_QE @ zcand_ME.T
  right_QM = _right(_columns(label_Q), _columns(label_M))
  best_Q1 = np.where(right_QM, sim_QM, -np.inf).max(axis=1, keepdims=True)
  above_QM = ~right_QM & (sim_QM - best_Q1 > TIE)
  tied_QM = ~right_QM & (np.abs(sim_QM - best_Q1) <= TIE)
  return 1 + above_QM.sum(axis=1) + tied_QM.sum(axis=1) / 2


@jax.jit(static_argnames=("mesh", "num_blocks"))
def _ranks(zquery_QE, label_Q, zcand_ME, label_M, *, mesh, num_blocks):
  def rank_shard(zquery_bE, label_b, zcand_ME, label_M):
    def rank_block(block):
      zquery_qE, label_q = block
      sim_qM = jnp.matmul(
        zquery_qE, zcand_ME.T, precision=jax.lax.Precision.HIGHEST
      )
      right_qM = _right(label_q, label_M)
      best_q = jnp.max(jnp.where(right_qM, sim_qM, -jnp.inf), axis=1)
      gap_qM = sim_qM - best_q[:, None]
      tied_qM = ~right_qM & (jnp.abs(gap_qM) <= TIE)
      # Not "gap > TIE": a NaN then counts against the query, not for it.
      above_qM = ~right_qM & ~tied_qM & ~(gap_qM < -TIE)
      return 1 + jnp.sum(above_qM, axis=1) + jnp.sum(tied_qM, axis=1) / 2

    blocks = jax.tree.map(
      lambda x: x.reshape(num_blocks, -1, *x.shape[1:]), (zquery_bE, label_b)
    )
    return jax.lax.map(rank_block, blocks).reshape(-1)

  split = P(mesh_lib.BATCH_AXES)
  rank_Q = jax.shard_map(
    rank_shard, mesh=mesh, in_specs=(split, split, P(), P()), out_specs=split
  )(zquery_QE, label_Q, zcand_ME, label_M)
  # The ranks are replicated, so that each process can read all of them.
  return jax.lax.with_sharding_constraint(rank_Q, jax.NamedSharding(mesh, P()))


def _right(label_Q: Any, label_M: Any) -> Any:
  """Return bool [Q, M]: whether rows [Q, K] and [M, K] share a label."""
  return (label_Q[:, None, :, None] == label_M[None, :, None, :]).any((2, 3))


def _num_right(label_Q: np.ndarray, label_M: np.ndarray) -> np.ndarray:
  """Return the number of right candidates of each query, [Q].

  Either the queries or the candidates have one label each.
  """
  queries, cands = _distinct(label_Q), _distinct(label_M)
  count = np.bincount(cands[:, 1], minlength=int(label_Q.max()) + 1)
  return np.bincount(queries[:, 0], weights=count[queries[:, 1]])


def _distinct(labels: np.ndarray) -> np.ndarray:
  """Return the distinct pairs of row and label, [P, 2]."""
  labels = _columns(labels)
  rows = np.repeat(np.arange(len(labels)), labels.shape[1])
  return np.unique(np.stack([rows, labels.ravel()], axis=1), axis=0)


def _columns(labels: np.ndarray) -> np.ndarray:
  return labels if labels.ndim == 2 else labels[:, None]


def _padded_labels(labels: np.ndarray, padding: int) -> np.ndarray:
  # -1 is no candidate's label.
  pad = ((0, padding), (0, 0))
  return np.pad(labels.astype(np.int32), pad, constant_values=-1)
