"""Trie of entries by their tokens; many texts are looked up at once.

With its spaces, an entry is a substring of a spaced text exactly where its
tokens are consecutive tokens of that text (token_spans.py): both begin and end
with a space. So texts are looked up token by token in tables of integers, and
all texts advance one token at a time together:

- a token is cut into words of 8 bytes; each word has a number, and so has each
  sequence of words that begins a token of an entry;
- each sequence of tokens that begins an entry has a number, its node; the node
  of a single token is that token's number.

Every table holds whole keys, so look-ups are exact. The tables take some 35 MB
for 500,000 entries.
"""

import dataclasses

import numpy as np
import pyarrow as pa

from curation.captions import token_spans
from curation.keys import int_table

# Masks of a word's bytes that belong to a token with n bytes left.
_MASKS = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)
_HALF = np.uint64(32)
# Entries that are read at once.
_ENTRIES = 1 << 15


@dataclasses.dataclass(frozen=True)
class NgramTrie:
  """Tables of a trie of entries.

  Attributes:
    words: word of 8 bytes (zeroes after the last) -> number.
    tails: number of a sequence of words << 32 | number of the next -> number.
    lengths: int32 [numbers], bytes of the token that equals this sequence; -1
      for none.
    children: node << 32 | number of the next token -> node.
    has_children: bool [nodes].
    entries: int32 [nodes], entry that ends at this node; -1 for none.
  """

  words: int_table.IntTable
  tails: int_table.IntTable
  lengths: np.ndarray
  children: int_table.IntTable
  has_children: np.ndarray
  entries: np.ndarray

  def find(self, tokens: token_spans.Tokens) -> tuple[np.ndarray, np.ndarray]:
    """Return the text and the entry of each match, repeated matches included.

    Returns:
      int64 [M] and int32 [M], unordered.
    """
    numbers = self._numbers(tokens)
    # Tokens of no entry have the number 0, and so has the end of a text: no
    # sequence continues past them.
    starts = np.flatnonzero(numbers)
    nodes = numbers[starts]
    first_tokens, entries = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
    depth = 0
    while len(starts):
      entry = self.entries.take(nodes)
      whole = np.flatnonzero(entry >= 0)
      entries.append(entry.take(whole))
      first_tokens.append(starts.take(whole))
      depth += 1
      on = np.flatnonzero(self.has_children.take(nodes))
      starts, nodes = starts.take(on), nodes.take(on)
      following = numbers.take(starts + depth)
      on = np.flatnonzero(following)
      starts = starts.take(on)
      keys = _pairs(nodes.take(on), following.take(on))
      nodes = self.children.find(keys)
      on = np.flatnonzero(nodes)
      starts, nodes = starts.take(on), nodes.take(on)
    text_of_token = np.repeat(
      np.arange(len(tokens.ends)), np.diff(tokens.ends, prepend=-1)
    )
    texts = text_of_token.take(np.concatenate(first_tokens))
    return texts, np.concatenate(entries)

  def _numbers(self, tokens: token_spans.Tokens) -> np.ndarray:
    """Return each token's number, 0 for a token of no entry: uint32 [T]."""
    starts, lengths = tokens.starts, tokens.lengths
    numbers = self.words.find(_words(tokens.data, starts, lengths))
    todo = np.flatnonzero((lengths > 8) & (numbers != 0))
    done = 8
    while len(todo):
      left = lengths.take(todo) - done
      words = _words(tokens.data, starts.take(todo) + done, left)
      words = self.words.find(words)
      longer = self.tails.find(_pairs(numbers.take(todo), words))
      # No sequence ends in an unknown word, whose number is 0.
      longer *= words != 0
      numbers[todo] = longer
      todo = todo[(left > 8) & (longer != 0)]
      done += 8
    numbers *= self.lengths.take(numbers) == lengths
    return numbers


def make(entries: pa.Array) -> NgramTrie:
  """Return the trie of entries, numbered from 0.

  Raises:
    ValueError: an entry is repeated.
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
  """Return all words, the bytes of each token and the tokens of each entry.

  Entries are read in parts: token spans take several times the memory of the
  result.

  Returns:
    uint64 [W], int32 [T] and int32 [E].
  """
  words = [np.zeros(0, np.uint64)]
  lengths, sizes = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
  for start in range(0, len(entries), _ENTRIES):
    tokens = token_spans.of_entries(entries.slice(start, _ENTRIES))
    own = np.ones(len(tokens.starts), bool)
    own[tokens.ends] = False
    starts, own_lengths = tokens.starts[own], tokens.lengths[own]
    counts = _num_words(own_lengths)
    first = np.cumsum(counts) - counts
    token_of = np.repeat(np.arange(len(starts)), counts)
    done = 8 * (np.arange(len(token_of)) - first[token_of])
    words.append(
      _words(tokens.data, starts[token_of] + done, own_lengths[token_of] - done)
    )
    lengths.append(own_lengths.astype(np.int32))
    sizes.append((np.diff(tokens.ends, prepend=-1) - 1).astype(np.int32))
  return np.concatenate(words), np.concatenate(lengths), np.concatenate(sizes)


def _num_words(lengths: np.ndarray) -> np.ndarray:
  """Return the number of words of each token; 1 for an empty token."""
  return np.maximum(1, -(-lengths // 8))


def _extend(
  symbols: np.ndarray, counts: np.ndarray, num_nodes: int
) -> tuple[np.ndarray, int_table.IntTable, int]:
  """Number the prefixes of sequences of symbols.

  A prefix of one symbol has that symbol's number; longer ones are numbered from
  `num_nodes` on.

  Args:
    symbols: all sequences, one after another.
    counts: length of each sequence, at least 1.
    num_nodes: first number of a longer prefix.

  Returns:
    The number of each whole sequence, the table of longer prefixes and the
    number of numbers.
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
  """Return the 8 bytes from each start on; bytes past the token are 0."""
  # Overlapping words, one from every byte on.
  every = np.ndarray(
    (len(data) - 7,), np.dtype("<u8"), buffer=data, strides=(1,)
  )
  words = every[starts]
  words &= _MASKS.take(lengths, mode="clip")
  return words
