"""Counts of terms and pairs in runs, against collections.Counter."""

import collections
import itertools

import numpy as np
import pyarrow as pa
import pytest

from curation.metadata import pair_counts, term_counts

WORDS = [f"{letter}{number}é" for letter in "abc" for number in range(40)]


def drawn(seed, size=400):
  return np.random.default_rng(seed).zipf(1.4, size) % len(WORDS)


def test_sums_of_runs_equal_a_counter(tmp_path):
  expected, runs = collections.Counter(), []
  for task in range(3):
    folder = tmp_path / str(task)
    folder.mkdir()
    # So few that each call writes a run.
    counter = term_counts.TermCounter(folder, max_terms=30)
    for batch in range(4):
      ids = drawn(10 * task + batch)
      expected.update(WORDS[i] for i in ids)
      counter.add(pa.array(WORDS), np.bincount(ids, minlength=len(WORDS)))
    counter.close()
    runs += sorted(folder.glob("terms-*"))
  assert len(runs) > 3
  expected |= collections.Counter(dict.fromkeys(WORDS, 0))
  for num_parts in (1, 5):
    tables = [
      term_counts.merge(runs, part, num_parts) for part in range(num_parts)
    ]
    table = pa.concat_tables(tables)
    hashes = table["hash"].to_numpy()
    assert (hashes[1:] > hashes[:-1]).all()
    terms, counts = (table[name].to_pylist() for name in ("term", "count"))
    found = dict(zip(terms, counts, strict=True))
    assert found == {word: expected[word] for word in WORDS}


def test_sums_of_pairs_equal_a_counter(tmp_path):
  hashes = term_counts.hash64(pa.array(WORDS))
  expected = collections.Counter()
  # So few that each call writes a run.
  counter = pair_counts.PairCounter(tmp_path, max_pairs=10)
  for batch in range(4):
    ids = drawn(batch)
    ids[::7] = -1
    words = [hashes[i] if i >= 0 else None for i in ids]
    expected.update(
      pair for pair in itertools.pairwise(words) if None not in pair
    )
    counter.add(ids, hashes)
  counter.close()
  runs = sorted(tmp_path.glob("pairs-*"))
  assert len(runs) == 4
  for num_parts in (1, 3):
    parts = [pair_counts.merge(runs, p, num_parts) for p in range(num_parts)]
    found = np.concatenate(parts)
    assert (found["first"][1:] >= found["first"][:-1]).all()
    assert sorted(found.tolist()) == sorted(
      (*k, v) for k, v in expected.items()
    )


def test_the_most_frequent_are_those_of_a_counter_and_ties_go_by_the_term():
  terms = ["b", "a", "c", "d"]
  tables = [
    pa.table({"term": terms[:2], "count": [2, 2]}),
    pa.table({"term": terms[2:], "count": [9, 1]}),
  ]
  found, counts = term_counts.top(tables, 2, 1)
  assert (found, counts.tolist()) == (["c", "a"], [9, 2])
  found, counts = term_counts.top(tables, 9, 2)
  assert found == ["c", "a", "b"]


def test_hashes_depend_on_the_text_alone():
  words = [*WORDS, "", "a", "aa", "ab", "ba", "x" * 300]
  hashes = term_counts.hash64(pa.array(words))
  assert len(set(hashes.tolist())) == len(words)
  # Not on where in an array it is, or of which type.
  again = term_counts.hash64(
    pa.array(["?", *words[::-1]], pa.large_string())[1:]
  )
  assert again[::-1].tolist() == hashes.tolist()
  assert term_counts.hash64(pa.array([], pa.string())).tolist() == []
  assert (
    len(set(term_counts.hash64(pa.array(["", "\0", "\0\0"])).tolist())) == 3
  )
  # Fixed, or a count that was stopped could not go on.
  assert hashes[0] == term_counts.hash64(pa.array(["a0é"]))[0]


def test_bits_of_hashes_are_even():
  hashes = term_counts.hash64(pa.array([str(n) for n in range(4096)]))
  ones = [(hashes >> np.uint64(bit) & np.uint64(1)).sum() for bit in range(64)]
  # 5 standard deviations of a fair coin: sqrt(4096) / 2 = 32.
  assert np.abs(np.array(ones, int) - 2048).max() < 5 * 32


def test_terms_of_one_hash_are_an_error(tmp_path, monkeypatch):
  monkeypatch.setattr(
    term_counts, "hash64", lambda terms: np.zeros(len(terms), np.uint64)
  )
  counter = term_counts.TermCounter(tmp_path)
  counter.add(pa.array(["a", "b"]), np.ones(2, np.int64))
  counter.close()
  with pytest.raises(ValueError, match="have the same 64-bit hash"):
    term_counts.merge(list(tmp_path.glob("terms-*")), 0, 1)
