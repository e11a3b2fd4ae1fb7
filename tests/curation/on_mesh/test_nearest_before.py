"""SemDeDup's rule against its reference, and what must not change it."""

import numpy as np
import pytest

from curation.on_mesh import nearest_before
from tests.evaluators import meshes


def clustered(num_rows=230, num_clusters=9, seed=0):
  """Return rows around centroids, their clusters and cosines with these."""
  rng = np.random.default_rng(seed)
  centroids = meshes.unit(rng.normal(size=(num_clusters, 16)))
  # Clusters of very different sizes, and of rows that are near each other.
  cluster = np.minimum(rng.geometric(0.35, num_rows) - 1, num_clusters - 1)
  rows = meshes.unit(centroids[cluster] + 0.1 * rng.normal(size=(num_rows, 16)))
  rows = rows.astype(np.float16)
  rows[50:90] = rows[:40]  # ties of distance
  cluster[50:90] = cluster[:40]
  cosine = (rows.astype(np.float32) * centroids[cluster]).sum(1)
  return rows, cluster, cosine


@pytest.mark.parametrize(
  ("shape", "tile"), [((1, 1, 1), 16), ((2, 1, 1), 50), ((1, 1, 1), 256)]
)
def test_equals_the_reference(shape, tile):
  rows, cluster, cosine = clustered()
  expected = nearest_before.reference(rows, cluster, cosine)
  got = nearest_before.nearest_before(
    rows, cluster, cosine, meshes.make_mesh(shape), tile=tile
  )
  # float32 sums of 16 products, in another order.
  np.testing.assert_allclose(got, expected, atol=1e-6)
  first = expected == nearest_before.NONE_BEFORE
  assert first.sum() == len(np.unique(cluster))
  np.testing.assert_array_equal(got[first], expected[first])


def test_of_near_copies_the_farthest_from_the_centroid_stays():
  rows = np.array([[1, 0], [0.8, 0.6], [0.79, 0.613]], np.float32)
  cosine = rows[:, 0]
  got = nearest_before.nearest_before(
    rows, np.zeros(3, int), cosine, meshes.make_mesh(), tile=4
  )
  assert got[2] == nearest_before.NONE_BEFORE
  assert got[1] == pytest.approx(0.9998, abs=1e-4)
  # In another order of the rows it is the same row.
  got = nearest_before.nearest_before(
    rows[::-1], np.zeros(3, int), cosine[::-1], meshes.make_mesh(), tile=4
  )
  assert got[0] == nearest_before.NONE_BEFORE


def test_the_order_of_different_rows_changes_nothing():
  rows, cluster, cosine = clustered()
  rows, cluster, cosine = rows[90:], cluster[90:], cosine[90:]
  mesh = meshes.make_mesh()
  expected = nearest_before.nearest_before(rows, cluster, cosine, mesh, tile=32)
  order = np.random.default_rng(1).permutation(len(rows))
  got = nearest_before.nearest_before(
    rows[order], cluster[order], cosine[order], mesh, tile=32
  )
  np.testing.assert_array_equal(got, expected[order])


def test_epsilon_removes_the_fraction():
  rows, cluster, cosine = clustered()
  before = nearest_before.reference(rows, cluster, cosine)
  for fraction in (0.0, 0.25, 0.5):
    removed = before > 1 - nearest_before.epsilon(before, fraction)
    # Equal rows have equal cosines and go together.
    assert removed.mean() == pytest.approx(fraction, abs=0.02)
