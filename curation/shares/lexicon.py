"""Groups and labels (lists.py) in captions.

A caption counts for a label once, if one of its entries is there as whole
words: letters and digits in lower case, everything else is a space. In scripts
without spaces an entry is a substring. Inside a longer entry of its group an
entry does not count: "Guinea" is not in "Papua New Guinea", "american" not in
"african american".
"""

import dataclasses
import functools
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.captions import matching
from curation.shares import lists
from input_pipeline.sources import record

# Raised when the same lists count other captions.
_VERSION = 1
# Letters, marks and digits are kept.
_NO_WORD = r"[^\p{L}\p{M}\p{N}]+"


@dataclasses.dataclass(frozen=True)
class _Check:
  """Look again at a caption that has an entry.

  Attributes:
    entry: the entry.
    longer: words of longer entries that are removed before.
  """

  entry: lists.Entry
  longer: tuple[str, ...]

  def holds(self, text: str) -> bool:
    """Return whether the entry is in the text, in the case that it needs."""
    text = lists.words(text)
    if self.longer:
      text = _pattern(self.longer, re.IGNORECASE).sub(" ", text)
    names, flags = (self.entry.words,), re.IGNORECASE
    if self.entry.cased:
      names, flags = self.entry.cased, re.NOFLAG
    return _pattern(names, flags).search(text) is not None


@dataclasses.dataclass(frozen=True)
class Lexicon:
  """Entries, prepared for many captions.

  Attributes:
    labels: (group, label) of each number.
    digest: digest of all entries and of the rule.
    matcher: matcher of the distinct words of entries.
    offsets: labels of the words with number i are label_ids[offsets[i] :
      offsets[i + 1]].
    label_ids: int64, numbers of labels.
    checks: position in `label_ids` -> check that the caption must pass.
  """

  labels: tuple[tuple[str, str], ...]
  digest: str
  matcher: matching.Matcher
  offsets: np.ndarray
  label_ids: np.ndarray
  checks: dict[int, _Check]

  def find(self, texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return the numbers of each text's labels, ascending: list of uint16."""
    if isinstance(texts, pa.ChunkedArray):
      texts = texts.combine_chunks()
    text_M, ids = self._matches(_plain(texts))
    counts = self.offsets[ids + 1] - self.offsets[ids]
    text_M = np.repeat(text_M, counts)
    first = np.cumsum(counts) - counts
    positions = np.arange(len(text_M)) - np.repeat(
      first - self.offsets[ids], counts
    )
    is_doubtful = np.isin(positions, np.fromiter(self.checks, np.int64))
    keep = ~is_doubtful
    for i in np.flatnonzero(is_doubtful).tolist():
      text = texts[int(text_M[i])].as_py()
      keep[i] = self.checks[int(positions[i])].holds(text)
    keys = text_M[keep] * len(self.labels) + self.label_ids[positions[keep]]
    keys = np.unique(keys)
    num_labels = np.bincount(keys // len(self.labels), minlength=len(texts))
    offsets = np.concatenate(([0], np.cumsum(num_labels))).astype(np.int32)
    values = (keys % len(self.labels)).astype(np.uint16)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))

  def _matches(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the text and the words' number of each match: int64 [M] both."""
    is_ascii = pc.call_function("string_is_ascii", [texts]).fill_null(True)
    # Entries of scripts without spaces take most of the time.
    spaced = dataclasses.replace(self.matcher, automaton=None)
    text_M, ids = [], []
    is_ascii = is_ascii.to_numpy(zero_copy_only=False)
    for matcher, mask in ((spaced, is_ascii), (self.matcher, ~is_ascii)):
      indices = np.flatnonzero(mask)
      if len(indices):
        matches = matcher.match(texts.take(pa.array(indices)))
        text_M.append(np.repeat(indices, np.diff(matches.offsets)))
        ids.append(matches.ids.astype(np.int64))
    nothing = np.zeros(0, np.int64)
    return np.concatenate([nothing, *text_M]), np.concatenate([nothing, *ids])


@functools.cache
def opened() -> Lexicon:
  """Return the lexicon of all lists, made once a process."""
  return make(lists.read())


@functools.cache
def digest() -> str:
  """Return the digest of all lists, without a matcher."""
  return record.digest((_VERSION, lists.read()))[:16]


def make(entries: Sequence[lists.Entry]) -> Lexicon:
  """Return the lexicon of distinct entries."""
  labels = tuple(sorted({(entry.group, entry.label) for entry in entries}))
  numbers = {label: number for number, label in enumerate(labels)}
  of_words: dict[str, list[lists.Entry]] = {}
  for entry in sorted(entries):
    of_words.setdefault(entry.words, []).append(entry)
  flat = [entry for own in of_words.values() for entry in own]
  longer = _longer(flat)
  checks = {}
  for position, entry in enumerate(flat):
    if entry.cased or longer[position]:
      checks[position] = _Check(
        entry, tuple(sorted(longer[position], key=len, reverse=True))
      )
  return Lexicon(
    labels=labels,
    digest=record.digest((_VERSION, tuple(entries)))[:16],
    matcher=matching.make(
      pa.array(of_words, pa.string()), mode="fixed", ends="by_script"
    ),
    offsets=np.cumsum([0, *map(len, of_words.values())]),
    label_ids=np.array([numbers[e.group, e.label] for e in flat], np.int64),
    checks=checks,
  )


def _plain(texts: pa.Array) -> pa.Array:
  """Return the words of texts in lower case, a space between them."""
  texts = pc.call_function(
    "utf8_normalize", [texts], pc.Utf8NormalizeOptions("NFC")
  )
  options = pc.ReplaceSubstringOptions(_NO_WORD, " ")
  texts = pc.call_function("replace_substring_regex", [texts], options)
  return pc.call_function("utf8_lower", [texts])


def _longer(entries: Sequence[lists.Entry]) -> list[set[str]]:
  """Return the words of longer entries with another label of the same group."""
  longer: list[set[str]] = [set() for _ in entries]
  by_group: dict[str, dict[str, list[int]]] = {}
  for position, entry in enumerate(entries):
    group = by_group.setdefault(entry.group, {})
    group.setdefault(entry.words, []).append(position)
  for entry in entries:
    for part in _parts(entry.words):
      for position in by_group[entry.group].get(part, ()):
        if entries[position].label != entry.label:
          longer[position].add(entry.words)
  return longer


def _parts(words: str) -> set[str]:
  """Return the shorter entries that could be in an entry."""
  tokens = words.split(" ")
  parts = {
    " ".join(tokens[i:j])
    for i in range(len(tokens))
    for j in range(i + 1, len(tokens) + 1)
  }
  if not matching.is_spaced(words):
    parts |= {
      words[i:j]
      for i in range(len(words))
      for j in range(i + 1, len(words) + 1)
    }
  return parts - {words}


@functools.cache
def _pattern(names: tuple[str, ...], flags: int) -> re.Pattern[str]:
  """Return a pattern of names, whole words where they have letters of words."""
  forms = [
    rf"(?<!\w){re.escape(name)}(?!\w)"
    if matching.is_spaced(name)
    else re.escape(name)
    for name in names
  ]
  return re.compile("|".join(forms), flags)
