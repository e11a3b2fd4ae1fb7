"""Words, characters and 64-bit hashes of texts in Arrow columns.

No function runs Python code for each row, but for texts of over a kilobyte.
"""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.keys import hashing

# Rounds of eight bytes. Longer texts are hashed one by one, which is faster
# than a round for each eight bytes of the longest.
_MAX_ROUNDS = 128


def words(texts: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, np.ndarray]:
  """Return all words of all texts in order, and the number of each text.

  Words are those of Python's str.split(): separated by Unicode's whitespace.

  Returns:
    Strings [W], and int64 [N] that sum to W; a null has no words.
  """
  trimmed = pc.call_function("utf8_trim_whitespace", [_whole(texts)])
  lists = pc.call_function("utf8_split_whitespace", [trimmed])
  counts = _integers("list_value_length", lists)
  flat = lists.flatten()
  lengths = np.diff(_offsets(flat))
  # A text of whitespace alone is split into one empty string.
  single = np.flatnonzero(counts == 1)
  ends = np.cumsum(counts)
  empty = single[lengths[ends[single] - 1] == 0]
  if len(empty):
    counts[empty] = 0
    flat = flat.filter(pa.array(lengths > 0))
  return flat, counts


def num_words(texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
  """Return the length of Python's text.split() for each text: int64 [N]."""
  return words(texts)[1]


def num_chars(texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
  """Return the number of code points of each text: int64 [N]; 0 for a null."""
  return _integers("utf8_length", _whole(texts))


def num_fasttext_tokens(texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
  """Return the number of fastText's tokens in each text: int64 [N].

  Seven ASCII bytes separate tokens, and each newline is a token of its own
  (facebookresearch/fastText, src/dictionary.cc, readWord).
  """
  array = _whole(texts)
  starts = _offsets(array)
  data = _bytes(array)
  is_word = ~_FASTTEXT_SPACES[data]
  # A token begins where a word's byte follows a space, or a text's start.
  begins = is_word.copy()
  begins[1:] &= ~is_word[:-1]
  inside = starts[:-1][np.diff(starts) > 0]
  begins[inside] = is_word[inside]
  begins |= data == ord("\n")
  before = np.zeros(len(data) + 1, np.int64)
  np.cumsum(begins, out=before[1:])
  return before[starts[1:]] - before[starts[:-1]]


def squeezed(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
  """Return Python's " ".join(text.split()) of each text; "" for a null."""
  flat, counts = words(texts)
  wide = pa.types.is_large_string(flat.type)
  offsets = np.append(0, np.cumsum(counts))
  if wide:
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), flat)
  else:
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)
  return pc.call_function("binary_join", [lists, pa.scalar(" ", flat.type)])


def hashes(values: pa.Array | pa.ChunkedArray, seed: int = 0) -> np.ndarray:
  """Return a uint64 [N] for each text or bytes; 0 for a null.

  Each step is a bijection that mixes all bits (hashing.mix) of the state and of
  the next eight bytes; the length is mixed in last. Among N different texts,
  N * N / 2**65 pairs are expected to collide: 0.03 at a billion, 2.7 at 10
  billion. Texts made to collide are not guarded against.
  """
  array = _whole(values)
  starts = _offsets(array)
  lengths = np.diff(starts)
  starts = starts[:-1]
  first = hashing.mix(np.full(1, seed, np.int64).view(np.uint64) ^ _SALT)
  state = np.repeat(first, len(lengths))
  rounds = np.minimum((lengths + 7) // 8, _MAX_ROUNDS + 1)
  data = _eights(array)
  # Rows by falling length: the unfinished rows are always the first. A stable
  # sort of uint8 is a radix sort.
  falling = (_MAX_ROUNDS + 1 - rounds).astype(np.uint8)
  order = np.argsort(falling, kind="stable")
  # Number of rows with at least each number of rounds, from 1 on.
  sizes = np.bincount(rounds, minlength=_MAX_ROUNDS + 2)
  left = np.cumsum(sizes[::-1])[::-1][1:-1]
  num_long = int(sizes[-1])
  for number, stop in enumerate(left):
    rows = order[num_long:stop]
    if not len(rows):
      break
    words_ = data[starts[rows] + 8 * number]
    over = 8 * (number + 1) - lengths[rows]
    # Bytes past the end belong to the next text.
    shift = (8 * np.maximum(over, 0)).astype(np.uint64)
    words_ = words_ & (_ALL >> shift)
    state[rows] = hashing.mix(state[rows] ^ words_)
  for row in order[:num_long]:
    view = array[int(row)].as_buffer()
    digest = hashlib.blake2b(view, digest_size=8).digest()
    state[row] ^= np.uint64(int.from_bytes(digest, "little"))
  state = hashing.mix(state ^ lengths.astype(np.uint64))
  if array.null_count:
    state[array.is_null().to_numpy(zero_copy_only=False)] = 0
  return state


_FASTTEXT_SPACES = np.zeros(256, bool)
_FASTTEXT_SPACES[list(b" \n\r\t\v\f\0")] = True
_ALL = np.uint64(2**64 - 1)
# Salt, so that the empty text with seed 0 is not hashed to mix(0) = 0.
_SALT = np.uint64(0x9E3779B97F4A7C15)


def _whole(values: pa.Array | pa.ChunkedArray) -> pa.Array:
  """Return one array of variable-length values."""
  if isinstance(values, pa.ChunkedArray):
    values = values.combine_chunks()
  if pa.types.is_dictionary(values.type):
    values = values.dictionary_decode()
  if pa.types.is_fixed_size_binary(values.type):
    values = values.cast(pa.binary())
  if pa.types.is_null(values.type):  # a column of nulls only
    values = values.cast(pa.string())
  return values


def _integers(function: str, array: pa.Array) -> np.ndarray:
  """Return the integers of an Arrow function, int64 [N]; 0 for a null."""
  counts = pc.call_function(function, [array]).fill_null(0)
  return counts.to_numpy(zero_copy_only=False).astype(np.int64)


def _offsets(array: pa.Array) -> np.ndarray:
  """Return the start of each value and the end of the last: int64 [N + 1]."""
  kind = array.type
  wide = pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
  dtype = np.int64 if wide else np.int32
  _, offsets, _ = array.buffers()
  if offsets is None:
    return np.zeros(1, np.int64)
  skipped = array.offset * np.dtype(dtype).itemsize
  starts = np.frombuffer(offsets, dtype, len(array) + 1, skipped)
  return starts.astype(np.int64)


def _bytes(array: pa.Array) -> np.ndarray:
  """Return the bytes that `_offsets` point into, uint8."""
  buffer = array.buffers()[2]
  if buffer is None:
    return np.zeros(0, np.uint8)
  return np.frombuffer(buffer, np.uint8)


def _eights(array: pa.Array) -> np.ndarray:
  """Return the eight bytes from each byte on, as little-endian uint64."""
  data = _bytes(array)
  padded = np.zeros(len(data) + 8, np.uint8)
  padded[: len(data)] = data
  return np.ndarray((len(data) + 1,), "<u8", padded, strides=(1,))
