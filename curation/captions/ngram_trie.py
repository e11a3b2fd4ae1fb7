"""Find the entries whose tokens follow each other in a text, by the array.

With its spaces, an entry is a substring of a spaced text exactly where its
tokens are consecutive tokens of that text (`tokens`): a space begins and ends
both. So texts are looked up token by token, in tables of integers, and many
texts take one step at a time together:

- a token is cut into words of 8 bytes; a word has a number, and so has each
  sequence of words that begins a token of an entry;
- a sequence of tokens that begins an entry has a number, its node: the first
  token's is that token's own number.

Every table holds whole keys, so nothing is left to chance. The tables take some
35 MB for 500,000 entries.
"""

import dataclasses

import numpy as np
import pyarrow as pa

from curation.captions import token_spans
from curation.keys import int_table

# The bytes of a word that belong to a token with so many bytes left.
_MASKS = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)
_HALF = np.uint64(32)
# Entries that are read at a time.
_ENTRIES = 1 << 15


@dataclasses.dataclass(frozen=True)
class NgramTrie:
  """The tables of some entries.

  Attributes:
    words: of 8 bytes (zeroes after the last) -> number.
    tails: number of a sequence of words << 32 | number of the next -> number.
    lengths: int32 [numbers], bytes of the token that is this sequence; -1 for
      none.
    children: node << 32 | number of the next token -> node.
    has_children: bool [nodes].
    entries: int32 [nodes], the entry that ends here; -1 for none.
  """

  words: int_table.IntTable
  tails: int_table.IntTable
  lengths: np.ndarray
  children: int_table.IntTable
  has_children: np.ndarray
  entries: np.ndarray

  @property
  def num_bytes(self) -> int:
    """Return the size of the tables."""
    tables = (self.words, self.tails, self.children)
    arrays = [array for t in tables for array in (t.keys, t.values)]
    arrays += [self.lengths, self.has_children, self.entries]
    return sum(array.nbytes for array in arrays)

  def find(self, found: token_spans.Tokens) -> tuple[np.ndarray, np.ndarray]:
    """Return the text and the entry of each match, an entry as often as it is.

    int64 [M] and int32 [M], in no order.
    """
    nodes = numbers = self._numbers(found)
    # A number 0 ends the way at every token that no entry has, so also at the
    # end of a text.
    places = np.flatnonzero(numbers)
    nodes = numbers[places]
    texts, entries = [], []
    depth = 0
    while len(places):
      entry = self.entries.take(nodes)
      whole = np.flatnonzero(entry >= 0)
      entries.append(entry.take(whole))
      texts.append(places.take(whole))
      depth += 1
      on = np.flatnonzero(self.has_children.take(nodes))
      places, nodes = places.take(on), nodes.take(on)
      following = numbers.take(places + depth)
      on = np.flatnonzero(following)
      places = places.take(on)
      keys = _pairs(nodes.take(on), following.take(on))
      nodes = self.children.find(keys)
      on = np.flatnonzero(nodes)
      places, nodes = places.take(on), nodes.take(on)
    places = np.concatenate(texts) if texts else np.zeros(0, np.int64)
    text_of = np.repeat(
      np.arange(len(found.ends)), np.diff(found.ends, prepend=-1)
    )
    entry = np.concatenate(entries) if entries else np.zeros(0, np.int32)
    return text_of.take(places), entry

  def _numbers(self, found: token_spans.Tokens) -> np.ndarray:
    """Return each token's number, 0 for one that no entry has: uint32 [T]."""
    numbers = self.words.find(_words(found.data, found.starts, found.lengths))
    todo = np.flatnonzero((found.lengths > 8) & (numbers != 0))
    done = 8
    while len(todo):
      left = found.lengths.take(todo) - done
      words = _words(found.data, found.starts.take(todo) + done, left)
      words = self.words.find(words)
      longer = self.tails.find(_pairs(numbers.take(todo), words))
      # No sequence ends in an unknown word, whose number is 0.
      longer *= words != 0
      numbers[todo] = longer
      todo = todo[(left > 8) & (longer != 0)]
      done += 8
    numbers *= self.lengths.take(numbers) == found.lengths
    return numbers


def make(entries: pa.Array) -> NgramTrie:
  """Return the trie of entries, numbered from 0.

  Raises:
    ValueError: an entry is there twice.
  """
  words, lengths, sizes = _read(entries)
  distinct, inverse = np.unique(words, return_inverse=True)
  del words
  symbols = (inverse + 1).astype(np.uint32)
  del inverse
  words_table = int_table.make(distinct, _count(1, len(distinct)))

  numbers, tails, num_numbers = _extend(
    symbols, _num_words(lengths), len(distinct) + 1
  )
  length_of = np.full(num_numbers, -1, np.int32)
  length_of[numbers] = lengths

  nodes, children, num_nodes = _extend(numbers, sizes, num_numbers)
  entry_of = np.full(num_nodes, -1, np.int32)
  entry_of[nodes] = np.arange(len(entries), dtype=np.int32)
  replaced = np.flatnonzero(entry_of[nodes] != np.arange(len(entries)))
  if len(replaced):
    raise ValueError(
      f"the metadata has the entry {entries[replaced[0]].as_py()!r} more than "
      "once; expected each once"
    )
  has_children = np.zeros(num_nodes, bool)
  stored = children.keys[children.values != 0]
  has_children[(stored >> _HALF).astype(np.int64)] = True
  return NgramTrie(
    words_table, tails, length_of, children, has_children, entry_of
  )


def _read(entries: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Return the words of all entries, bytes of tokens and tokens of entries.

  uint64 [W], int32 [T] and int32 [E]. In parts, for places of tokens take
  several times as much memory as what is returned.
  """
  words = [np.zeros(0, np.uint64)]
  lengths, sizes = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
  for start in range(0, len(entries), _ENTRIES):
    found = token_spans.of_entries(entries.slice(start, _ENTRIES))
    own = np.ones(len(found.starts), bool)
    own[found.ends] = False
    starts, own_lengths = found.starts[own], found.lengths[own]
    counts = _num_words(own_lengths)
    first = np.cumsum(counts) - counts
    token_of = np.repeat(np.arange(len(starts)), counts)
    done = 8 * (np.arange(len(token_of)) - first[token_of])
    words.append(
      _words(found.data, starts[token_of] + done, own_lengths[token_of] - done)
    )
    lengths.append(own_lengths.astype(np.int32))
    sizes.append((np.diff(found.ends, prepend=-1) - 1).astype(np.int32))
  return np.concatenate(words), np.concatenate(lengths), np.concatenate(sizes)


def _num_words(lengths: np.ndarray) -> np.ndarray:
  """Return the words of tokens of so many bytes; an empty one has one."""
  return np.maximum(1, -(-lengths // 8))


def _extend(
  symbols: np.ndarray, counts: np.ndarray, num_nodes: int
) -> tuple[np.ndarray, int_table.IntTable, int]:
  """Number the prefixes of sequences of symbols.

  The sequences follow each other in `symbols`, each of `counts` and not empty.
  A prefix of one symbol has that symbol's number, longer ones those from
  `num_nodes` on. Returns each whole sequence's number, the table of the longer
  ones and how many numbers there are.
  """
  first = np.cumsum(counts) - counts
  nodes = symbols[first]
  keys, values = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint32)]
  done = 1
  while len(todo := np.flatnonzero(counts > done)):
    pairs = _pairs(nodes[todo], symbols[first[todo] + done])
    distinct, inverse = np.unique(pairs, return_inverse=True)
    keys.append(distinct)
    values.append(_count(num_nodes, len(distinct)))
    nodes[todo] = values[-1][inverse]
    num_nodes += len(distinct)
    done += 1
  table = int_table.make(np.concatenate(keys), np.concatenate(values))
  return nodes, table, num_nodes


def _count(first: int, number: int) -> np.ndarray:
  return np.arange(first, first + number, dtype=np.uint32)


def _pairs(high: np.ndarray, low: np.ndarray) -> np.ndarray:
  pairs = high.astype(np.uint64)
  pairs <<= _HALF
  pairs |= low
  return pairs


def _words(
  data: np.ndarray, starts: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
  """Return the 8 bytes from each start on, zeroes for those past the token."""
  # At every byte a word begins, so they overlap.
  every = np.ndarray(
    (len(data) - 7,), np.dtype("<u8"), buffer=data, strides=(1,)
  )
  words = every[starts]
  words &= _MASKS.take(lengths, mode="clip")
  return words
