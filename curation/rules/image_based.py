"""DataComp's image-based filter: images near those of ImageNet-1k."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curation import operators
from curation.on_disk import embedding_store, random_batches
from curation.rules import references
from runtime import checks


@dataclasses.dataclass(frozen=True)
class ImageBased(embedding_store.Reduction, operators.MeshFilter):
  """Keep images of the clusters that hold at least one reference image.

  Gadre et al. (arXiv 2304.14108; mlfoundations/datacomp,
  baselines/image_based_clustering.py): k-means of the pool's image embeddings
  by inner product, 20 iterations, 100,000 centroids; ImageNet-1k's training
  images are the references. Here spherical k-means (on_mesh/kmeans.py) replaces
  that of faiss; only images that earlier steps left are clustered.

  Attributes:
    model: as in embedding_store.ModelStep.
    references: as in negclip_normsim.NormSim.
    num_clusters: number of centroids; fewer images than that are an error.
    num_iterations: iterations of k-means.
    num_sampled: approximate number of pairs that k-means runs on, drawn by
      hash. DataComp took about 160e6 at its large and xlarge scales.
    seed: random seed of the draw and of the first centroids.
  """

  references: str
  num_clusters: int
  num_iterations: int
  num_sampled: int
  seed: int

  signals = ("image_cluster",)

  def check(self, field: str) -> None:
    super().check(field)
    references.check(self.references, field)
    for name in ("num_clusters", "num_iterations"):
      checks.at_least(f"{field}.{name}", getattr(self, name), 1)
    if self.num_sampled < self.num_clusters:
      checks.refuse(
        f"{field}.num_sampled must be at least num_clusters "
        f"({self.num_clusters}); got {self.num_sampled}"
      )

  def files(self) -> tuple[str, ...]:
    return (*super().files(), *references.files_of(self.references))

  def reduce(
    self, parts: Sequence[pathlib.Path], context: operators.StepContext
  ) -> dict[str, Any]:
    # Imported here: workers import this module and must not import JAX.
    from curation.on_mesh import kmeans, scorer

    mesh = scorer.make_mesh()
    z_RE = references.load(context, self.model, self.references)
    pairs = random_batches.Batches(
      tuple(sorted(parts, key=lambda part: part.name)),
      scorer.open_store(context, self.model),
      context.state,
    )
    path = context.state / "sample.npy"
    share = min(1.0, self.num_sampled / max(len(pairs), 1))
    z_NE, hash_N = pairs.sample(share, self.seed, path)
    references.check_width(z_RE, z_NE.shape[1], self.references)
    centroid_KE = kmeans.fit(
      z_NE,
      hash_N,
      kmeans.KMeans(self.num_clusters, self.num_iterations),
      mesh,
    )
    ids_R1, _ = kmeans.nearest(z_RE, centroid_KE, mesh)
    is_hit_K = np.zeros(self.num_clusters, bool)
    is_hit_K[ids_R1[:, 0]] = True
    np.save(context.state / "centroids.npy", centroid_KE, allow_pickle=False)
    np.save(context.state / "is_hit.npy", is_hit_K, allow_pickle=False)
    path.unlink()
    return {
      "num_pairs": len(pairs),
      "num_sampled": len(z_NE),
      "num_references": len(z_RE),
      "num_clusters": self.num_clusters,
      "num_hit": int(is_hit_K.sum()),
    }

  def open_shards(self, context: operators.StepContext) -> operators.ShardFn:
    from curation.on_mesh import kmeans, scorer

    store = scorer.open_store(context, self.model)
    mesh = scorer.make_mesh()
    centroid_KE = np.load(context.state / "centroids.npy", allow_pickle=False)
    is_hit_K = np.load(context.state / "is_hit.npy", allow_pickle=False)

    def decide(left: operators.ShardPairs) -> Iterator[operators.Verdict]:
      all_tables, records = list(left.tables), store.open(left.shard)
      if not all_tables:
        return
      # One call: each call puts the centroids on the devices.
      zimg_NE = records.read(pa.concat_tables(all_tables))["zimg"]
      ids_N1, _ = kmeans.nearest(zimg_NE, centroid_KE, mesh)
      start = 0
      for table in all_tables:
        ids = ids_N1[start : start + len(table), 0]
        start += len(table)
        yield operators.Verdict(is_hit_K[ids], {"image_cluster": ids})

    return decide
