"""Which entries of the metadata are in which captions: MetaCLIP's matching.

The rule (arXiv 2309.16671, section 3.2; MetaCLIP,
metaclip/substr_matching.py): caption and entry get a space at both ends, the
caption's punctuation is spaced (`tokens`), and an entry matches where it is a
substring; upper case is not lower case, an entry counts once a caption, and
matches may overlap. For scripts without spaces (MetaCLIP 2, arXiv 2507.22062;
metaclip/curation/substr_matching.py), an end of an entry gets a space only
where its character is not of such a script, or punctuation.

An entry with a space at both ends is looked up by its tokens (`ngram_trie`),
which takes less memory and, of many captions at a time, less time too; the
others with an Aho-Corasick automaton.
"""

import ctypes
import dataclasses
import itertools
import string

import daachorse
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.captions import ngram_trie, token_spans

# parity: as published, only captions are spaced, so that an entry with
#   punctuation at a word ("St. Louis") matches nothing.
# fixed: entries are spaced inside too; and kana, which MetaCLIP 2's ranges do
#   not have, count as a script without spaces.
MODES = ("parity", "fixed")
# What an end of an entry gets: "both" a space always (MetaCLIP), "by_script"
# as said above (MetaCLIP 2).
ENDS = ("both", "by_script")

# Blocks of Unicode that need no space, first and last code point, as MetaCLIP 2
# has them (metaclip/curation/substr_matching.py).
_UNSPACED = (
  (0x0E00, 0x109F),  # Thai, Lao, Tibetan, Burmese
  (0x1780, 0x17FF),  # Khmer
  (0x2E80, 0x2FDF),  # radicals
  (0x2FF0, 0x2FFF),  # descriptions of ideographs
  (0x3400, 0x4DBF),  # ideographs, as are those that follow
  (0x4E00, 0x9FFF),
  (0xF900, 0xFAFF),
  (0x20000, 0x2A6DF),
  (0x2A700, 0x2EBEF),
)
# Beside ASCII's.
_WIDE_PUNCTUATION = "—‘’“”、。〈〉《》「」『』【】！（），：；？～"
_KANA = ((0x3040, 0x30FF),)
# Captions that the automaton reads at a time: each match is a Python object.
_AUTOMATON_TEXTS = 2048
_HALF = 32


@dataclasses.dataclass(frozen=True)
class Matches:
  """Entries in texts: of text i, `ids[offsets[i] : offsets[i + 1]]`.

  Attributes:
    offsets: int64 [N + 1].
    ids: uint32 [M], ascending and distinct within a text.
  """

  offsets: np.ndarray
  ids: np.ndarray


@dataclasses.dataclass(frozen=True)
class Matcher:
  """Entries that can be looked for.

  Attributes:
    num_entries: all of them.
    trie, trie_ids: the entries with a space at both ends, int64 [entries].
    automaton, automaton_ids: the others; None where there are none.
  """

  num_entries: int
  trie: ngram_trie.NgramTrie | None
  trie_ids: np.ndarray
  automaton: daachorse.CharwiseDoubleArrayAhoCorasick | None
  automaton_ids: np.ndarray

  def match(self, texts: pa.Array | pa.ChunkedArray) -> Matches:
    """Return the entries in each text; a null has none."""
    if isinstance(texts, pa.ChunkedArray):
      texts = texts.combine_chunks()
    keys = []
    if self.trie is not None:
      places, entries = self.trie.find(token_spans.of_texts(texts))
      keys.append(_keys(places, self.trie_ids[entries]))
    if self.automaton is not None:
      for start in range(0, len(texts), _AUTOMATON_TEXTS):
        part = texts.slice(start, _AUTOMATON_TEXTS)
        places, entries = _find(self.automaton, part)
        keys.append(_keys(places + start, self.automaton_ids[entries]))
    return _matches(np.concatenate(keys), len(texts))


def make(entries: pa.Array, *, mode: str, ends: str) -> Matcher:
  """Return the matcher of distinct entries, numbered from 0.

  Raises:
    ValueError: an entry is not as `check` wants it.
  """
  entries = entries.cast(pa.large_string())
  _check_characters(entries)
  if ends == "both":
    left = right = np.ones(len(entries), bool)
  else:
    left, right = (
      ~_is_unspaced(pc.utf8_slice_codeunits(entries, *place), mode)
      for place in ((0, 1), (-1, None))
    )
  if mode == "fixed":
    entries = token_spans.spaced_entries(entries)
  whole = left & right
  trie_ids, automaton_ids = np.flatnonzero(whole), np.flatnonzero(~whole)
  trie = automaton = None
  if len(trie_ids) or not len(entries):
    trie = ngram_trie.make(entries.filter(pa.array(whole)))
  if len(automaton_ids):
    ended = _with_ends(entries, left, right).take(pa.array(automaton_ids))
    patterns = ended.to_pylist()
    del ended
    _give_back()
    automaton = daachorse.CharwiseDoubleArrayAhoCorasick(patterns)
    del patterns
  _give_back()
  return Matcher(len(entries), trie, trie_ids, automaton, automaton_ids)


def _give_back() -> None:
  """Return memory that is free to the system, as far as that can be done.

  To make a matcher takes several times the memory that it has afterwards, in
  pieces among which its own lie, so that without this a worker keeps it all.
  """
  pa.default_memory_pool().release_unused()
  # Only the GNU C library has it.
  trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
  if trim is not None:
    trim(0)


def check(entries: pa.Array) -> None:
  """Raise ValueError for entries that cannot be matched.

  An empty one, one that is there twice, and one with a tab, a line's end or a
  zero byte in it.
  """
  _check_characters(entries)
  counts = pc.value_counts(entries)
  if len(counts) < len(entries):
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    raise ValueError(
      f"the metadata has the entry {twice[0]['values'].as_py()!r} more than "
      "once; expected each once"
    )


def _check_characters(entries: pa.Array) -> None:
  wrong = pc.or_(
    pc.equal(pc.binary_length(entries), 0),
    pc.match_substring_regex(entries, "[\\t\\n\\r\\x00]"),
  )
  if pc.any(wrong).as_py():
    number = pc.index(wrong, True).as_py()
    raise ValueError(
      f"entry {number} of the metadata is {entries[number].as_py()!r}; "
      "expected one character or more, no tab, line's end or zero byte"
    )


def _is_unspaced(chars: pa.Array, mode: str) -> np.ndarray:
  """Return whether a character needs no space beside it: bool [N]."""
  punctuation = np.array(
    [ord(char) for char in string.punctuation + _WIDE_PUNCTUATION]
  )
  encoded = chars.dictionary_encode()
  codes = np.array([ord(char) for char in encoded.dictionary.to_pylist()])
  found = np.isin(codes, punctuation)
  for first, last in _UNSPACED + (_KANA if mode == "fixed" else ()):
    found |= (first <= codes) & (codes <= last)
  return found[encoded.indices.to_numpy()]


def _with_ends(
  entries: pa.Array, left: np.ndarray, right: np.ndarray
) -> pa.Array:
  before, after = (
    pc.if_else(pa.array(side), " ", "").cast(pa.large_string())
    for side in (left, right)
  )
  nothing = pa.scalar("", pa.large_string())
  return pc.binary_join_element_wise(before, entries, after, nothing)


def _find(
  automaton: daachorse.CharwiseDoubleArrayAhoCorasick, texts: pa.Array
) -> tuple[np.ndarray, np.ndarray]:
  """Return text and entry of each match: int64 [M] twice, in no order."""
  spaced = token_spans.spaced(texts).fill_null("")
  lengths = pc.utf8_length(spaced).to_numpy(zero_copy_only=False)
  # No entry has a line feed in it, so none is found across two texts.
  found = automaton.find_overlapping("\n".join(spaced.to_pylist()))
  flat = itertools.chain.from_iterable(found)
  numbers = np.fromiter(flat, np.int64, 3 * len(found)).reshape(-1, 3)
  ends = np.cumsum(lengths + 1) - 1
  return np.searchsorted(ends, numbers[:, 0]), numbers[:, 2]


def _keys(places: np.ndarray, entries: np.ndarray) -> np.ndarray:
  return places << _HALF | entries


def _matches(keys: np.ndarray, num_texts: int) -> Matches:
  # Stable is faster here: the texts come in order, several times, and NumPy's
  # other sort takes three times as long on processors whose AVX-512 stores of
  # chosen elements are slow (AMD's Zen 4).
  keys = np.sort(keys, kind="stable")
  first = np.ones(len(keys), bool)
  np.not_equal(keys[1:], keys[:-1], out=first[1:])
  keys = keys[first]
  offsets = np.zeros(num_texts + 1, np.int64)
  np.cumsum(np.bincount(keys >> _HALF, minlength=num_texts), out=offsets[1:])
  return Matches(offsets, keys.astype(np.uint32))
