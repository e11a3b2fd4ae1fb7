"""MetaCLIP's matching of captions with the entries of metadata.

The rule (arXiv 2309.16671, section 3.2; MetaCLIP,
metaclip/substr_matching.py): caption and entry get a space at both ends, the
caption's punctuation is spaced (token_spans.py), and an entry matches where it
is a substring. Case counts, an entry counts once a caption, and matches may
overlap. For scripts without spaces (MetaCLIP 2, arXiv 2507.22062;
metaclip/curation/substr_matching.py), an end of an entry gets a space only if
its character is neither of such a script nor punctuation.

Entries with a space at both ends are looked up by their tokens (ngram_trie.py),
which takes less memory and, for many captions at a time, less time too; the
others by an Aho-Corasick automaton.
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
# fixed: entries are spaced inside too; and kana, which are not in MetaCLIP 2's
#   ranges, count as a script without spaces.
MODES = ("parity", "fixed")
# Ends of an entry: "both" always get a space (MetaCLIP), "by_script" as in the
# rule for scripts above (MetaCLIP 2).
ENDS = ("both", "by_script")

# First and last code points of Unicode blocks that need no space, those of
# MetaCLIP 2 (metaclip/curation/substr_matching.py).
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
# Punctuation beside ASCII's.
_WIDE_PUNCTUATION = "—‘’“”、。〈〉《》「」『』【】！（），：；？～"
_KANA = ((0x3040, 0x30FF),)
# Captions that the automaton reads at once: each match is a Python object.
_AUTOMATON_TEXTS = 2048
_HALF = 32


@dataclasses.dataclass(frozen=True)
class Matches:
  """Entries in texts: those of text i are `ids[offsets[i] : offsets[i + 1]]`.

  Attributes:
    offsets: int64 [N + 1].
    ids: uint32 [M], ascending and distinct within a text.
  """

  offsets: np.ndarray
  ids: np.ndarray


@dataclasses.dataclass(frozen=True)
class Matcher:
  """Entries, prepared for matching.

  Attributes:
    num_entries: number of all entries.
    trie: entries with a space at both ends, or None.
    trie_ids: int64, numbers of the entries in `trie`.
    automaton: the other entries, or None.
    automaton_ids: int64, numbers of the entries in `automaton`.
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
      text_M, entry_M = self.trie.find(token_spans.of_texts(texts))
      keys.append(_keys(text_M, self.trie_ids[entry_M]))
    if self.automaton is not None:
      for start in range(0, len(texts), _AUTOMATON_TEXTS):
        part = texts.slice(start, _AUTOMATON_TEXTS)
        text_M, entry_M = _find(self.automaton, part)
        keys.append(_keys(text_M + start, self.automaton_ids[entry_M]))
    return _matches(np.concatenate(keys), len(texts))


def make(entries: pa.Array, *, mode: str, ends: str) -> Matcher:
  """Return the matcher of distinct entries, numbered from 0.

  Raises:
    ValueError: an entry is empty, repeated or has a control character.
  """
  entries = entries.cast(pa.large_string())
  _check_characters(entries)
  if ends == "both":
    left = right = np.ones(len(entries), bool)
  else:
    left, right = (
      ~_is_unspaced(pc.utf8_slice_codeunits(entries, *end), mode)
      for end in ((0, 1), (-1, None))
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


def is_spaced(entry: str) -> bool:
  """Return whether no end of an entry is in a script without spaces."""
  return not any(_needs_no_space(end, "fixed") for end in (entry[0], entry[-1]))


def _give_back() -> None:
  """Return free memory to the system, as far as possible.

  Making a matcher takes several times the memory that it keeps, and the kept
  pieces lie between the others: without this, a worker keeps all of it.
  """
  pa.default_memory_pool().release_unused()
  # malloc_trim is in the GNU C library only.
  trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
  if trim is not None:
    trim(0)


def check(entries: pa.Array) -> None:
  """Raise ValueError for entries that cannot be matched.

  These are empty or repeated entries, and those with a tab, a line's end or a
  zero byte.
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
  """Return whether each character needs no space beside it: bool [N]."""
  encoded = chars.dictionary_encode()
  is_unspaced = [
    _needs_no_space(char, mode) for char in encoded.dictionary.to_pylist()
  ]
  return np.array(is_unspaced, bool)[encoded.indices.to_numpy()]


def _needs_no_space(char: str, mode: str) -> bool:
  if char in string.punctuation or char in _WIDE_PUNCTUATION:
    return True
  ranges = _UNSPACED + (_KANA if mode == "fixed" else ())
  return any(first <= ord(char) <= last for first, last in ranges)


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
  """Return the text and the entry of each match: int64 [M] both, unordered."""
  spaced = token_spans.spaced(texts).fill_null("")
  lengths = pc.utf8_length(spaced).to_numpy(zero_copy_only=False)
  # No entry has a line feed in it, so no match spans two texts.
  matches = automaton.find_overlapping("\n".join(spaced.to_pylist()))
  flat = itertools.chain.from_iterable(matches)
  numbers = np.fromiter(flat, np.int64, 3 * len(matches)).reshape(-1, 3)
  ends = np.cumsum(lengths + 1) - 1
  return np.searchsorted(ends, numbers[:, 0]), numbers[:, 2]


def _keys(text_M: np.ndarray, entry_M: np.ndarray) -> np.ndarray:
  return text_M << _HALF | entry_M


def _matches(keys: np.ndarray, num_texts: int) -> Matches:
  # A stable sort is faster here: the keys are a few ascending runs, and NumPy's
  # other sort takes three times as long on processors whose AVX-512 compress
  # stores are slow (AMD's Zen 4).
  keys = np.sort(keys, kind="stable")
  first = np.ones(len(keys), bool)
  np.not_equal(keys[1:], keys[:-1], out=first[1:])
  keys = keys[first]
  offsets = np.zeros(num_texts + 1, np.int64)
  np.cumsum(np.bincount(keys >> _HALF, minlength=num_texts), out=offsets[1:])
  return Matches(offsets, keys.astype(np.uint32))
