"""Queries and their best answers, to look at in a report.

Queries are sorted by the rank of the right answer (then by a hash of the key)
and taken at even distances. Hits and misses thus have the same share as in the
figures, and no query is chosen by hand. Panels of the worst queries come
beside, and say so. set_gallery.py makes those of labelled sets.
"""

import dataclasses
import hashlib
import types
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from evaluators import retrieval

RULE = (
  "Queries are sorted by the rank of their right answer and taken at even "
  "distances from best to worst, so hits and misses appear here in the share "
  "they have in the figures."
)


# Function from a row to its picture, uint8 [Y, X, 3]; None where it cannot be
# read any more.
ImageFn = Callable[[int], np.ndarray | None]

_TITLES = {
  "text_to_image": "sentence to picture",
  "image_to_text": "picture to name",
  "image_to_class": "picture to class",
  "item": "items",
}
WORST_MARGIN = (
  "the similarity of the right answer less that of the best wrong one is the"
  " lowest of all"
)
_WORST_RANK = "the right answer of each has the highest rank of all"


@dataclasses.dataclass(frozen=True)
class Answer:
  """A candidate: its picture, if any, its name, and its cosine similarity."""

  text: str
  image_YXC: np.ndarray | None  # uint8
  score: float
  is_right: bool


@dataclasses.dataclass(frozen=True)
class Grid:
  """The images and texts of an item, each with each.

  Attributes:
    images: uint8 [Y, X, 3] each, or None.
    texts: texts.
    scores: similarity of each text to each image.
    right: image of each text, by position; -1 for a text without one.
  """

  images: tuple[np.ndarray | None, ...]
  texts: tuple[str, ...]
  scores: tuple[tuple[float, ...], ...]
  right: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Entry:
  """A query and its best answers, best first.

  Attributes:
    text: name of the query.
    image_YXC: picture of the query, uint8, or None.
    rank: rank of the best right candidate, ties at mid-rank; 1 is a hit.
    answers: best candidates, or all those of an item.
    right: the best right candidate, among the answers or not.
    badge: outcome in two words; the rank by default.
    note: line on the query, such as its group.
    grid: images and texts of an item that has several of both.
  """

  text: str
  image_YXC: np.ndarray | None
  rank: float
  answers: tuple[Answer, ...]
  right: Answer
  badge: str = ""
  note: str = ""
  grid: Grid | None = None

  @property
  def is_found(self) -> bool:
    """Whether a right answer is among the answers."""
    return any(answer.is_right for answer in self.answers)


@dataclasses.dataclass(frozen=True)
class Panel:
  """Chosen queries of one split and one direction.

  Attributes:
    split: name of the set.
    direction: key of _TITLES.
    num_queries: queries that these were chosen from.
    num_candidates: candidates of a query; 0 where items have their own.
    entries: the chosen ones.
    worst: rule that chose the worst queries; "" for a sample by RULE.
    order: what a sample is sorted by where it is not the rank.
    part: language of the texts, or the question, where the set has several.
    form: drawing of an entry: "images" (a text and its answers), "texts" (a
      picture and its answers) or "grid".
  """

  split: str
  direction: str
  num_queries: int
  num_candidates: int
  entries: tuple[Entry, ...]
  worst: str = ""
  order: str = ""
  part: str = ""
  form: str = "texts"

  @property
  def title(self) -> str:
    """Return the heading, without the set's name."""
    title = ("worst, " if self.worst else "") + _TITLES[self.direction]
    return f"{title}, {self.part}" if self.part else title


@dataclasses.dataclass(frozen=True)
class Images:
  """Images of a set, and names and notes of their rows.

  Attributes:
    name: name of the set.
    keys: key of each of N examples.
    image_fn: function of a row.
    zimg_NE: embeddings of length 1.
    note_fn: function of a row that returns a line on it, or "".
  """

  name: str
  keys: Sequence[str]
  image_fn: ImageFn
  zimg_NE: np.ndarray
  note_fn: Callable[[int], str] = lambda row: ""


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
  image_fn: ImageFn,
  zimg_NE: np.ndarray,
  ztxt_ME: np.ndarray,
  mesh: jax.sharding.Mesh,
  num_entries: int = 10,
  num_answers: int = 5,
  num_worst: int = 0,
  rank_Q: Mapping[str, np.ndarray] = types.MappingProxyType({}),
  language: str = "",
) -> list[Panel]:
  """Make one panel each for text to image and image to text.

  Two of the worst queries follow where `num_worst` is not 0.

  Args:
    split: name of the evaluation set.
    keys: key of each of N images.
    texts: M captions of the images; an image is shown with its first one.
    owners: image of each caption.
    image_fn: function of an image's row; called for the images that are shown.
    zimg_NE, ztxt_ME: embeddings of length 1.
    mesh: all devices.
    num_entries: queries of a panel.
    num_answers: answers to a query.
    num_worst: queries of a panel of the worst.
    rank_Q: ranks of a direction's queries, where they are known.
    language: language of the texts, where the set has several.
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

  def make_both(direction: str, queries: _Side, cands: _Side) -> list[Panel]:
    ranks = rank_Q.get(direction)
    if ranks is None:
      ranks = retrieval.ranks(
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
        rank=float(ranks[query]),
        answers=tuple(make_answer(row) for row in order[:num_answers]),
        right=make_answer(next(row for row in order if is_right[row])),
      )

    even, worst = choose(queries.keys, ranks, num_entries, num_worst)
    panel = Panel(
      split=split,
      direction=direction,
      num_queries=len(queries.z),
      num_candidates=len(cands.z),
      entries=tuple(make_entry(query) for query in even),
      part=language,
      form="images" if direction == "text_to_image" else "texts",
    )
    if not worst:
      return [panel]
    entries = tuple(make_entry(query) for query in worst)
    return [
      panel,
      dataclasses.replace(panel, entries=entries, worst=_WORST_RANK),
    ]

  to_image = make_both("text_to_image", captions, images)
  to_text = make_both("image_to_text", images, captions)
  return [
    panel for pair in zip(to_image, to_text, strict=True) for panel in pair
  ]


def by_margin(
  images: Images,
  worst: Sequence[Entry],
  even: Sequence[Entry],
  *,
  margins: np.ndarray,
  num_queries: int,
  num_candidates: int,
  direction: str = "image_to_class",
  order: str = "",
) -> list[Panel]:
  """Return a panel of a sample, and one of the worst, margins as badges.

  Args:
    images: all images of the set.
    worst: examples or items of the lowest margins.
    even: those at even distances.
    margins: margin of each of the worst.
    num_queries: examples or items that these were chosen from.
    num_candidates: as Panel's.
    direction: as Panel's.
    order: as Panel's, of the sample.
  """
  panel = Panel(
    split=images.name,
    direction=direction,
    num_queries=num_queries,
    num_candidates=num_candidates,
    entries=tuple(even),
    order=order,
  )
  marked = tuple(
    dataclasses.replace(entry, badge=f"margin {margin:+.3f}")
    for entry, margin in zip(worst, margins, strict=True)
  )
  of_worst = dataclasses.replace(
    panel, entries=marked, worst=WORST_MARGIN, order=""
  )
  return [one for one in (panel, of_worst) if one.entries]


def choose(
  keys: Sequence[str], value_N: np.ndarray, num_even: int, num_worst: int
) -> tuple[list[int], list[int]]:
  """Return rows at even distances by value, best (lowest) first, and the worst.

  Args:
    keys: of N queries.
    value_N: rank, or another value that is lowest for the best.
    num_even: rows at even distances.
    num_worst: rows of the highest values, worst first.

  >>> choose("abcd", np.array([3.0, 1.0, 2.0, 4.0]), 2, 1)
  ([2, 3], [3])
  """
  # The hash keeps ties from being taken in alphabetical order, which would
  # show neighbours (one person in five skin tones).
  digests = [hashlib.sha256(key.encode()).hexdigest() for key in keys]
  order = sorted(range(len(keys)), key=lambda i: (value_N[i], digests[i]))
  count = min(num_even, len(order))
  even = [order[int((i + 0.5) * len(order) / count)] for i in range(count)]
  return even, order[::-1][:num_worst]
