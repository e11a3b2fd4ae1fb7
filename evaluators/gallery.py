"""Queries and their best answers, to look at in a report.

Queries are sorted by the rank of the right answer (then by a hash of the key)
and taken at even distances. Hits and misses thus have the same share as in the
figures, and no query is chosen by hand.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence

import jax
import numpy as np

from evaluators import retrieval

RULE = (
  "Queries are sorted by the rank of their right answer and taken at even "
  "distances from best to worst, so hits and misses appear here in the share "
  "they have in the figures."
)


@dataclasses.dataclass(frozen=True)
class Answer:
  """A candidate: its picture, its name, and its cosine similarity."""

  text: str
  image_YXC: np.ndarray  # uint8
  score: float
  is_right: bool


@dataclasses.dataclass(frozen=True)
class Entry:
  """A query (its own picture and name) and its best answers, best first."""

  text: str
  image_YXC: np.ndarray  # uint8
  rank: float  # rank of the best right candidate, ties at mid-rank
  answers: tuple[Answer, ...]
  right: Answer  # the best right candidate, among the answers or not

  @property
  def is_found(self) -> bool:
    """Whether a right answer is among the answers."""
    return any(answer.is_right for answer in self.answers)


@dataclasses.dataclass(frozen=True)
class Panel:
  """The chosen queries of one split and one direction."""

  split: str
  direction: str  # "text_to_image" or "image_to_text"
  num_queries: int
  num_candidates: int
  entries: tuple[Entry, ...]


def make_panels(
  split: str,
  *,
  keys: Sequence[str],
  texts: Sequence[str],
  image_fn: Callable[[int], np.ndarray],
  zimg_NE: np.ndarray,
  ztxt_NE: np.ndarray,
  mesh: jax.sharding.Mesh,
  num_entries: int = 10,
  num_answers: int = 5,
) -> list[Panel]:
  """Make one panel each for text to image and image to text.

  `image_fn` returns the image of a row, uint8 [Y, X, 3]; it is called for the
  images that are shown.
  """
  _, label_N = np.unique(np.asarray(texts), return_inverse=True)

  def make_panel(direction, zquery_NE, zcand_NE) -> Panel:
    rank_N = retrieval.ranks(
      zquery_NE, zcand_NE, label_Q=label_N, label_M=label_N, mesh=mesh
    )

    def make_entry(query: int) -> Entry:
      score_N = zcand_NE @ zquery_NE[query]
      order = np.argsort(-score_N, kind="stable")

      def make_answer(row: int) -> Answer:
        return Answer(
          text=texts[row],
          image_YXC=image_fn(row),
          score=float(score_N[row]),
          is_right=bool(label_N[row] == label_N[query]),
        )

      best_right = next(row for row in order if label_N[row] == label_N[query])
      return Entry(
        text=texts[query],
        image_YXC=image_fn(query),
        rank=float(rank_N[query]),
        answers=tuple(make_answer(row) for row in order[:num_answers]),
        right=make_answer(best_right),
      )

    return Panel(
      split=split,
      direction=direction,
      num_queries=len(keys),
      num_candidates=len(keys),
      entries=tuple(
        make_entry(query) for query in _choose(keys, rank_N, num_entries)
      ),
    )

  return [
    make_panel("text_to_image", ztxt_NE, zimg_NE),
    make_panel("image_to_text", zimg_NE, ztxt_NE),
  ]


def _choose(
  keys: Sequence[str], rank_N: np.ndarray, num_entries: int
) -> list[int]:
  # The hash keeps ties from being taken in alphabetical order, which would
  # show neighbours (one person in five skin tones).
  digests = [hashlib.sha256(key.encode()).hexdigest() for key in keys]
  order = sorted(range(len(keys)), key=lambda i: (rank_N[i], digests[i]))
  count = min(num_entries, len(order))
  return [order[int((i + 0.5) * len(order) / count)] for i in range(count)]
