"""Centred rows: their mean, and exact search among them."""

import numpy as np
import pytest

from inference.indexing import centring, exact


def _unit(x):
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def _cone(seed, num, size, dtype):
  """Return rows around one direction, as embeddings of a modality are."""
  rng = np.random.default_rng(seed)
  return _unit(2 * np.eye(size)[0] + rng.normal(size=(num, size)) / 2).astype(
    dtype
  )


def _expected(rows_NE, query_QE, num, removed):
  rows_NE = rows_NE.astype(float)
  mean_E = np.delete(rows_NE, removed, axis=0).mean(axis=0)
  score_QN = np.asarray(query_QE, float) @ _unit(rows_NE - mean_E).T
  score_QN[:, removed] = -np.inf
  order_QN = np.argsort(-score_QN, axis=1, kind="stable")[:, :num]
  return order_QN, np.take_along_axis(score_QN, order_QN, axis=1)


@pytest.mark.parametrize("kernel", [exact.numpy_products, exact.simd_products])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_search_among_centred_rows(monkeypatch, kernel, dtype):
  monkeypatch.setattr(exact, "_BLOCK", 100)
  monkeypatch.setattr(centring, "_ROWS", 64)
  rows_NE = _cone(0, 700, 24, dtype)
  query_QE = _unit(np.random.default_rng(1).normal(size=(3, 24)))
  removed = np.sort(_expected(rows_NE, query_QE, 2, [])[0].ravel()[::2])
  shards = np.split(rows_NE, [7, 400])
  for gone in (np.zeros(0, np.int64), np.unique(removed)):
    centre = centring.of_shards(shards, gone)
    assert centre.num == 700 - len(gone)
    found = exact.search(
      shards, query_QE, 20, removed=gone, centre=centre, kernel=kernel
    )
    row_QK, score_QK = _expected(rows_NE, query_QE, 20, gone)
    np.testing.assert_array_equal(found.row_QK, row_QK)
    np.testing.assert_allclose(found.score_QK, score_QK, atol=1e-6)


def test_rows_within_the_rounding_of_the_first_pass():
  """Centred, rows that are nearly the same have scores of any size."""
  rng = np.random.default_rng(0)
  rows_NE = _unit(np.eye(16)[0] + 3e-3 * rng.normal(size=(500, 16)))
  rows_NE = rows_NE.astype(np.float16)
  query_QE = _unit(rng.normal(size=(2, 16)))
  centre = centring.of_shards([rows_NE], np.zeros(0, np.int64))
  found = exact.search([rows_NE], query_QE, 9, centre=centre)
  row_QK, score_QK = _expected(rows_NE, query_QE, 9, [])
  np.testing.assert_array_equal(found.row_QK, row_QK)
  np.testing.assert_allclose(found.score_QK, score_QK, atol=1e-6)


def test_a_row_that_is_the_mean_scores_0():
  rows_NE = np.float32([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]])
  middle = rows_NE.mean(axis=0)
  rows_NE = np.concatenate([rows_NE, [middle]]).astype(np.float32)
  centre = centring.of_shards([rows_NE], np.zeros(0, np.int64))
  np.testing.assert_allclose(centre.mean_E, middle, atol=1e-7)
  query_E = _unit(np.float64([[1, -1]]))
  found = exact.search([rows_NE], query_E, 5, centre=centre)
  assert found.score_QK[0, found.row_QK[0] == 4] == 0
  assert found.row_QK[0, 0] == 0
  assert not centring.centred(middle[None], middle).any()
