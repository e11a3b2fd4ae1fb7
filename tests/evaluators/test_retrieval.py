import hypothesis
import numpy as np
import pytest
import scipy.special
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evaluators import directions, retrieval
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
  assert got == {
    "R@1": 0.2,
    "R@5": 0.6,
    "R@10": 0.8,
    "median_rank": 5.0,
    "mean_rank": 24 / 5,
    "MRR": pytest.approx((1 + 1 / 1.5 + 1 / 5 + 1 / 5.5 + 1 / 11) / 5),
  }


def test_chance_is_the_mean_over_random_orders():
  num, rng = 40, np.random.default_rng(0)
  rank = rng.integers(1, num + 1, 20_000)
  got, want = retrieval.metrics(rank), retrieval.chance(num)
  for k in retrieval.KS:
    # Four standard errors.
    error = 4 * np.sqrt(want[f"R@{k}"] * (1 - want[f"R@{k}"]) / len(rank))
    assert abs(got[f"R@{k}"] - want[f"R@{k}"]) < error
  assert abs(got["median_rank"] - want["median_rank"]) <= 1
  _assert_mean_rank_and_mrr(rank, want)
  assert retrieval.chance(4)["R@5"] == 1


def _assert_mean_rank_and_mrr(rank, want):
  for value, name in ((rank, "mean_rank"), (1 / rank, "MRR")):
    error = 4 * value.std() / np.sqrt(len(rank))
    assert abs(value.mean() - want[name]) < error


def test_chance_with_several_right_candidates():
  num, right, rng = 60, 5, np.random.default_rng(0)
  order = rng.permuted(np.tile(np.arange(num), (20_000, 1)), axis=1)
  rank = 1 + (order < right).argmax(axis=1)
  got, want = retrieval.metrics(rank), retrieval.chance(num, right)
  for k in retrieval.KS:
    error = 4 * np.sqrt(want[f"R@{k}"] * (1 - want[f"R@{k}"]) / len(rank))
    assert abs(got[f"R@{k}"] - want[f"R@{k}"]) < error
    recall = np.mean((order < right)[:, :k].sum(axis=1) / right)
    assert abs(recall - want[f"true_recall@{k}"]) < error
  assert abs(got["median_rank"] - want["median_rank"]) <= 1
  _assert_mean_rank_and_mrr(rank, want)


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
  got = directions.evaluate(
    zimg, ztxt, texts, meshes.make_mesh(), owners=owners
  )
  assert got["image_to_text"]["num_right"] == (31 + (owners[29] != 3)) / 7


def test_a_collapsed_model_gets_the_middle_rank():
  # The same vector with the rounding that another batch place may give it.
  rng = np.random.default_rng(0)
  z = meshes.unit(np.ones((20, 16)) + 1e-8 * rng.normal(size=(20, 16)))
  z = z * (1 + 1e-7 * rng.integers(-1, 2, (20, 1))).astype(np.float32)
  texts = [str(i) for i in range(20)]
  got = directions.evaluate(z, z, texts, meshes.make_mesh(), owners=range(20))
  for direction in ("image_to_text", "text_to_image"):
    assert got[direction] == {
      "num_candidates": 20,
      "num_right": 1.0,
      "R@1": 0.0,
      "R@5": 0.0,
      "R@10": 0.0,
      "median_rank": 10.5,
      "mean_rank": 10.5,
      "MRR": pytest.approx(1 / 10.5),
    }


def test_identical_texts_are_one_answer():
  z = np.eye(4, dtype=np.float32)
  swapped = z[[1, 0, 2, 3]]
  texts = ["cat", "cat", "dog", "owl"]
  args = {"mesh": meshes.make_mesh(), "owners": range(4)}
  got = directions.evaluate(swapped, z, texts, **args)
  assert got["image_to_text"]["R@1"] == got["text_to_image"]["R@1"] == 1
  got = directions.evaluate(swapped, z, list("abcd"), **args)
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


def _captioned(num=40, captions=5, seed=0):
  """Return embeddings, texts and owners of images with several captions."""
  rng = np.random.default_rng(seed)
  owners = np.repeat(np.arange(num), captions)
  zimg = meshes.unit(rng.normal(size=(num, 8)))
  ztxt = meshes.unit(zimg[owners] + 0.4 * rng.normal(size=(len(owners), 8)))
  texts = [str(m) for m in range(len(owners))]
  return zimg, ztxt, texts, owners


def _recalls(score_QM, right_QM, k):
  """Return recall@k of each query, as CLIP_benchmark's `recall_at_k`.

  Its "recall@k" is the mean of `recall > 0`; mteb's is the mean of `recall`.
  """
  top_QK = np.argsort(-score_QM, axis=1)[:, :k]
  hits_Q = np.take_along_axis(right_QM, top_QK, axis=1).sum(axis=1)
  return hits_Q / right_QM.sum(axis=1)


@pytest.mark.parametrize("shape", meshes.SHAPES)
def test_both_directions_equal_other_projects(shape):
  zimg, ztxt, texts, owners = _captioned()
  got = directions.evaluate(
    zimg,
    ztxt,
    texts,
    meshes.make_mesh(shape),
    owners=owners,
    true_recall=True,
  )
  right_NM = owners == np.arange(40)[:, None]
  for direction, score_QM, right_QM in (
    ("image_to_text", zimg @ ztxt.T, right_NM),
    ("text_to_image", ztxt @ zimg.T, right_NM.T),
  ):
    for k in retrieval.KS:
      recall_Q = _recalls(score_QM, right_QM, k)
      assert got[direction][f"R@{k}"] == np.mean(recall_Q > 0)
      assert got[direction][f"true_recall@{k}"] == pytest.approx(
        np.mean(recall_Q), abs=1e-12
      )
  # Five captions an image: its true recall@1 is at most 0.2.
  to_text = got["image_to_text"]
  assert to_text["true_recall@1"] == pytest.approx(to_text["R@1"] / 5)
  assert 0.2 < to_text["R@1"] < 1


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 2, 1)])
def test_dsl_is_the_softmax_over_queries(shape):
  zimg, ztxt, texts, owners = _captioned()
  image_NK, text_M = retrieval.labels(texts, owners)
  mesh = meshes.make_mesh(shape)
  both = retrieval.ranks_both(
    zimg, ztxt, label_N=image_NK, label_M=text_M, mesh=mesh, reweight="dsl"
  )
  plain = retrieval.ranks_both(
    zimg, ztxt, label_N=image_NK, label_M=text_M, mesh=mesh
  )
  one = retrieval.ranks(
    zimg, ztxt, label_Q=image_NK, label_M=text_M, mesh=mesh, reweight="dsl"
  )
  np.testing.assert_array_equal(both[0], one)
  right_NM = owners == np.arange(40)[:, None]
  sim_NM = (zimg @ ztxt.T).astype(np.float64)
  for got_Q, plain_Q, sim_QM, right_QM in (
    (both[0], plain[0], sim_NM, right_NM),
    (both[1], plain[1], sim_NM.T, right_NM.T),
  ):
    # Perception Encoder (arXiv 2504.13181), equation 1 of B.1.2.
    score_QM = sim_QM * scipy.special.softmax(sim_QM, axis=0)
    best_Q1 = np.where(right_QM, score_QM, -1).max(axis=1, keepdims=True)
    want_Q = 1 + (~right_QM & (score_QM > best_Q1)).sum(axis=1)
    np.testing.assert_array_equal(got_Q, want_Q)
    assert (got_Q != plain_Q).any()
  reference = retrieval.reference(
    zimg, ztxt, label_Q=image_NK, label_M=text_M, reweight="dsl"
  )
  np.testing.assert_array_equal(both[0], reference)


def test_protocol_names_what_figures_mean():
  plain, dsl = retrieval.protocol(), retrieval.protocol("dsl")
  assert plain["metric_version"] == "1"
  assert "1e-06" in plain["ties"]
  assert "half of the wrong ones tied" in plain["rank"]
  assert plain["R@k"].startswith("hit@k")
  assert plain["reweight"] == "none"
  assert {k: v for k, v in plain.items() if k != "reweight"} == {
    k: v for k, v in dsl.items() if k != "reweight"
  }


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    ({"reweight": "DSL"}, r"sets\.x\.reweight must be one of .*; got 'DSL'"),
    (
      {"reweight": "dsl", "metrics": ("true_recall@1",)},
      r"sets\.x\.reweight must be '' for true_recall@1.*; got 'dsl'",
    ),
  ],
)
def test_fields_that_cannot_be_used(fields, words, monkeypatch):
  monkeypatch.setattr(
    retrieval.evaluation_split, "check_source", lambda *args: None
  )
  config = retrieval.RetrievalConfig(
    kind="retrieval",
    source=None,
    all_names=False,
    **({"metrics": retrieval.METRICS} | fields),
  )
  with pytest.raises(ValueError, match=words):
    config.check("evaluate.sets.x")


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
