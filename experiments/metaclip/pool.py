"""Head-heavy pool of MetaCLIP's study: which pictures, languages and captions.

A pair is drawn by hash: a concept, a language, one of the concept's pictures,
and a caption. Concepts have ranks, by hash too; the one of rank r, from 0, has
a share in proportion to 1 / (SHIFT + r) ** POWER (Zipf's law as Mandelbrot has
it). The language number r of LANGUAGES, from 0, has one in proportion to
1 / (1 + r).
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.parts import icon_sets

# Languages from the most pairs to the fewest, and the number of the rare ones,
# which are the last; ours.
LANGUAGES = (
  *("en", "de", "es", "fr", "ru"),
  *("fi", "ko", "hu", "th", "bn"),
)
NUM_RARE = 5
RARE = LANGUAGES[-NUM_RARE:]
# Law of the concepts; ours. Of 1,427, the first has 2 % of the pairs, the first
# tenth two thirds.
SHIFT, POWER = 30, 1.5
# Share of captions that are the name; of the others, one half is the name and a
# tag, the other one or two tags.
NAMES = 0.5
_SALT = "diptych-metaclip-1"


@dataclasses.dataclass(frozen=True)
class Concept:
  """One emoji.

  Attributes:
    key: its code points.
    pictures: paths of its drawings.
    names: language -> name.
    tags: language -> further words for it, () for none.
  """

  key: str
  pictures: tuple[str, ...]
  names: Mapping[str, str]
  tags: Mapping[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Pair:
  """One pair of the pool.

  Attributes:
    key: number of the pair.
    concept: key of its concept.
    image: path of the drawing.
    caption: its text.
    language: language of the caption.
  """

  key: str
  concept: str
  image: str
  caption: str
  language: str


def ranked(keys: Sequence[str]) -> list[str]:
  """Return keys of concepts from the most pairs to the fewest."""
  return sorted(keys, key=lambda key: icon_sets.draw(_SALT, "rank", key))


def make(concepts: Sequence[Concept], num_pairs: int) -> list[Pair]:
  """Return the pairs of a pool.

  Args:
    concepts: concepts in any order.
    num_pairs: number of the pairs; a smaller pool is the start of a larger one.
  """
  by_key = {concept.key: concept for concept in concepts}
  order = [by_key[key] for key in ranked([*by_key])]
  concept_ends = _ends((SHIFT + np.arange(len(order))) ** POWER)
  language_ends = _ends(1 + np.arange(len(LANGUAGES)))
  pairs = []
  for number in range(num_pairs):
    key = f"{number:06d}"
    concept = order[_index(concept_ends, key, "concept")]
    language = LANGUAGES[_index(language_ends, key, "language")]
    pairs.append(
      Pair(
        key,
        concept.key,
        _drawn(concept.pictures, key, "picture"),
        _caption(concept, language, key),
        language,
      )
    )
  return pairs


def entries(concepts: Sequence[Concept], language: str) -> list[str]:
  """Return the metadata of a language: all names and tags, each once."""
  words = itertools.chain.from_iterable(
    (concept.names[language], *concept.tags[language]) for concept in concepts
  )
  return sorted({*words})


def _caption(concept: Concept, language: str, key: str) -> str:
  name, tags = concept.names[language], concept.tags[language]
  form = icon_sets.draw(_SALT, "form", key)
  if form < NAMES or not tags:
    return name
  tag, other = (_drawn(tags, key, part) for part in ("tag", "other"))
  first = name if form < (1 + NAMES) / 2 else other
  return first if first == tag else f"{first} {tag}"


def _drawn(values: Sequence[str], key: str, part: str) -> str:
  return values[int(len(values) * icon_sets.draw(_SALT, part, key))]


def _ends(divisors: np.ndarray) -> np.ndarray:
  """Return the ends in [0, 1] of pieces in proportion to 1 / divisors."""
  ends = np.cumsum(1 / divisors)
  return ends / ends[-1]


def _index(ends: np.ndarray, key: str, part: str) -> int:
  return int(np.searchsorted(ends, icon_sets.draw(_SALT, part, key), "right"))
