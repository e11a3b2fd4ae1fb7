"""Entries of a language, collected from its sources in the paper's order."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.captions import wordnet

# Entries of nothing but punctuation (Unicode's and ASCII's) and spaces, which
# are left out.
_ONLY_PUNCTUATION = r"^[\p{P}\s\p{Z}$+<=>^`|~]*$"
# Characters that an entry, a line of a file, must not contain.
_BREAKS = "[\\p{Cc}\u2028\u2029]"

# First entries of any set (metaclip/build_metadata.py).
DIGITS = tuple(str(number) for number in range(100))


@dataclasses.dataclass(frozen=True)
class Source:
  """Summary of a source.

  Attributes:
    name: name of the source.
    offered: number of its entries, after its own thresholds.
    added: number of entries that were new, valid and within the limits.
    last_value: count, score or views of the last entry that was added; None for
      sources without.
  """

  name: str
  offered: int
  added: int
  last_value: float | None


class Entries:
  """Ordered set of entries."""

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
    """Add a source's terms, best first, at most `max_new` of them.

    Terms that are in the set already do not count, as in the paper, where the
    counts by source sum to the total.
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
  """Return the indices and texts of valid entries."""
  texts = pc.utf8_trim_whitespace(pa.array(terms, pa.string()))
  kept = pc.and_(
    pc.and_(
      pc.invert(pc.match_substring_regex(texts, _ONLY_PUNCTUATION)),
      pc.invert(pc.match_substring_regex(texts, _BREAKS)),
    ),
    pc.less_equal(pc.utf8_length(texts), max_chars),
  )
  return pc.indices_nonzero(kept).to_pylist(), texts.filter(kept).to_pylist()


def synset_names(folder: pathlib.Path) -> list[str]:
  """Return the distinct names of WordNet's synsets, in the files' order.

  A name is the part of "NAME.n.01" before the first ".": the first word of the
  synset in lower case; "_" is a space. WordNet 3.0 has 86,554 non-empty names,
  with the hundred numbers the paper's 86,654.
  """
  names = (
    synset.words[0].lower().partition(".")[0].replace("_", " ")
    for synset in wordnet.synsets(folder)
  )
  return list(dict.fromkeys(names))


def omw_names(path: str) -> list[str]:
  """Return the words of a tab file of the Open Multilingual Wordnet.

  Lines have the form "SYNSET<tab>[LANGUAGE:]lemma<tab>WORD"; other lines are
  left out, and so is "+" between the parts of a word (metaclip/metadata/
  build_multilingual_wordnet.py).

  Raises:
    ValueError: the file cannot be read or has no such line.
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

  Raises:
    ValueError: wordfreq does not have the language.
  """
  import wordfreq

  known = wordfreq.available_languages("best")
  if language not in known:
    raise ValueError(
      f"languages.{language}.unigrams.source is 'wordfreq', which has"
      f" {', '.join(sorted(known))}"
    )
  return list(wordfreq.iter_wordlist(language, wordlist="best"))
