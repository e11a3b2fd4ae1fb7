"""Spherical k-means: its rules, and independence of devices and order."""

import numpy as np
import pytest

from curation.on_mesh import kmeans
from tests.evaluators import meshes

RNG = np.random.default_rng(0)
ROWS = meshes.unit(RNG.normal(size=(203, 8))).astype(np.float16)
PRIORITY = RNG.permutation(203).astype(np.uint64)
SETTINGS = kmeans.KMeans(7, num_iterations=4, batch_size=64)


def reference(rows, priority, num_clusters, num_iterations):
  """Return centroids, in plain NumPy."""
  rows = rows.astype(np.float64)
  fixed = np.round(rows * kmeans.FIXED_POINT)
  order = np.argsort(priority)
  centroids = meshes.unit(rows[order[:num_clusters]])
  spare = list(order[num_clusters:])
  for _ in range(num_iterations):
    ids = np.argmax(rows.astype(np.float32) @ centroids.T, axis=1)
    for k in range(num_clusters):
      if (ids == k).any():
        centroids[k] = meshes.unit(fixed[ids == k].sum(0))
      elif spare:
        centroids[k] = meshes.unit(rows[spare.pop(0)])
  return centroids


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 2, 1)])
def test_equals_the_reference(shape, monkeypatch):
  # Several blocks of centroids, the last one with padding, and several sums.
  monkeypatch.setattr(kmeans, "_BLOCK", 3)
  monkeypatch.setattr(kmeans, "_ROWS_PER_FLUSH", 100)
  got = kmeans.fit(ROWS, PRIORITY, SETTINGS, meshes.make_mesh(shape))
  expected = reference(ROWS, PRIORITY, 7, 4)
  # Sums are of integers: only the rounding of float32 at the end is left.
  np.testing.assert_allclose(got, expected, atol=1e-7)
  assert got.dtype == np.float32


def test_the_order_of_rows_and_the_devices_change_nothing():
  expected = kmeans.fit(ROWS, PRIORITY, SETTINGS, meshes.make_mesh())
  order = np.random.default_rng(1).permutation(len(ROWS))
  got = kmeans.fit(
    ROWS[order], PRIORITY[order], SETTINGS, meshes.make_mesh((2, 1, 1))
  )
  np.testing.assert_array_equal(got, expected)


def test_an_empty_cluster_takes_the_next_row():
  # The first two rows are one: the second centroid never gets a row.
  rows = np.eye(3, dtype=np.float16)[[0, 0, 1, 2]]
  priority = np.arange(4, dtype=np.uint64)
  mesh = meshes.make_mesh()
  once = kmeans.fit(rows, priority, kmeans.KMeans(2, 1), mesh)
  # Row 0's cluster is the mean of all, as no row is nearer to another.
  np.testing.assert_allclose(
    once, [np.array([2, 1, 1]) / 6**0.5, [0, 1, 0]], atol=1e-7
  )
  settings = kmeans.KMeans(4, 5)
  all_equal = np.repeat(rows[:1], 4, axis=0)
  got = kmeans.fit(all_equal, priority, settings, mesh)
  np.testing.assert_array_equal(got, all_equal)


def test_nearest_is_sorted_and_the_first_of_equals(monkeypatch):
  monkeypatch.setattr(kmeans, "_BLOCK", 5)
  centroids = meshes.unit(RNG.normal(size=(8, 8)))
  centroids[6] = centroids[1]
  ids, cosines = kmeans.nearest(
    ROWS, centroids, meshes.make_mesh((2, 1, 1)), num_nearest=4, batch_size=50
  )
  scores = ROWS.astype(np.float32) @ centroids.T
  # Equal columns must be equal in the reference too.
  scores[:, 6] = scores[:, 1]
  expected = np.argsort(-scores, axis=1, kind="stable")[:, :4]
  np.testing.assert_array_equal(ids, expected)
  # float32 sums of 8 products, in another order.
  np.testing.assert_allclose(
    cosines, np.take_along_axis(scores, expected, 1), atol=1e-6
  )


def test_too_few_rows_or_clusters_are_named():
  mesh = meshes.make_mesh()
  with pytest.raises(ValueError, match="num_clusters is 7.* only 3 rows"):
    kmeans.fit(ROWS[:3], PRIORITY[:3], SETTINGS, mesh)
  with pytest.raises(
    ValueError, match="at most the 8 clusters there are; got 9"
  ):
    kmeans.nearest(ROWS, np.zeros((8, 8)), mesh, num_nearest=9)
  with pytest.raises(ValueError, match="num_clusters must be at least 1"):
    kmeans.KMeans(0)
