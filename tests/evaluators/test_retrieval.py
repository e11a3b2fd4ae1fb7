import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evaluators import retrieval, tiles
from tests.evaluators import meshes

Q, M, E = 6, 10, 3  # one shape, so that the examples share one compilation

# Whole numbers: similarities are exact, and ties are frequent.
queries = hnp.arrays(np.float32, (Q, E), elements=st.integers(-3, 3))
candidates = hnp.arrays(np.float32, (M, E), elements=st.integers(-3, 3))
settings = hypothesis.settings(max_examples=60, deadline=None)

LABEL_Q = np.array([0, 1, 2, 3, 0, 1])
LABEL_M = np.array([0, 0, 1, 2, 3, 4, 4, 5, 6, 7])


def ranks(zquery, zcand, label_q=LABEL_Q, label_m=LABEL_M, shape=(1, 1, 1)):
  return retrieval.ranks(
    zquery,
    zcand,
    label_Q=label_q,
    label_M=label_m,
    mesh=meshes.make_mesh(shape),
  )


@pytest.mark.parametrize("shape", meshes.SHAPES)
@pytest.mark.parametrize(("num_queries", "num_cands"), [(37, 53), (5, 8)])
@pytest.mark.parametrize("grid", [False, True])
def test_equals_reference(shape, num_queries, num_cands, grid):
  rng = np.random.default_rng(num_queries)
  make = rng.integers if grid else rng.normal
  args = (-1, 2) if grid else (0, 1)
  zquery = make(*args, size=(num_queries, 4)).astype(np.float32)
  zcand = make(*args, size=(num_cands, 4)).astype(np.float32)
  if not grid:
    zquery, zcand = meshes.unit(zquery), meshes.unit(zcand)
  label_m = rng.integers(0, 6, num_cands)
  label_q = rng.choice(label_m, num_queries)
  got = ranks(zquery, zcand, label_q, label_m, shape)
  want = retrieval.reference(zquery, zcand, label_Q=label_q, label_M=label_m)
  np.testing.assert_array_equal(got, want)
  if grid:
    assert (got % 1 == 0.5).any(), "no tie in the data"


def test_equals_reference_in_blocks(monkeypatch):
  monkeypatch.setattr(tiles, "_TILE", 16)
  rng = np.random.default_rng(0)
  zquery, zcand = (meshes.unit(rng.normal(size=(n, 4))) for n in (37, 53))
  label_m = np.arange(53)
  label_q = rng.integers(0, 53, 37)
  got = ranks(zquery, zcand, label_q, label_m, (2, 1, 1))
  want = retrieval.reference(zquery, zcand, label_Q=label_q, label_M=label_m)
  np.testing.assert_array_equal(got, want)


def test_memory_is_bounded():
  n, e = 100_000, 64
  row = jax.ShapeDtypeStruct((n, e), np.float32)
  one, five = (jax.ShapeDtypeStruct((n, k), np.int32) for k in (1, 5))
  compiled = retrieval._ranks.lower(
    row, one, row, five, mesh=meshes.make_mesh(), num_blocks=625
  ).compile()
  memory = compiled.memory_analysis()
  assert memory is not None
  # 160 queries of 100,000 similarities take 64 MB; the whole matrix 40 GB.
  assert memory.temp_size_in_bytes < 500e6


def test_by_hand():
  # Similarities to one query: right 0.5; above 0.9; tied 0.5, 0.5; below 0.1.
  zcand = np.array([[0.5], [0.9], [0.5], [0.5], [0.1]], np.float32)
  rank = ranks(np.ones((1, 1), np.float32), zcand, np.array([0]), np.arange(5))
  np.testing.assert_array_equal(rank, [1 + 1 + 2 / 2])
  # The best of several right candidates counts, the others do not stand in
  # its way.
  rank = ranks(
    np.ones((1, 1), np.float32), zcand, np.array([0]), np.array([0, 1, 0, 0, 0])
  )
  np.testing.assert_array_equal(rank, [2])


def test_metrics_of_fractional_ranks():
  got = retrieval.metrics(np.array([1.0, 1.5, 5.0, 5.5, 11.0]))
  assert got == {"R@1": 0.2, "R@5": 0.6, "R@10": 0.8, "median_rank": 5.0}


def test_chance_is_the_mean_over_random_orders():
  num, rng = 40, np.random.default_rng(0)
  rank = rng.integers(1, num + 1, 20_000)
  got, want = retrieval.metrics(rank), retrieval.chance(num)
  for k in retrieval.KS:
    # Four standard errors.
    error = 4 * np.sqrt(want[f"R@{k}"] * (1 - want[f"R@{k}"]) / len(rank))
    assert abs(got[f"R@{k}"] - want[f"R@{k}"]) < error
  assert abs(got["median_rank"] - want["median_rank"]) <= 1
  assert retrieval.chance(4)["R@5"] == 1


def test_chance_with_several_right_candidates():
  num, right, rng = 60, 5, np.random.default_rng(0)
  order = rng.permuted(np.tile(np.arange(num), (20_000, 1)), axis=1)
  rank = 1 + (order < right).argmax(axis=1)
  got, want = retrieval.metrics(rank), retrieval.chance(num, right)
  for k in retrieval.KS:
    error = 4 * np.sqrt(want[f"R@{k}"] * (1 - want[f"R@{k}"]) / len(rank))
    assert abs(got[f"R@{k}"] - want[f"R@{k}"]) < error
  assert abs(got["median_rank"] - want["median_rank"]) <= 1


def test_ranks_with_several_labels():
  rng = np.random.default_rng(0)
  zimg, ztxt = (meshes.unit(rng.normal(size=(n, 8))) for n in (7, 30))
  owners = [*range(7), *rng.integers(0, 7, 23)]
  # Two images share a wording.
  texts = [f"{i}" for i in range(29)] + ["3"]
  image, text = retrieval.labels(texts, owners)
  for query, cand, q, m in (
    (zimg, ztxt, image, text),
    (ztxt, zimg, text, image),
  ):
    want = []
    sim = query @ cand.T
    for i, row in enumerate(sim):
      right = np.isin(m.reshape(len(m), -1), q[i]).any(1)
      want.append(1 + (row[~right] > row[right].max()).sum())
    np.testing.assert_array_equal(ranks(query, cand, q, m), want)
    reference = retrieval.reference(query, cand, label_Q=q, label_M=m)
    np.testing.assert_array_equal(reference, want)
  got = retrieval.evaluate(zimg, ztxt, texts, meshes.make_mesh(), owners=owners)
  assert got["image_to_text"]["num_right"] == (31 + (owners[29] != 3)) / 7


def test_a_collapsed_model_gets_the_middle_rank():
  # The same vector with the rounding that another batch place may give it.
  rng = np.random.default_rng(0)
  z = meshes.unit(np.ones((20, 16)) + 1e-8 * rng.normal(size=(20, 16)))
  z = z * (1 + 1e-7 * rng.integers(-1, 2, (20, 1))).astype(np.float32)
  texts = [str(i) for i in range(20)]
  got = retrieval.evaluate(z, z, texts, meshes.make_mesh(), owners=range(20))
  for direction in ("image_to_text", "text_to_image"):
    assert got[direction] == {
      "num_candidates": 20,
      "num_right": 1.0,
      "R@1": 0.0,
      "R@5": 0.0,
      "R@10": 0.0,
      "median_rank": 10.5,
    }


def test_identical_texts_are_one_answer():
  z = np.eye(4, dtype=np.float32)
  swapped = z[[1, 0, 2, 3]]
  texts = ["cat", "cat", "dog", "owl"]
  args = {"mesh": meshes.make_mesh(), "owners": range(4)}
  got = retrieval.evaluate(swapped, z, texts, **args)
  assert got["image_to_text"]["R@1"] == got["text_to_image"]["R@1"] == 1
  got = retrieval.evaluate(swapped, z, list("abcd"), **args)
  assert got["image_to_text"]["R@1"] == got["text_to_image"]["R@1"] == 0.5


def test_nan_counts_against_the_query():
  zcand = np.eye(3, dtype=np.float32)
  zquery = np.full((1, 3), np.nan, np.float32)
  rank = ranks(zquery, zcand, np.array([2]), np.arange(3))
  np.testing.assert_array_equal(rank, [3])


def test_query_without_right_candidate_is_an_error():
  z = np.eye(3, dtype=np.float32)
  with pytest.raises(ValueError, match="1 of 3 queries .* query 1"):
    ranks(z, z, np.array([0, 7, 1]), np.arange(3))


@settings
@hypothesis.given(queries, candidates, st.sampled_from([2.0, 8.0, 1024.0]))
def test_scale_does_not_matter(zquery, zcand, scale):
  np.testing.assert_array_equal(
    ranks(zquery * np.float32(scale), zcand), ranks(zquery, zcand)
  )


@settings
@hypothesis.given(
  queries, candidates, st.permutations(range(Q)), st.permutations(range(M))
)
def test_order_does_not_matter(zquery, zcand, order_q, order_m):
  order_q, order_m = list(order_q), list(order_m)
  got = ranks(
    zquery[order_q], zcand[order_m], LABEL_Q[order_q], LABEL_M[order_m]
  )
  np.testing.assert_array_equal(got, ranks(zquery, zcand)[order_q])


@settings
@hypothesis.given(queries, st.integers(-3, 3))
def test_identical_candidates_tie(zquery, value):
  rank = ranks(zquery, np.full((M, E), value, np.float32))
  num_wrong = (LABEL_Q[:, None] != LABEL_M).sum(axis=1)
  np.testing.assert_array_equal(rank, 1 + num_wrong / 2)


@settings
@hypothesis.given(queries, candidates)
def test_a_rank_and_its_mirror_add_up(zquery, zcand):
  # With one right candidate: turning all similarities round turns the order.
  label_m = np.arange(M)
  total = ranks(zquery, zcand, LABEL_Q, label_m) + ranks(
    -zquery, zcand, LABEL_Q, label_m
  )
  np.testing.assert_array_equal(total, M + 1)
