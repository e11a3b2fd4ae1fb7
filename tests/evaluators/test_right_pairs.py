import numpy as np
import pytest

from evaluators import right_pairs


def test_pairs_equal_the_dense_matrix():
  rng = np.random.default_rng(0)
  label_q, label_m = rng.integers(0, 30, (20, 3)), rng.integers(0, 30, (25, 2))
  label_q[:, 0] = label_m[rng.integers(0, 25, 20), 0]
  dense = (label_q[:, None, :, None] == label_m[None, :, None, :]).any((2, 3))
  got = right_pairs.pairs(label_q, label_m)
  np.testing.assert_array_equal(got, np.nonzero(dense))
  right_pairs.check(label_q, label_m)
  for a, b, right in (
    (label_q, label_m[:, 0], label_q[:, None] == label_m[:, :1]),
    (label_q[:, 0], label_m, label_q[:, :1, None] == label_m),
  ):
    got = right_pairs.num_right(a, b)
    np.testing.assert_array_equal(got, right.any(axis=2).sum(axis=1))


def test_a_query_without_a_right_candidate_is_named():
  with pytest.raises(ValueError, match="2 of 3 queries .* is query 1"):
    right_pairs.check(np.array([3, 5, 7]), np.array([3, 4]))
