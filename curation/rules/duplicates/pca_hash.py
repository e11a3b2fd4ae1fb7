"""64-bit hashes of image embeddings: the signs of their principal components.

MetaCLIP (Xu et al., arXiv 2309.16671, appendix A.2) drops images with equal
hashes of this kind. Here the embeddings are those of a recipe's model, centred
on the mean of the images that are left; bits are in the order of the variances.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from curation import operators
from curation.on_disk import embedding_store, gathered

NUM_BITS = 64
# Scale of embeddings and axes as whole numbers: products of rows of length 1
# then add up below 2^53, exactly, in any order of a float64 product.
_FIXED_POINT = 1 << 20
# Rows whose products are added at once.
_BLOCK = 1 << 14


@dataclasses.dataclass(frozen=True)
class PcaHash(embedding_store.Reduction, operators.MeshFilter):
  """Hash images by the signs of their embeddings' principal components.

  A later step duplicate_images with this signal as its column drops images with
  equal hashes.

  Attributes:
    model: as in embedding_store.ModelStep.
    signal: name of the column of hashes, uint64.
  """

  signal: str

  @property
  def signals(self) -> tuple[str, ...]:
    return (self.signal,)

  def reduce(
    self, parts: Sequence[pathlib.Path], context: operators.StepContext
  ) -> dict[str, Any]:
    # Imported here: workers import this module and must not import JAX.
    from curation.on_mesh import scorer

    path = context.state / "embeddings.npy"
    store = scorer.open_store(context, self.model)
    z_NE = gathered.gather(parts, store, path).z_NE
    mean_E, axes_ED, variances_D, total = principal_axes(z_NE)
    np.save(context.state / "mean.npy", mean_E, allow_pickle=False)
    np.save(context.state / "axes.npy", axes_ED, allow_pickle=False)
    path.unlink()
    return {
      "num_images": len(z_NE),
      "share_of_variance": float(variances_D.sum() / total) if total else 0.0,
    }

  def open_shards(self, context: operators.StepContext) -> operators.ShardFn:
    from curation.on_mesh import scorer

    store = scorer.open_store(context, self.model)
    mean_E = np.load(context.state / "mean.npy", allow_pickle=False)
    axes_ED = np.load(context.state / "axes.npy", allow_pickle=False)

    def decide(left: operators.ShardPairs) -> Iterator[operators.Verdict]:
      records = store.open(left.shard)
      for table in left.tables:
        hashed = hashes(records.read(table)["zimg"], mean_E, axes_ED)
        yield operators.Verdict(None, {self.signal: hashed})

    return decide


def principal_axes(
  z_NE: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
  """Return the axes of the 64 largest variances, largest first.

  Returns:
    (mean [E], axes [E, 64], variances [64], sum of all variances), float64. The
    entry of the largest size is positive in each axis.

  Raises:
    ValueError: embeddings have fewer than 64 numbers.
  """
  num_rows, width = z_NE.shape
  if width < NUM_BITS:
    raise ValueError(
      f"a hash of {NUM_BITS} bits needs embeddings of at least as many numbers;"
      f" got {width}"
    )
  sum_E, sum_EE = np.zeros(width), np.zeros((width, width))
  for block in gathered.batches(num_rows, _BLOCK):
    z_nE = z_NE[block].astype(np.float64)
    sum_E += z_nE.sum(axis=0)
    sum_EE += z_nE.T @ z_nE
  mean_E = sum_E / num_rows
  covariance_EE = sum_EE / num_rows - np.outer(mean_E, mean_E)
  variance_E, axes_EE = np.linalg.eigh(covariance_EE)
  axes_ED = axes_EE[:, ::-1][:, :NUM_BITS]
  largest = np.argmax(np.abs(axes_ED), axis=0)
  axes_ED = axes_ED * np.sign(axes_ED[largest, np.arange(NUM_BITS)])
  variances_D = variance_E[::-1][:NUM_BITS]
  return mean_E, axes_ED, variances_D, float(variance_E.sum())


def hashes(
  z_NE: np.ndarray, mean_E: np.ndarray, axes_ED: np.ndarray
) -> np.ndarray:
  """Return uint64 [N]; the first axis' sign is the highest bit."""
  fixed_NE = np.round(z_NE.astype(np.float64) * _FIXED_POINT)
  fixed_ED = np.round(axes_ED * _FIXED_POINT)
  threshold_D = np.round(mean_E * _FIXED_POINT) @ fixed_ED
  bits = fixed_NE @ fixed_ED > threshold_D
  return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)
