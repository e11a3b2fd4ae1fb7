"""Matching, against a search for each entry in each caption."""

import itertools
import string

import numpy as np
import pyarrow as pa
import pytest

from curation.captions import matching
from tests.curation import caption_texts

POINTS = ",.;:?!`"


def spaced(text):
  """MetaCLIP's spacing rule, once more."""
  for char in POINTS:
    text = text.replace(char, f" {char} ")
  return text


def needs_no_space(char, mode):
  code = ord(char)
  inside = [
    (0x2E80, 0x2FDF),
    (0x2FF0, 0x2FFF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xE00, 0xFFF),
  ]
  if mode == "fixed":
    inside.append((0x3040, 0x30FF))
  in_script = any(first <= code <= last for first, last in inside)
  return in_script or char in string.punctuation


def brute_force(texts, entries, mode, ends):
  """Search all texts for each entry; return sorted (text, entry) [M, 2]."""
  # No entry has a line feed, so none is found across two texts.
  pieces = []
  for text in texts:
    text = spaced(f" {text} ")
    for char in "\t\r\n":
      text = text.replace(char, " ")
    pieces.append(text.encode() + b"\n")
  joined = b"".join(pieces)
  stops = np.cumsum([len(piece) for piece in pieces])
  starts, found = [], []
  for number, entry in enumerate(entries):
    by_script = ends == "by_script"
    left = "" if by_script and needs_no_space(entry[0], mode) else " "
    right = "" if by_script and needs_no_space(entry[-1], mode) else " "
    if mode == "fixed":
      begin, end = entry[0] in POINTS, -1 if entry[-1] in POINTS else None
      entry = spaced(entry)[begin:end]
    pattern = f"{left}{entry}{right}".encode()
    at = joined.find(pattern)
    while at >= 0:
      starts.append(at)
      found.append(number)
      at = joined.find(pattern, at + 1)
  texts = np.searchsorted(stops, starts, "right")
  return np.unique(np.stack([texts, found], 1), axis=0)


def pairs_of(matches):
  texts = np.repeat(
    np.arange(len(matches.offsets) - 1), np.diff(matches.offsets)
  )
  return np.stack([texts, matches.ids], 1)


@pytest.mark.parametrize("mode", matching.MODES)
@pytest.mark.parametrize("ends", matching.ENDS)
def test_equals_brute_force_in_several_scripts(mode, ends):
  # 20,000 captions x 5,000 entries: benchmarks/curation.py.
  texts, entries = caption_texts.make(2000, 1000)
  matcher = matching.make(pa.array(entries), mode=mode, ends=ends)
  matches = matcher.match(pa.array(texts))
  expected = brute_force(texts, entries, mode, ends)
  np.testing.assert_array_equal(pairs_of(matches), expected)
  # Every script is among what was found.
  found = "".join(entries[i] for i in np.unique(matches.ids))
  for letters in caption_texts.SCRIPTS.values():
    assert set(letters) & set(found)


@pytest.mark.parametrize("mode", matching.MODES)
@pytest.mark.parametrize("ends", matching.ENDS)
def test_equals_brute_force_in_all_short_texts(mode, ends):
  def strings(alphabet, size):
    for length in range(size + 1):
      yield from map("".join, itertools.product(alphabet, repeat=length))

  # Spaces side by side, and at ends, are where rules come apart.
  entries = [entry for entry in strings("a .山か", 3) if entry]
  texts = list(strings("a \t.山か", 4))
  matcher = matching.make(pa.array(entries), mode=mode, ends=ends)
  matches = matcher.match(pa.array(texts))
  expected = brute_force(texts, entries, mode, ends)
  np.testing.assert_array_equal(pairs_of(matches), expected)


def match(texts, entries, mode="parity", ends="both"):
  matcher = matching.make(pa.array(entries), mode=mode, ends=ends)
  matches = matcher.match(pa.array(texts, pa.string()))
  return [
    [entries[i] for i in matches.ids[start:stop]]
    for start, stop in zip(
      matches.offsets[:-1], matches.offsets[1:], strict=True
    )
  ]


def test_counts_an_entry_once_and_overlaps_all():
  assert match(
    ["red car red car", "Red car"], ["red car", "car red", "car", "red"]
  ) == [["red car", "car red", "car", "red"], ["car"]]


def test_only_whole_words_and_only_spaced_punctuation_match():
  entries = ["car", "photo.", "photo", ".", "St. Louis", "a  b"]
  texts = ["cars", "a photo.", "St. Louis", "a  b", None, ""]
  assert match(texts, entries) == [[], ["photo", "."], ["."], ["a  b"], [], []]
  assert match(texts, entries, mode="fixed") == [
    [],
    ["photo.", "photo", "."],
    [".", "St. Louis"],
    ["a  b"],
    [],
    [],
  ]


def test_scripts_without_spaces_match_inside_of_words():
  entries = ["山", "ทะเล", "カメラ", "sea", "C++"]
  texts = ["富士山の写真", "ภาพทะเลสวย", "新カメラ", "overseas", "C++11"]
  assert match(texts, entries, ends="by_script") == [
    ["山"],
    ["ทะเล"],
    [],
    [],
    ["C++"],
  ]
  # Kana are missing from the published ranges.
  assert match(texts, entries, "fixed", "by_script")[2] == ["カメラ"]
  assert match(texts, entries) == [[]] * 5


def test_characters_of_four_bytes_do_not_shift_what_follows():
  texts = ["😀😀😀", "山", "😀", "a\n山😀", "山"]
  assert match(texts, ["山", "😀", "a"], ends="by_script") == [
    [],
    ["山"],
    ["😀"],
    ["山", "a"],
    ["山"],
  ]


def test_takes_slices_chunks_and_no_texts_at_all():
  matcher = matching.make(pa.array(["b", "日"]), mode="fixed", ends="by_script")
  array = pa.array(["a", "b", "日"])
  for texts in (array[1:], pa.chunked_array([array[1:2], array[2:]])):
    assert matcher.match(texts).ids.tolist() == [0, 1]
  matches = matcher.match(array[:0])
  assert matches.offsets.tolist() == [0]
  assert len(matches.ids) == 0


def test_finds_zero_bytes_only_where_they_are():
  assert match(["a\0", "a", "a\0 b"], ["a", "b"]) == [[], ["a"], ["b"]]


@pytest.mark.parametrize(
  ("entries", "message"),
  [
    (["a", ""], "entry 1 of the metadata is ''"),
    (["a\tb"], r"entry 0 of the metadata is 'a\\tb'"),
    (["a", "b", "a"], "has the entry 'a' more than once"),
    (["山", "b", "山"], "has the entry '山' more than once"),
  ],
)
def test_refuses_entries_that_cannot_be(entries, message):
  with pytest.raises(ValueError, match=message):
    matching.check(pa.array(entries))


def test_made_of_an_entry_twice_it_would_lose_one():
  with pytest.raises(ValueError, match="has the entry 'a b' more than once"):
    matching.make(pa.array(["a b", "a b"]), mode="fixed", ends="both")
