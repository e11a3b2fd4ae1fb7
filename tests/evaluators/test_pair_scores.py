"""Retrieval by scores of pairs: blocks, ranks, records."""

import re

import numpy as np
import pytest

from evaluators import pair_scores, retrieval, summary
from tests.evaluators import test_results_schema

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
  ("video_block", "text_block"), [(1, 1), (2, 3), (9, 9)]
)
def test_blocks_do_not_matter(video_block: int, text_block: int):
  videos, tokens = RNG.normal(size=(5, 4)), RNG.integers(0, 9, (7, 4))
  encoded = []

  def encode(block):
    assert len(block) == video_block
    encoded.append(len(block))
    return 2 * block

  def score(block, tokens_tL):
    assert tokens_tL.shape == (text_block, 4)
    return block @ tokens_tL.T

  got = pair_scores.score_all(
    lambda rows: videos[rows],
    encode,
    score,
    num_videos=5,
    tokens_ML=tokens,
    video_block=video_block,
    text_block=text_block,
  )
  np.testing.assert_allclose(got, 2 * videos @ tokens.T, rtol=1e-5)
  # Each video is encoded once, whatever the number of texts.
  assert len(encoded) == -(-5 // video_block)


def test_bad_blocks_are_named():
  with pytest.raises(ValueError, match="problems") as error:
    pair_scores.score_all(
      *(None,) * 3,
      num_videos=0,
      tokens_ML=np.zeros((0, 4)),
      video_block=0,
      text_block=1,
    )
  assert "video_block must be at least 1" in str(error.value)
  assert "the number of videos must be" in str(error.value)


def test_ranks_are_those_of_embeddings():
  """Scores that are cosines rank as evaluators/retrieval.py does."""
  zimg, ztxt = (RNG.normal(size=(n, 5)).astype(np.float32) for n in (6, 9))
  zimg /= np.linalg.norm(zimg, axis=1, keepdims=True)
  ztxt /= np.linalg.norm(ztxt, axis=1, keepdims=True)
  owners = np.array([0, 1, 2, 3, 4, 5, 5, 0, 2])
  judged = pair_scores.judge(zimg @ ztxt.T, owners)
  expected = retrieval.reference(
    ztxt, zimg, label_Q=owners, label_M=np.arange(6)
  )
  np.testing.assert_array_equal(judged["text_to_video"].rank_Q, expected)
  expected = retrieval.reference(
    zimg, ztxt, label_Q=np.arange(6), label_M=owners
  )
  np.testing.assert_array_equal(judged["video_to_text"].rank_Q, expected)


def test_equal_texts_are_right_for_each_others_videos():
  score = np.array([[0.1, 0.9], [0.2, 0.8]])
  apart = pair_scores.judge(score, [0, 1])
  same = pair_scores.judge(score, [0, 1], ["a", "a"])
  assert apart["video_to_text"].rank_Q.tolist() == [2, 1]
  assert same["video_to_text"].rank_Q.tolist() == [1, 1]


def test_equal_scores_rank_in_the_middle_and_nan_above():
  right = np.array([[True, False, False]])
  assert pair_scores.ranks(np.zeros((1, 3)), right).tolist() == [2]
  score = np.array([[5.0, np.nan, 1.0]])
  assert pair_scores.ranks(score, right).tolist() == [2]
  with pytest.raises(ValueError, match=re.escape("query 0 has the best")):
    pair_scores.ranks(np.array([[np.nan, 1.0, 2.0]]), right)
  with pytest.raises(ValueError, match="query 0"):
    pair_scores.ranks(score, np.zeros((1, 3), bool))


def test_record():
  score = 3 * np.eye(12) + RNG.normal(size=(12, 12))
  made = pair_scores.record(
    pair_scores.judge(score, range(12)), {"num_clips": 16, "aggregate": "lse"}
  )
  for name in pair_scores.NAMES:
    figures = made[name]
    assert figures["chance"]["R@1"] == pytest.approx(1 / 12)
    low, high = figures["intervals"]["R@1"]
    assert low <= figures["R@1"] <= high
    assert figures["median_rank"] >= 1
  results = {"msrvtt": made}
  test_results_schema.validate(results)
  assert [row.label for row in summary.rows(results)] == [
    "video to text",
    "text to video",
  ]
  assert "text to video" in summary.table(results)


def test_log_odds_order_as_the_probability():
  logits = RNG.normal(0, 2, (20, 2))
  odds = pair_scores.log_odds(logits)
  probability = np.exp(logits[:, 1]) / np.exp(logits).sum(1)
  assert np.argsort(odds).tolist() == np.argsort(probability).tolist()
