"""Exact search beside a search in float64 over all rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.indexing import exact

KERNELS = [exact.numpy_products, exact.simd_products]


def _unit(seed, num, size, dtype):
  x = np.random.default_rng(seed).standard_normal((num, size))
  return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(dtype)


def _expected(rows_NE, query_QE, num, removed):
  score_QN = np.asarray(query_QE, float) @ rows_NE.astype(float).T
  score_QN[:, removed] = -np.inf
  num = min(num, len(rows_NE) - len(removed))
  order_QN = np.argsort(-score_QN, axis=1, kind="stable")[:, :num]
  return order_QN, np.take_along_axis(score_QN, order_QN, axis=1)


def _check(rows_NE, query_QE, num, removed=(), cuts=(), kernel=None):
  shards = np.split(rows_NE, sorted(cuts))
  removed = np.array(sorted(removed), np.int64)
  found = exact.search([*shards], query_QE, num, removed=removed, kernel=kernel)
  row_QK, score_QK = _expected(rows_NE, query_QE, num, removed)
  np.testing.assert_array_equal(found.row_QK, row_QK)
  np.testing.assert_allclose(found.score_QK, score_QK, atol=1e-6)
  assert found.row_QK.dtype == np.int64


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("num_queries", [1, 3, 9])
def test_the_nearest_rows(monkeypatch, kernel, dtype, num_queries):
  monkeypatch.setattr(exact, "_BLOCK", 100)
  rows_NE = _unit(0, 1234, 48, dtype)
  query_QE = _unit(1, num_queries, 48, np.float32)
  removed = _expected(rows_NE, query_QE, 2, [])[0].ravel()[::2]
  for num in (1, 10, 1000):
    _check(rows_NE, query_QE, num, kernel=kernel)
    _check(rows_NE, query_QE, num, set(removed), [7, 500, 500], kernel)


@pytest.mark.parametrize("kernel", KERNELS)
def test_rows_that_float16_cannot_tell_apart(monkeypatch, kernel):
  """The first pass rounds the query: many rows are within its error."""
  monkeypatch.setattr(exact, "_BLOCK", 64)
  rng = np.random.default_rng(0)
  query_QE = _unit(1, 2, 32, np.float64)
  near_NE = query_QE[:1] + 1e-4 * rng.standard_normal((700, 32))
  near_NE /= np.linalg.norm(near_NE, axis=1, keepdims=True)
  _check(near_NE.astype(np.float32), query_QE, 20, kernel=kernel)
  _check(near_NE.astype(np.float16), query_QE, 20, kernel=kernel)


def test_equal_rows_come_in_order(monkeypatch):
  monkeypatch.setattr(exact, "_BLOCK", 16)
  monkeypatch.setattr(exact, "_SAMPLE", 20)
  rows_NE = np.repeat(_unit(0, 2, 8, np.float16), 100, axis=0)
  _check(rows_NE, rows_NE[:1], 150, removed=[0, 3])


@settings(deadline=None, max_examples=60)
@given(
  seed=st.integers(0, 99),
  num_rows=st.integers(1, 200),
  num=st.integers(1, 220),
  block=st.integers(1, 64),
  data=st.data(),
)
def test_any_blocks_shards_and_removals(seed, num_rows, num, block, data):
  cuts = data.draw(st.lists(st.integers(0, num_rows), max_size=3))
  removed = data.draw(st.sets(st.integers(0, num_rows - 1)))
  rows_NE = _unit(seed, num_rows, 6, data.draw(st.sampled_from(["f2", "f4"])))
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(exact, "_BLOCK", block)
    patch.setattr(exact, "_SAMPLE", data.draw(st.integers(1, 64)))
    _check(rows_NE, _unit(seed + 1, 2, 6, np.float32), num, removed, cuts)
