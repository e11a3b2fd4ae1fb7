"""Operator of SemDeDup (arXiv 2303.09540): near-copies by what images show."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curation import operators
from curation.keys import hashing
from curation.on_disk import by_uid, gathered, of_embeddings
from runtime import whole_files

_RULE = "rule.json"


@dataclasses.dataclass(frozen=True)
class SemDeDup(of_embeddings.OfEmbeddings):
  """Of the near-copies in a cluster of embeddings, keep the farthest out.

  The rule is in on_mesh/nearest_before.py, the clusters in kmeans.py. The
  embeddings of all pairs that are left must fit on the disk once more.

  Attributes:
    model: as in the step before it that embeds (op=embed or, with
      "columns:NAME", stored_embeddings).
    num_clusters: the paper has 50,000 for LAION-440M.
    num_iterations: of k-means.
    epsilon: a pair goes with a cosine above 1 - epsilon; 0 for `fraction`.
    fraction: of the pairs that shall go; 0 for `epsilon`.
    tuned_share: of the clusters, from which `fraction` tells epsilon; the paper
      takes 0.1.
    seed: of the rows that k-means starts with, and of those clusters.
  """

  num_clusters: int
  num_iterations: int
  epsilon: float
  fraction: float
  tuned_share: float
  seed: int

  @property
  def signals(self) -> tuple[str, ...]:
    return ("semdedup_cosine",)

  def check(self, field: str) -> None:
    super().check(field)
    if (self.epsilon > 0) == (self.fraction > 0):
      raise ValueError(
        f"{field} needs epsilon or fraction above 0, and the other at 0; got"
        f" {self.epsilon} and {self.fraction}"
      )
    for name, value, low, high in (
      ("epsilon", self.epsilon, 0, 2),
      ("fraction", self.fraction, 0, 1),
      ("tuned_share", self.tuned_share, 0, 1),
    ):
      if not low <= value <= high:
        raise ValueError(f"{field}.{name} must be {low} to {high}; got {value}")
    check_positive(
      field, num_clusters=self.num_clusters, num_iterations=self.num_iterations
    )

  def reduce(
    self,
    parts: Sequence[pathlib.Path],
    context: operators.StepContext,
    run: operators.RunFn,
  ) -> dict[str, Any]:
    del run
    # Workers import this file, and no JAX.
    from curation.on_mesh import kmeans, nearest_before, scorer

    assert context.state is not None
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
    assert context.state is not None
    table_of_all = by_uid.Table(context.state)
    cosines = table_of_all.column("cosine")
    epsilon = json.loads((context.state / _RULE).read_text())["epsilon"]

    def decide(table: pa.Table) -> operators.Verdict:
      cosine = cosines[table_of_all.find(by_uid.of(table))]
      return operators.Verdict(
        cosine <= 1 - epsilon, {"semdedup_cosine": cosine}
      )

    return decide

  def _tuned_clusters(self, cluster_N: np.ndarray) -> np.ndarray:
    """Return some of the clusters that have rows, at least one."""
    clusters = np.unique(cluster_N).astype(np.uint64)
    pairs = np.stack([clusters, np.zeros_like(clusters)], axis=1)
    names = pairs.astype(">u8").view(np.uint8).reshape(-1, 16)
    order = np.argsort(hashing.h64(names, self.seed), kind="stable")
    return clusters[order[: max(1, round(len(order) * self.tuned_share))]]


def check_positive(field: str, **values: int) -> None:
  """Raise ValueError, naming `field`.NAME, for a value below 1."""
  for name, value in values.items():
    if value < 1:
      raise ValueError(f"{field}.{name} must be at least 1; got {value}")
