"""Operator of ALIGN's removal of near-duplicates of test images.

Jia et al. (arXiv 2102.05918), appendix A. The reference sets there are
ILSVRC-2012, Flickr30K, MSCOCO and the other test sets.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curation import operators
from curation.keys import buckets
from curation.on_disk import by_uid, gathered, of_embeddings
from curation.rules import references
from curation.rules.duplicates import semdedup
from runtime import progress

# Pairs of which the buckets are looked up at once.
_BLOCK = 1 << 14


@dataclasses.dataclass(frozen=True)
class NearDuplicates(of_embeddings.OfEmbeddings):
  """Drop images that are near one of a reference set, found by buckets.

  The k-means runs on the images of the pool that are left (ALIGN: on all
  training images); see kmeans.py and buckets.py. A step
  normsim of the norm "inf" gives the largest cosine with all references, those
  in other buckets too.

  Attributes:
    model: as in the step before it that embeds (op=embed or, with
      "columns:NAME", stored_embeddings).
    references: for each set a folder of images, a pattern as
      "images/**/*.jpg", or their embeddings by the same model (a .npy file
      [R, E], a folder of --task=embed).
    num_clusters: ALIGN has 4,096 (its "4K").
    num_iterations: of k-means.
    num_nearest: clusters of an image; ALIGN has 10.
    subset: of these make a bucket; ALIGN has 3.
    threshold: an image goes with a cosine above it; ALIGN has 0.975.
    seed: of the rows that k-means starts with.
  """

  references: tuple[str, ...]
  num_clusters: int
  num_iterations: int
  num_nearest: int
  subset: int
  threshold: float
  seed: int

  @property
  def signals(self) -> tuple[str, ...]:
    return ("reference_cosine", "reference_row")

  def check(self, field: str) -> None:
    super().check(field)
    if not self.references:
      raise ValueError(
        f"{field}.references must name images or their embeddings; got ()"
      )
    semdedup.check_positive(
      field,
      num_clusters=self.num_clusters,
      num_iterations=self.num_iterations,
      subset=self.subset,
    )
    if not self.subset <= self.num_nearest <= self.num_clusters:
      raise ValueError(
        f"{field} needs subset <= num_nearest <= num_clusters; got"
        f" {self.subset}, {self.num_nearest}, {self.num_clusters}"
      )
    if not -1 <= self.threshold <= 1:
      raise ValueError(
        f"{field}.threshold must be a cosine; got {self.threshold}"
      )
    try:
      buckets.check_packing(self.num_clusters, self.subset)
    except ValueError as error:
      raise ValueError(f"{field}: {error}") from error
    for reference in self.references:
      references.check(reference, field)

  def files(self) -> tuple[str, ...]:
    found = map(references.files_of, self.references)
    return (*super().files(), *itertools.chain(*found))

  def reduce(
    self,
    parts: Sequence[pathlib.Path],
    context: operators.StepContext,
    run: operators.RunFn,
  ) -> dict[str, Any]:
    del run
    # Workers import this file, and no JAX.
    from curation.on_mesh import kmeans, scorer

    assert context.state is not None
    found = [
      references.load(context, self.model, reference)
      for reference in self.references
    ]
    path = context.state / "embeddings.npy"
    rows = gathered.gather(parts, scorer.open_store(context, self.model), path)
    z_NE = rows.z_NE
    for z_rE, reference in zip(found, self.references, strict=True):
      references.check_width(z_rE, z_NE.shape[1], reference)
    z_RE = np.concatenate(found)
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
    assert context.state is not None
    table_of_all = by_uid.Table(context.state)
    cosines = table_of_all.column("cosine")
    rows = table_of_all.column("row")

    def decide(table: pa.Table) -> operators.Verdict:
      found = table_of_all.find(by_uid.of(table))
      cosine = cosines[found]
      return operators.Verdict(
        cosine <= self.threshold,
        {"reference_cosine": cosine, "reference_row": rows[found]},
      )

    return decide
