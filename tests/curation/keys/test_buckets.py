"""ALIGN's buckets against comparing every image with every reference."""

import numpy as np
import pytest

from curation.keys import buckets
from tests.evaluators import meshes

K = 30


def embedded(num_rows, seed):
  rng = np.random.default_rng(seed)
  rows = meshes.unit(rng.normal(size=(num_rows, 6))).astype(np.float16)
  centroids = meshes.unit(np.random.default_rng(9).normal(size=(K, 6)))
  nearest = np.argsort(-(rows.astype(np.float32) @ centroids.T), axis=1)[:, :5]
  return rows, nearest


def brute_force(rows, ids, refs, ref_ids):
  """Return the best cosine and row, as the paper's rule says it."""
  cosine = buckets._unit(rows) @ buckets._unit(refs).T
  shared = np.array([[len({*a} & {*b}) for b in ref_ids] for a in ids])
  cosine = np.where(shared >= 3, cosine, -1)
  best = cosine.max(1)
  return best, np.where(best > -1, cosine.argmax(1), -1), shared


@pytest.mark.parametrize("dense", [0, 64])
@pytest.mark.parametrize("chunk", [1, 100, 1 << 22])
def test_equals_brute_force(chunk, dense, monkeypatch):
  monkeypatch.setattr(buckets, "_DENSE", dense)
  monkeypatch.setattr(buckets, "_JOIN_CHUNK", chunk)
  monkeypatch.setattr(buckets, "_COMPARE_CHUNK", max(chunk // 7, 1))
  rows, ids = embedded(40, 0)
  refs, ref_ids = embedded(12, 1)
  refs[7], ref_ids[7] = rows[3], ids[3]
  best, nearest, shared = brute_force(rows, ids, refs, ref_ids)
  assert 0 < (shared >= 3).mean() < 0.8
  assert (nearest < 0).any()
  references = buckets.References(refs, ref_ids, num_clusters=K, subset=3)
  got_cosine, got_row = references.nearest(rows, ids)
  # float32 sums of 6 products, in another order.
  np.testing.assert_allclose(got_cosine, best, atol=1e-6)
  np.testing.assert_array_equal(got_row, nearest)
  assert got_row[3] == 7


def test_buckets_are_all_subsets_whatever_the_order():
  got = buckets.buckets(np.array([[4, 0, 7, 2]]), 10, 3)
  assert sorted(got[0].tolist()) == [24, 27, 47, 247]
  ids = np.arange(4096)[None, 5:15]
  assert len(set(buckets.buckets(ids, 4096, 3)[0])) == 120


def test_no_references():
  rows, ids = embedded(4, 0)
  references = buckets.References(rows[:0], ids[:0], num_clusters=K, subset=3)
  cosine, row = references.nearest(rows, ids)
  assert (cosine == -1).all()
  assert (row == -1).all()


def test_numbers_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match=r"below 2 \*\* 63; got 100000 \*\* 4"):
    buckets.check_packing(100_000, 4)
