"""Operator that drops near-copies by embeddings: SemDeDup (2303.09540)."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curation import operators, pool
from curation.keys import hashing
from curation.on_disk import by_uid, embedding_store, gathered
from runtime import checks
from runtime.storage import whole_files

_RULE = "rule.json"


@dataclasses.dataclass(frozen=True)
class SemDeDup(embedding_store.Reduction, operators.Filter):
  """Keep the image farthest from the centroid among near-copies in a cluster.

  The rule is in on_mesh/nearest_before.py, the clusters are made by
  on_mesh/kmeans.py. The disk must hold a second copy of the embeddings of all
  pairs that are left.

  Attributes:
    model: as in embedding_store.ModelStep.
    num_clusters: number of centroids; the paper has 50,000 for LAION-440M.
    num_iterations: iterations of k-means.
    epsilon: pairs with a cosine above 1 - epsilon are dropped; 0 computes it
      from `fraction`.
    fraction: share of the pairs to drop; 0 uses `epsilon`.
    tuned_share: share of the clusters that epsilon is computed on; the paper
      takes 0.1.
    seed: random seed of the first centroids, and of the choice of clusters.
  """

  num_clusters: int
  num_iterations: int
  epsilon: float
  fraction: float
  tuned_share: float
  seed: int

  signals = ("semdedup_cosine",)

  def check(self, field: str) -> None:
    super().check(field)
    if (self.epsilon > 0) == (self.fraction > 0):
      checks.refuse(
        f"{field} needs epsilon or fraction above 0, and the other at 0; got"
        f" {self.epsilon} and {self.fraction}"
      )
    checks.between(f"{field}.epsilon", self.epsilon, 0, 2)
    checks.between(f"{field}.fraction", self.fraction, 0, 1)
    checks.between(f"{field}.tuned_share", self.tuned_share, 0, 1)
    checks.at_least(f"{field}.num_clusters", self.num_clusters, 1)
    checks.at_least(f"{field}.num_iterations", self.num_iterations, 1)

  def reduce(
    self, parts: Sequence[pathlib.Path], context: operators.StepContext
  ) -> dict[str, Any]:
    # Imported here: workers import this module and must not import JAX.
    from curation.on_mesh import kmeans, nearest_before, scorer

    path = context.state / "embeddings.npy"
    rows = gathered.gather(parts, scorer.open_store(context, self.model), path)
    mesh = scorer.make_mesh()
    centroids_KE = kmeans.fit(
      rows.z_NE,
      rows.priority(self.seed),
      kmeans.KMeans(self.num_clusters, self.num_iterations),
      mesh,
    )
    nearest_N1, cosine_N1 = kmeans.nearest(rows.z_NE, centroids_KE, mesh)
    cluster_N = nearest_N1[:, 0]
    before_N = nearest_before.nearest_before(
      rows.z_NE, cluster_N, cosine_N1[:, 0], mesh
    )
    epsilon = self.epsilon
    facts = {}
    if self.fraction:
      tuned = np.isin(cluster_N, self._tuned_clusters(cluster_N))
      epsilon = nearest_before.epsilon(before_N[tuned], self.fraction)
      facts["num_tuned_images"] = int(tuned.sum())
    by_uid.write(context.state, rows.uids, cosine=before_N)
    rule = json.dumps({"epsilon": epsilon})
    whole_files.write(context.state / _RULE, rule.encode())
    path.unlink()
    sizes = np.bincount(cluster_N, minlength=self.num_clusters)
    return facts | {
      "epsilon": epsilon,
      "num_images": len(before_N),
      "num_duplicates": int((before_N > 1 - epsilon).sum()),
      "num_empty_clusters": int((sizes == 0).sum()),
      "largest_cluster": int(sizes.max()),
      "histogram": gathered.distances(before_N, epsilon),
    }

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    table_of_all = by_uid.Table(context.state)
    cosines = table_of_all.column("cosine")
    epsilon = json.loads((context.state / _RULE).read_text())["epsilon"]

    def decide(table: pa.Table) -> operators.Verdict:
      cosine = cosines[table_of_all.find(pool.sortable_uids(table))]
      return operators.Verdict(
        cosine <= 1 - epsilon, {"semdedup_cosine": cosine}
      )

    return decide

  def _tuned_clusters(self, cluster_N: np.ndarray) -> np.ndarray:
    """Return a random share of the non-empty clusters, at least one."""
    clusters = np.unique(cluster_N).astype(np.uint64)
    pairs = np.stack([clusters, np.zeros_like(clusters)], axis=1)
    names = pairs.astype(">u8").view(np.uint8).reshape(-1, 16)
    order = np.argsort(hashing.h64(names, self.seed), kind="stable")
    return clusters[order[: max(1, round(len(order) * self.tuned_share))]]
