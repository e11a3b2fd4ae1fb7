"""ALIGN's buckets, which select the references that an image is compared with.

Jia et al. (arXiv 2102.05918), appendix A: an image goes into a bucket for every
3 of its 10 nearest clusters, 120 in all, and is compared with the images in the
same bucket; a pair with a cosine above 0.975 is a near-duplicate. Two images
share a bucket iff at least 3 of their 10 nearest clusters are the same.

Buckets are numbers, the join is a binary search, and a pair that shares several
buckets is compared once. Shape letters: N images, R references, M nearest
clusters, S buckets of an image, P pairs, E embedding.
"""

import itertools

import numpy as np

from curation.keys import hamming

# Pairs that are joined, and compared, at once: up to 256 MB each for 512
# float32 numbers.
_JOIN_CHUNK = 1 << 22
_COMPARE_CHUNK = 1 << 16
# Limits of a table of all possible pairs, in which pairs are marked instead of
# sorted: its size as a multiple of the pairs, and in bytes (256 MB).
_DENSE = 64
_MAX_MARKS = 1 << 28


def check_packing(num_clusters: int, subset: int) -> None:
  """Raise ValueError if the number of a bucket does not fit 63 bits."""
  if num_clusters**subset >= 2**63:
    raise ValueError(
      f"num_clusters ** subset must be below 2 ** 63; got {num_clusters} **"
      f" {subset}"
    )


def buckets(id_NM: np.ndarray, num_clusters: int, subset: int) -> np.ndarray:
  """Return the buckets of each image, int64 [N, S]: a number for each subset.

  Args:
    id_NM: distinct IDs of each image's nearest clusters, in any order.
    num_clusters: number of all clusters.
    subset: number of clusters that make a bucket.
  """
  check_packing(num_clusters, subset)
  id_NM = np.sort(id_NM, axis=1).astype(np.int64)
  subsets = itertools.combinations(range(id_NM.shape[1]), subset)
  columns = np.array(list(subsets))
  packed = id_NM[:, columns[:, 0]]
  for column in columns.T[1:]:
    packed = packed * num_clusters + id_NM[:, column]
  return packed


class References:
  """Reference images, looked up by bucket."""

  def __init__(
    self,
    z_RE: np.ndarray,
    id_RM: np.ndarray,
    *,
    num_clusters: int,
    subset: int,
  ):
    """Sort the buckets; this takes some 30 bytes for each of the R x S.

    Args:
      z_RE: embeddings of length 1; float16 or float32, may be a memory map.
      id_RM: IDs of each reference's nearest clusters.
      num_clusters: number of all clusters.
      subset: number of clusters that make a bucket.
    """
    self._num_clusters = num_clusters
    self._subset = subset
    self._z_RE = z_RE
    packed = buckets(id_RM, num_clusters, subset)
    flat = packed.ravel()
    order = np.argsort(flat, kind="stable")
    self._row = (order // packed.shape[1]).astype(np.int32)
    self._bucket, self._start = np.unique(flat[order], return_index=True)
    self._start = np.append(self._start, len(flat))

  def nearest(
    self, z_NE: np.ndarray, id_NM: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Return each image's nearest reference among those in its buckets.

    Args:
      z_NE: embeddings of length 1.
      id_NM: IDs of each image's nearest clusters.

    Returns:
      (cosine float32 [N], -1 if no bucket has a reference; row of the reference
      int64 [N], the first of equal ones, -1 if there is none).
    """
    z_NE = _unit(z_NE)
    packed = buckets(id_NM, self._num_clusters, self._subset)
    flat, size = packed.ravel(), packed.shape[1]
    if len(self._bucket):
      index = np.searchsorted(self._bucket, flat)
      index = np.minimum(index, len(self._bucket) - 1)
      is_used = self._bucket[index] == flat
    else:
      index, is_used = np.zeros_like(flat), np.zeros(len(flat), bool)
    first = self._start[index]
    count = np.where(is_used, self._start[index + is_used] - first, 0)
    cosine_N = np.full(len(z_NE), -1, np.float32)
    row_N = np.full(len(z_NE), -1, np.int64)
    for entry, row_index in hamming.expand(first, count, _JOIN_CHUNK):
      pair_P = self._distinct(entry // size, self._row[row_index])
      for start in range(0, len(pair_P), _COMPARE_CHUNK):
        self._compare(
          z_NE, pair_P[start : start + _COMPARE_CHUNK], cosine_N, row_N
        )
    return cosine_N, row_N

  def _distinct(self, image_P: np.ndarray, row_P: np.ndarray) -> np.ndarray:
    """Return each pair once, as image * R + row, ascending; images ascend."""
    num_rows = len(self._z_RE)
    start = int(image_P[0])
    pair_P = (image_P - start) * num_rows + row_P
    num_all = (int(image_P[-1]) - start + 1) * num_rows
    if num_all <= min(_DENSE * len(pair_P), _MAX_MARKS):
      # Marking is several times as fast as sorting.
      marks = np.zeros(num_all, bool)
      marks[pair_P] = True
      pair_P = np.flatnonzero(marks)
    else:
      pair_P = np.unique(pair_P)
    return pair_P + start * num_rows

  def _compare(self, z_NE, pair_P, cosine_N, row_N):
    """Update the nearest references with those of these pairs."""
    image_P, row_P = np.divmod(pair_P, len(self._z_RE))
    # Each reference is converted once: float16 is slow to convert.
    rows, back_P = np.unique(row_P, return_inverse=True)
    z_rE = _unit(self._z_RE[rows])
    cosine_P = np.einsum("pe,pe->p", z_NE[image_P], z_rE[back_P])
    # Sorted by image, then cosine, then row: the first of an image is best.
    order = np.lexsort((row_P, -cosine_P, image_P))
    image_P, starts = np.unique(image_P[order], return_index=True)
    cosine, row = cosine_P[order][starts], row_P[order][starts]
    better = (cosine > cosine_N[image_P]) | (row_N[image_P] < 0)
    better |= (cosine == cosine_N[image_P]) & (row < row_N[image_P])
    cosine_N[image_P[better]] = cosine[better]
    row_N[image_P[better]] = row[better]


def _unit(z_PE: np.ndarray) -> np.ndarray:
  """Return float32 rows of length 1; float16 rounds the length."""
  z_PE = z_PE.astype(np.float32)
  norm = np.linalg.norm(z_PE, axis=1, keepdims=True)
  return z_PE / np.where(norm == 0, 1, norm)
