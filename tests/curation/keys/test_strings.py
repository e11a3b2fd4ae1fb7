"""Texts' words and hashes against Python's own."""

import numpy as np
import pyarrow as pa
import pytest

from curation.keys import strings

# Everything that str.isspace() has, and what only looks like it: zero width
# space, word joiner, Mongolian vowel separator, hangul filler, BOM.
SPACES = [chr(code) for code in range(0x110000) if chr(code).isspace()]
NO_SPACES = ["\u200b", "\u2060", "\u180e", "\u3164", "\ufeff"]
TEXTS = [
  "",
  " ",
  "\u3000\n",
  "one",
  " two  words\t",
  "a\u00a0b\u2003c\x1fd\x85e",
  "eine Katze,\nein Hund",
  "猫\u3000と犬",
  *(f"{space}a{space}{space}b c{space}" for space in SPACES + NO_SPACES),
]


def arrays():
  """Return the texts in each form that a column can have."""
  array = pa.array(["front", *TEXTS, "end"])
  whole = array.slice(1, len(TEXTS))
  return {
    "slice": whole,
    "large": whole.cast(pa.large_string()),
    "chunks": pa.chunked_array([whole.slice(0, 5), whole.slice(5)]),
    "dictionary": whole.dictionary_encode(),
  }


@pytest.mark.parametrize("form", ["slice", "large", "chunks", "dictionary"])
def test_words_and_lengths_are_pythons(form):
  texts = arrays()[form]
  found, counts = strings.words(texts)
  assert found.to_pylist() == [word for text in TEXTS for word in text.split()]
  assert counts.tolist() == [len(text.split()) for text in TEXTS]
  assert strings.num_chars(texts).tolist() == [len(text) for text in TEXTS]
  squeezed = [" ".join(text.split()) for text in TEXTS]
  assert strings.squeezed(texts).to_pylist() == squeezed
  plain = strings.hashes(pa.array(TEXTS))
  assert strings.hashes(texts).tolist() == plain.tolist()


def test_a_null_has_no_words_and_the_hash_0():
  texts = pa.array(["a b", None, "", "c"])
  found, counts = strings.words(texts)
  assert found.to_pylist() == ["a", "b", "c"]
  assert counts.tolist() == [2, 0, 0, 1]
  assert strings.num_chars(texts).tolist() == [3, 0, 0, 1]
  assert strings.squeezed(texts).to_pylist() == ["a b", "", "", "c"]
  assert (strings.hashes(texts) == 0).tolist() == [False, True, False, False]
  assert strings.hashes(pa.nulls(2)).tolist() == [0, 0]
  assert strings.num_words(pa.nulls(2)).tolist() == [0, 0]


def test_hashes_depend_on_every_byte_and_the_length_alone():
  # Around a word of 8 bytes, and around the length from which on another
  # function hashes (128 words).
  texts = [b"\0" * size for size in (*range(18), *range(1014, 1035), 5000)]
  for size in (3, 8, 12, 1024, 1025):
    for place in range(0, size, max(1, size // 40)):
      text = bytearray(b"x" * size)
      text[place] ^= 1
      texts.append(bytes(text))
  texts = sorted(set(texts))
  found = strings.hashes(pa.array(texts, pa.binary()))
  assert len(set(found.tolist())) == len(texts)
  alone = [strings.hashes(pa.array([t], pa.binary()))[0] for t in texts[::7]]
  assert alone == found[::7].tolist()
  other = strings.hashes(pa.array(texts, pa.binary()), seed=1)
  assert not (found == other).any()
  # Each bit is set in about half of the hashes: 6 standard deviations.
  bits = (found[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
  num = len(texts)
  assert (abs(bits.sum(0, dtype=np.int64) - num / 2) < 3 * num**0.5).all()
  fixed = pa.array([b"12345678", b"abcdefgh"], pa.binary(8))
  same = pa.array([b"12345678", b"abcdefgh"])
  assert strings.hashes(fixed).tolist() == strings.hashes(same).tolist()


def mixed(bits):
  """SplitMix64's finalizer, in Python's own integers."""
  for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
    bits = (bits ^ bits >> shift) * factor % 2**64
  return bits ^ bits >> 31


def test_hashes_are_those_of_a_plain_loop():
  for text in ("", "a dog", "a dog runs", "x" * 1024, "é\0é"):
    data = text.encode()
    state = mixed(7 ^ 0x9E3779B97F4A7C15)
    for start in range(0, len(data), 8):
      word = int.from_bytes(data[start : start + 8], "little")
      state = mixed(state ^ word)
    expected = mixed(state ^ len(data))
    assert strings.hashes(pa.array([text]), seed=7).tolist() == [expected]
