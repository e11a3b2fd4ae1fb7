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


@dataclasses.dataclass(frozen=True)
class _Side:
  """All images or all captions: embeddings, labels, and rows to show."""

  z: np.ndarray
  labels: np.ndarray
  texts: Sequence[str]
  owners: Sequence[int]
  keys: Sequence[str]


def make_panels(
  split: str,
  *,
  keys: Sequence[str],
  texts: Sequence[str],
  owners: Sequence[int],
  image_fn: Callable[[int], np.ndarray],
  zimg_NE: np.ndarray,
  ztxt_ME: np.ndarray,
  mesh: jax.sharding.Mesh,
  num_entries: int = 10,
  num_answers: int = 5,
) -> list[Panel]:
  """Make one panel each for text to image and image to text.

  Args:
    split: name of the evaluation set.
    keys: key of each of N images.
    texts: M captions of the images; an image is shown with its first one.
    owners: image of each caption.
    image_fn: function from an image's row to uint8 [Y, X, 3]; called for the
      images that are shown.
    zimg_NE, ztxt_ME: embeddings of length 1.
    mesh: all devices.
    num_entries: queries of a panel.
    num_answers: answers to a query.
  """
  image_NK, text_M = retrieval.labels(texts, owners)
  first = {owner: m for m, owner in reversed(list(enumerate(owners)))}
  images = _Side(
    zimg_NE,
    image_NK,
    texts=[texts[first[n]] for n in range(len(keys))],
    owners=range(len(keys)),
    keys=keys,
  )
  captions = _Side(
    ztxt_ME,
    text_M[:, None],
    texts=texts,
    owners=owners,
    # An image's first caption has its key, so that both panels choose alike.
    keys=[
      keys[owner] if first[owner] == m else f"{keys[owner]} {m}"
      for m, owner in enumerate(owners)
    ],
  )

  def make_panel(direction: str, queries: _Side, cands: _Side) -> Panel:
    rank_Q = retrieval.ranks(
      queries.z,
      cands.z,
      label_Q=queries.labels,
      label_M=cands.labels,
      mesh=mesh,
    )

    def make_entry(query: int) -> Entry:
      score_M = cands.z @ queries.z[query]
      order = np.argsort(-score_M, kind="stable")
      is_right = np.any(np.isin(cands.labels, queries.labels[query]), axis=1)

      def make_answer(row: int) -> Answer:
        return Answer(
          text=cands.texts[row],
          image_YXC=image_fn(cands.owners[row]),
          score=float(score_M[row]),
          is_right=bool(is_right[row]),
        )

      return Entry(
        text=queries.texts[query],
        image_YXC=image_fn(queries.owners[query]),
        rank=float(rank_Q[query]),
        answers=tuple(make_answer(row) for row in order[:num_answers]),
        right=make_answer(next(row for row in order if is_right[row])),
      )

    chosen = _choose(queries.keys, rank_Q, num_entries)
    return Panel(
      split=split,
      direction=direction,
      num_queries=len(queries.z),
      num_candidates=len(cands.z),
      entries=tuple(make_entry(query) for query in chosen),
    )

  return [
    make_panel("text_to_image", captions, images),
    make_panel("image_to_text", images, captions),
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
