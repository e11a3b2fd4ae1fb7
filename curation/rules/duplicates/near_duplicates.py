"""Operator that drops near-duplicates of test images, as ALIGN does.

Jia et al. (arXiv 2102.05918), appendix A. ALIGN's reference sets are
ILSVRC-2012, Flickr30K, MSCOCO and its other test sets.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curation import operators, pool
from curation.keys import buckets
from curation.on_disk import by_uid, embedding_store, gathered
from curation.rules import references
from runtime import checks, progress

# Images whose buckets are looked up at once.
_BLOCK = 1 << 14


@dataclasses.dataclass(frozen=True)
class NearDuplicates(embedding_store.Reduction, operators.Filter):
  """Drop images that are near an image of a reference set in the same bucket.

  K-means runs on the images of the pool that are left (ALIGN: on all training
  images); see on_mesh/kmeans.py and keys/buckets.py. A step normsim with
  norm="inf" computes the largest cosine with all references, also those in
  other buckets.

  Attributes:
    model: as in embedding_store.ModelStep.
    references: for each set a folder of images, a pattern as
      "images/**/*.jpg", or their embeddings by the same model (a .npy file
      [R, E], a folder of --task=embed).
    num_clusters: number of centroids; ALIGN has 4,096 (its "4K").
    num_iterations: iterations of k-means.
    num_nearest: number of nearest clusters of an image; ALIGN has 10.
    subset: number of these that make a bucket; ALIGN has 3.
    threshold: highest cosine with which an image is kept; ALIGN has 0.975.
    seed: random seed of the first centroids.
  """

  references: tuple[str, ...]
  num_clusters: int
  num_iterations: int
  num_nearest: int
  subset: int
  threshold: float
  seed: int

  signals = ("reference_cosine", "reference_row")

  def check(self, field: str) -> None:
    super().check(field)
    if not self.references:
      checks.refuse(
        f"{field}.references must name images or their embeddings; got ()"
      )
    for name in ("num_clusters", "num_iterations", "subset"):
      checks.at_least(f"{field}.{name}", getattr(self, name), 1)
    if not self.subset <= self.num_nearest <= self.num_clusters:
      checks.refuse(
        f"{field} needs subset <= num_nearest <= num_clusters; got"
        f" {self.subset}, {self.num_nearest}, {self.num_clusters}"
      )
    checks.between(f"{field}.threshold", self.threshold, -1, 1)
    try:
      buckets.check_packing(self.num_clusters, self.subset)
    except ValueError as error:
      raise ValueError(f"{field}: {error}") from error
    for reference in self.references:
      references.check(reference, field)

  def files(self) -> tuple[str, ...]:
    paths = map(references.files_of, self.references)
    return (*super().files(), *itertools.chain(*paths))

  def reduce(
    self, parts: Sequence[pathlib.Path], context: operators.StepContext
  ) -> dict[str, Any]:
    # Imported here: workers import this module and must not import JAX.
    from curation.on_mesh import kmeans, scorer

    z_of_sets = [
      references.load(context, self.model, reference)
      for reference in self.references
    ]
    path = context.state / "embeddings.npy"
    rows = gathered.gather(parts, scorer.open_store(context, self.model), path)
    z_NE = rows.z_NE
    for z_rE, reference in zip(z_of_sets, self.references, strict=True):
      references.check_width(z_rE, z_NE.shape[1], reference)
    z_RE = np.concatenate(z_of_sets)
    mesh = scorer.make_mesh()
    centroid_KE = kmeans.fit(
      z_NE,
      rows.priority(self.seed),
      kmeans.KMeans(self.num_clusters, self.num_iterations),
      mesh,
    )
    find = {"mesh": mesh, "num_nearest": self.num_nearest}
    by_bucket = buckets.References(
      z_RE,
      kmeans.nearest(z_RE, centroid_KE, **find)[0],
      num_clusters=self.num_clusters,
      subset=self.subset,
    )
    cosine_N = np.empty(len(z_NE), np.float32)
    row_N = np.empty(len(z_NE), np.int64)
    with progress.Progress("Near-duplicates", len(z_NE)) as bar:
      for part in gathered.batches(len(z_NE), _BLOCK):
        z_nE = np.asarray(z_NE[part])
        ids_nM, _ = kmeans.nearest(z_nE, centroid_KE, **find)
        cosine_N[part], row_N[part] = by_bucket.nearest(z_nE, ids_nM)
        bar.advance(len(z_nE))
    by_uid.write(context.state, rows.uids, cosine=cosine_N, row=row_N)
    path.unlink()
    return {
      "num_images": len(z_NE),
      "num_references": len(z_RE),
      "num_duplicates": int((cosine_N > self.threshold).sum()),
      "num_without_bucket": int((row_N < 0).sum()),
      "histogram": gathered.distances(cosine_N, 1 - self.threshold),
    }

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    table_of_all = by_uid.Table(context.state)
    cosines = table_of_all.column("cosine")
    rows = table_of_all.column("row")

    def decide(table: pa.Table) -> operators.Verdict:
      index = table_of_all.find(pool.sortable_uids(table))
      cosine = cosines[index]
      return operators.Verdict(
        cosine <= self.threshold,
        {"reference_cosine": cosine, "reference_row": rows[index]},
      )

    return decide
