"""Runs on disk: bounded pieces, and errors for incomplete files."""

import numpy as np
import pytest

from curation.keys import hashing
from curation.on_disk import runs


def run(fn, items):
  return [fn(item) for item in items]


def by_key(columns):
  order = np.argsort(columns[0], kind="stable")
  return tuple(column[order] for column in columns)


def test_no_more_rows_than_allowed_are_in_memory(tmp_path, monkeypatch):
  monkeypatch.setattr(runs, "_ROWS", 100)
  monkeypatch.setattr(runs, "_FAN_IN", 4)
  keys = hashing.mix(np.arange(2000, dtype=np.uint64))
  parts = []
  for number, part in enumerate(np.array_split(keys, 20)):
    sorter = runs.Sorter(by_key)
    sorter.add(part, part)
    parts.append(tmp_path / f"{number}")
    sorter.save(parts[-1])
  sizes = []

  def combine(columns):
    sizes.append(len(columns[0]))
    return by_key(columns)

  buckets = runs.buckets(parts, combine, tmp_path, run)
  found = [rows for bucket in buckets for rows in runs.merged(bucket, combine)]
  # Keys are spread as by chance: ranges have 100 rows, and the standard
  # deviation is 10.
  assert max(sizes) < 150
  assert len(buckets) == 20
  assert [bucket.first for bucket in buckets[1:]] == [
    bucket.last + 1 for bucket in buckets[:-1]
  ]
  for column in zip(*found, strict=True):
    np.testing.assert_array_equal(np.concatenate(column), np.sort(keys))
  # The first of the two levels between is deleted.
  assert not list(tmp_path.glob("merged-0-*"))
  assert len(list(tmp_path.glob("merged-1-*"))) == 2


def test_columns_keep_their_types_and_are_read_in_pieces(tmp_path, monkeypatch):
  keys = np.array([0, 5, 2**64 - 1], np.uint64)
  values = np.array([-1, 2, 3], np.int16)
  with runs.writing(tmp_path / "run", 1000) as append:
    append((keys[:2], values[:2]))
    append((keys[2:], values[2:]))
  found = runs.load(tmp_path / "run")
  assert [column.dtype for column in found] == [np.uint64, np.int16]
  assert [column.tolist() for column in found] == [keys.tolist(), [-1, 2, 3]]
  monkeypatch.setattr(runs, "_ROWS", 2)
  pieces = [columns[1].tolist() for columns in runs.pieces(tmp_path / "run")]
  assert pieces == [[-1, 2], [3]]
  assert runs.num_rows([tmp_path / "run"] * 2) == 6


def stopped(path):
  with runs.writing(path, 10) as append:
    append((np.arange(3, dtype=np.uint64),))
    raise KeyError


def test_a_run_that_was_not_finished_is_no_run(tmp_path):
  with pytest.raises(KeyError):
    stopped(tmp_path / "run")
  with pytest.raises(ValueError, match="Expecting value"):
    runs.load(tmp_path / "run")
