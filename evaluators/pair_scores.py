"""Retrieval by a model that scores each pair of a video and a text.

Such a model has no embeddings: N videos and M texts take N * M forward passes
of its fusion. Videos are encoded once, a block at a time, and each block is
scored with one block of texts after the other, by programs of one shape.

A score is the log-odds of a match. ClipBERT's released code ranks by the
probability, rounded to four digits: the same order, with ties at its ends.

Shape letters beside those of models/layers.py: N videos, M texts, Q queries.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from evaluators import directions, retrieval
from runtime import checks, progress

VIDEO_TO_TEXT, TEXT_TO_VIDEO = NAMES = ("video_to_text", "text_to_video")
KIND = "video_retrieval"
# Seconds of scoring without a line about its progress.
_SILENT = 5.0


def log_odds(logits: Any) -> Any:
  """Return the log-odds of a match, [...], of logits [..., 2]: no, yes."""
  return logits[..., 1] - logits[..., 0]


def score_all(
  videos_fn: Callable[[np.ndarray], Any],
  encode_fn: Callable[[Any], Any],
  score_fn: Callable[[Any, np.ndarray], Any],
  *,
  num_videos: int,
  tokens_ML: np.ndarray,
  video_block: int,
  text_block: int,
) -> np.ndarray:
  """Score all pairs, float32 [N, M].

  Args:
    videos_fn: function from indices of `video_block` videos to their arrays.
    encode_fn: function from these arrays to what is kept of the videos while
      they are scored.
    score_fn: function from that and tokens [text_block, L] to scores
      [video_block, text_block].
    num_videos: number of videos.
    tokens_ML: int32 ids of the texts.
    video_block: videos that are encoded at once; a last block repeats its last
      video.
    text_block: texts that are scored at once with a block of videos.

  Raises:
    ValueError: a block is smaller than 1, or there is no video or text.
  """
  with checks.collected():
    checks.at_least("video_block", video_block, 1)
    checks.at_least("text_block", text_block, 1)
    checks.at_least("the number of videos", num_videos, 1)
    checks.at_least("the number of texts", len(tokens_ML), 1)
  score_NM = np.empty((num_videos, len(tokens_ML)), np.float32)
  texts = [*blocks(len(tokens_ML), text_block)]
  total = num_videos * len(tokens_ML)
  with progress.Progress("pairs scored", total, delay=_SILENT) as bar:
    for rows, filled in blocks(num_videos, video_block):
      encoded = encode_fn(videos_fn(filled))
      for columns, chosen in texts:
        score = np.asarray(score_fn(encoded, tokens_ML[chosen]))
        block = np.ix_(rows, columns)
        score_NM[block] = score[: len(rows), : len(columns)]
        bar.advance(len(rows) * len(columns))
  return score_NM


def blocks(num: int, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
  """Return rows of each block, and the same filled up by the last one.

  >>> [filled.tolist() for _, filled in blocks(3, 2)]
  [[0, 1], [2, 2]]
  """
  every = [
    np.arange(start, min(start + size, num)) for start in range(0, num, size)
  ]
  return [(x, np.pad(x, (0, size - len(x)), mode="edge")) for x in every]


def ranks(score_QM: np.ndarray, right_QM: np.ndarray) -> np.ndarray:
  """Rank each query's best right candidate, ties at mid-rank: float64 [Q].

  The rank is that of evaluators/retrieval.py; only equal scores are tied.

  Args:
    score_QM: scores; NaN counts as a wrong candidate above the right ones.
    right_QM: bool, at least one candidate of each query.

  Raises:
    ValueError: a query has no right candidate, or its best score is no number.

  >>> scores = np.array([[0.5, 0.5, 0.1], [0.2, 0.9, 0.1]])
  >>> ranks(scores, np.array([[True, False, False], [False, False, True]]))
  array([1.5, 3. ])
  """
  best_Q1 = np.where(right_QM, score_QM, -np.inf).max(axis=1, keepdims=True)
  if not np.isfinite(best_Q1).all():
    row = int(np.flatnonzero(~np.isfinite(best_Q1[:, 0]))[0])
    raise ValueError(
      "each query must have a right candidate with a finite score; query"
      f" {row} has the best right score {best_Q1[row, 0]}"
    )
  above_QM = ~right_QM & ~(score_QM <= best_Q1)
  tied_QM = ~right_QM & (score_QM == best_Q1)
  return 1 + above_QM.sum(axis=1) + tied_QM.sum(axis=1) / 2


def judge(
  score_NM: np.ndarray, owners: Sequence[int], texts: Sequence[str] = ()
) -> dict[str, directions.Direction]:
  """Return the outcome of both directions.

  Args:
    score_NM: result of `score_all`.
    owners: video of each text.
    texts: texts themselves; a text is right for all videos that have one of its
      wording. (): all texts differ.
  """
  owner_M = np.asarray(owners)
  if texts:
    video_NK, text_M = retrieval.labels(texts, owners)
    right_NM = (video_NK[:, :, None] == text_M).any(axis=1)
  else:
    right_NM = np.arange(len(score_NM))[:, None] == owner_M
  judged = {}
  for name, score_QM, right_QM, video_Q in (
    (VIDEO_TO_TEXT, score_NM, right_NM, np.arange(len(score_NM))),
    (TEXT_TO_VIDEO, score_NM.T, right_NM.T, owner_M),
  ):
    sizes = {
      "num_candidates": right_QM.shape[1],
      "num_right": float(right_QM.sum(axis=1).mean()),
    }
    rank_Q = ranks(score_QM, right_QM)
    judged[name] = directions.Direction(rank_Q, video_Q, sizes)
  return judged


def record(
  judged: dict[str, directions.Direction], protocol: dict[str, Any]
) -> dict[str, Any]:
  """Return figures with intervals and chance, for results.json.

  Args:
    judged: result of `judge`.
    protocol: clips of a video, their aggregation and whatever else the scores
      depend on; definitions of the figures are added.
  """
  made: dict[str, Any] = {"kind": KIND}
  for name, direction in judged.items():
    made[name] = {
      **direction.figures(),
      "chance": {
        figure: value
        for figure, value in direction.chance().items()
        if figure in direction.figures()
      },
      "intervals": direction.intervals(),
    }
  definitions = retrieval.protocol()
  made["protocol"] = {
    **{name: definitions[name] for name in ("metric_version", "R@k", "rank")},
    "similarity": "log-odds of a match, float32",
    "ties": "equal scores, at mid-rank",
    **protocol,
  }
  return made
