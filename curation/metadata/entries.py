"""A language's entries, put together from its sources in the paper's order."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.captions import wordnet

# Punctuation, as Unicode and ASCII have it, and spaces: of such an entry there
# is nothing to match.
_ONLY_PUNCTUATION = r"^[\p{P}\s\p{Z}$+<=>^`|~]*$"
# Of what an entry, which is a line of a file, must have none.
_BREAKS = "[\\p{Cc}\u2028\u2029]"

# What any set begins with (metaclip/build_metadata.py).
DIGITS = tuple(str(number) for number in range(100))


@dataclasses.dataclass(frozen=True)
class Source:
  """What a source gave.

  Attributes:
    name: of the source.
    offered: its entries, after its own thresholds.
    added: those that were new, of use and within the limits.
    last_value: of the last one that was added: its count, score or views; None
      for sources without.
  """

  name: str
  offered: int
  added: int
  last_value: float | None


class Entries:
  """A set of entries that keeps the order in which they came."""

  def __init__(self, max_entries: int, max_chars: int):
    self._max_entries = max_entries
    self._max_chars = max_chars
    self._entries: dict[str, None] = {}
    self.sources: list[Source] = []

  def __len__(self) -> int:
    return len(self._entries)

  def text(self) -> str:
    """Return the entries, one a line."""
    return "".join(f"{entry}\n" for entry in self._entries)

  def add(
    self,
    name: str,
    terms: Sequence[str],
    max_new: int | None = None,
    values: np.ndarray | None = None,
  ) -> None:
    """Add a source's terms, best first, up to `max_new` that are new.

    A term that is there already counts for nothing, as in the paper, whose
    counts by source add up to all.
    """
    room = self._max_entries - len(self._entries)
    room = room if max_new is None else min(room, max_new)
    added, last = 0, None
    for number, term in zip(*_usable(terms, self._max_chars), strict=True):
      if added == room:
        break
      if term not in self._entries:
        self._entries[term] = None
        added += 1
        last = None if values is None else float(values[number])
    self.sources.append(Source(name, len(terms), added, last))


def _usable(
  terms: Sequence[str], max_chars: int
) -> tuple[list[int], list[str]]:
  """Return the places and texts of what can be an entry."""
  found = pc.utf8_trim_whitespace(pa.array(terms, pa.string()))
  kept = pc.and_(
    pc.and_(
      pc.invert(pc.match_substring_regex(found, _ONLY_PUNCTUATION)),
      pc.invert(pc.match_substring_regex(found, _BREAKS)),
    ),
    pc.less_equal(pc.utf8_length(found), max_chars),
  )
  return pc.indices_nonzero(kept).to_pylist(), found.filter(kept).to_pylist()


def synset_names(folder: pathlib.Path) -> list[str]:
  """Return the names of WordNet's synsets, each once, in the files' order.

  A name is what is before the first "." of "NAME.n.01", which is the first word
  of the synset in lower case; "_" is a space. WordNet 3.0 has 86,554 that are
  not empty, which with the hundred numbers are the paper's 86,654.
  """
  names = (
    synset.words[0].lower().partition(".")[0].replace("_", " ")
    for synset in wordnet.synsets(folder)
  )
  return list(dict.fromkeys(names))


def omw_names(path: str) -> list[str]:
  """Return the words of a tab file of the Open Multilingual Wordnet.

  Its lines are "SYNSET<tab>[LANGUAGE:]lemma<tab>WORD"; others are left out, and
  so is "+", which stands between the parts of a word (metaclip/metadata/
  build_multilingual_wordnet.py).

  Raises ValueError for a file that is not there or has no such line.
  """
  words = []
  try:
    with open(path, encoding="utf-8") as file:
      for line in file:
        fields = line.rstrip("\n").split("\t")
        if len(fields) == 3 and fields[1].rpartition(":")[2] == "lemma":
          words.append(fields[2].replace("_", " ").replace("+", ""))
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f"wordnet.path={path} cannot be read: {error}") from error
  if not words:
    raise ValueError(
      f"wordnet.path={path} has no line SYNSET<tab>lemma<tab>WORD; expected a"
      " tab file of the Open Multilingual Wordnet"
    )
  return sorted(set(words))


def wordfreq_words(language: str) -> list[str]:
  """Return the words of the package wordfreq, most frequent first.

  Raises ValueError for a language that it does not have.
  """
  import wordfreq

  known = wordfreq.available_languages("best")
  if language not in known:
    raise ValueError(
      f"languages.{language}.unigrams.source is 'wordfreq', which has"
      f" {', '.join(sorted(known))}"
    )
  return list(wordfreq.iter_wordlist(language, wordlist="best"))
