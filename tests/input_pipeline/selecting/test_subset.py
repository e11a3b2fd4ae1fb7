"""Subset files: what is found, what is refused, and what is read again."""

import collections
import dataclasses
import pickle

import numpy as np
import pytest

from configs.parts import sources
from input_pipeline.selecting import subset
from input_pipeline.sources import source_config
from input_pipeline.storage import uids as uids_lib
from runtime.storage import objects
from tests import bucket_emulators as emulators
from tests.input_pipeline import fake_records


@pytest.fixture
def place(tmp_path) -> source_config.SourceContext:
  return source_config.SourceContext("main", tmp_path / "cache", 8)


def _source(path) -> source_config.SourceConfig:
  fields = sources.source(format="fake", subset=str(path)).to_dict()
  return source_config.SourceConfig(**fields)


def _file(tmp_path, uids):
  path = tmp_path / "subset.npy"
  np.save(path, np.array(uids, uids_lib.UID))
  return path


def _uids(records, indices):
  return np.sort(records.uids()[list(indices)])


def test_keeps_the_sources_order(tmp_path, place):
  records = fake_records.Records("a", 50)
  path = _file(tmp_path, _uids(records, (40, 3, 17)))
  found = subset.select(records, _source(path), place)
  assert len(found) == 3
  assert [found[i].key for i in range(3)] == ["a3", "a17", "a40"]
  np.testing.assert_array_equal(found.uids(), records.uids()[[3, 17, 40]])
  with pytest.raises(IndexError):
    found[3]


def test_chunks_do_not_matter(monkeypatch):
  """Also UIDs that have their high half in common, and twice the same."""
  rng = np.random.default_rng(0)
  source = np.zeros(300, uids_lib.UID)
  source["f0"] = np.array([0, 1, 2**63, 2**64 - 1], "u8")[
    rng.integers(4, size=300)
  ]
  source["f1"] = rng.integers(0, 60, 300)
  names = np.sort(source[rng.permutation(300)[:80]])
  names = np.sort(np.concatenate([names, names[-3:]]))
  known = set(names.tolist())
  expected = [i for i, uid in enumerate(source.tolist()) if uid in known]
  assert 0 < len(expected) < 300
  for size, stride in ((2**20, 4096), (11, 7), (300, 1)):
    monkeypatch.setattr(subset, "_CHUNK", size)
    monkeypatch.setattr(uids_lib, "STRIDE", stride)
    subset._check_sorted("field", "path", names)
    counted = []
    table = uids_lib.SortedUids(names, "path")
    found, repeated = subset._positions(
      source, table, len(names), counted.append
    )
    assert found.tolist() == expected
    num = collections.Counter(source.tolist())
    twice = {uid for uid in known if num[uid] > 1}
    assert set(names[repeated].tolist()) == twice
    assert sum(counted) == 300


def test_is_looked_up_once(tmp_path, place, monkeypatch):
  records = fake_records.Records("a", 50)
  path = _file(tmp_path, _uids(records, (1, 2)))
  first = subset.select(records, _source(path), place)
  monkeypatch.setattr(
    subset, "_positions", lambda *args: pytest.fail("looked up again")
  )
  again = subset.select(records, _source(path), place)
  assert again.fingerprint() == first.fingerprint() != records.fingerprint()
  copy = pickle.loads(pickle.dumps(again))
  assert [copy[i].key for i in range(2)] == ["a1", "a2"]
  assert len(pickle.dumps(again)) < 1000
  # Other data, other file.
  other = dataclasses.replace(records, num=51)
  with pytest.raises(pytest.fail.Exception, match="looked up again"):
    subset.select(other, _source(path), place)


def test_none_found_shows_both_sides(tmp_path, place):
  records = fake_records.Records("a", 5)
  path = _file(tmp_path, [(1, 2)])
  ours = uids_lib.uid_hex(records.uids()[0])
  with pytest.raises(
    ValueError,
    match=rf"main.subset=.* none of the 5 .*0{{15}}10{{15}}2, .*{ours}",
  ):
    subset.select(records, _source(path), place)


@pytest.mark.parametrize(
  ("array", "message"),
  [
    (np.zeros(3, "u8"), r'dtype "u8,u8"; got .* of uint64 \[3\]'),
    (np.zeros((2, 2), uids_lib.UID), r"\[2, 2\]"),
    (np.zeros(0, uids_lib.UID), "names no example"),
    (
      np.array([(0, 5), (1, 3), (1, 2)], uids_lib.UID),
      "must be sorted .* UID 2, 0{15}10{15}2, is lower .* 0{15}10{15}3",
    ),
    (np.array([{}], object), "must be a .npy file .*Python objects"),
  ],
)
def test_what_is_no_subset(tmp_path, place, array, message):
  np.save(tmp_path / "subset.npy", array, allow_pickle=True)
  records = fake_records.Records("a", 5)
  with pytest.raises(ValueError, match=f"data.sources.main.subset.*{message}"):
    subset.select(records, _source(tmp_path / "subset.npy"), place)


def test_files_that_are_no_arrays(tmp_path, place, caplog):
  records = fake_records.Records("a", 5)
  path = tmp_path / "subset.npy"
  np.savez(tmp_path / "subset.npz", np.zeros(3, uids_lib.UID))
  for data, message in (
    ((tmp_path / "subset.npz").read_bytes(), "got a zip file"),
    (b"1\n2\n", r"got data that begins with b'1.n2.n'"),
    (b"", "got an empty file"),
  ):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"must be a .npy file; {message}"):
      subset.select(records, _source(path), place)
  # UIDs that no example has are told of, each time.
  np.save(
    path,
    uids_lib.unique(
      np.append(records.uids()[:2], uids_lib.records(np.array([b"\1"], "S16")))
    ),
  )
  for _ in range(2):
    caplog.clear()
    assert len(subset.select(records, _source(path), place)) == 2
    assert "2 of its 5 examples are in" in caplog.text
    assert "which names 3" in caplog.text


def test_no_file(tmp_path, place):
  records = fake_records.Records("a", 5)
  with pytest.raises(ValueError, match=r"main.subset must be .*No such file"):
    subset.select(records, _source(tmp_path / "none.npy"), place)


def test_a_file_in_a_bucket(tmp_path, place):
  records = fake_records.Records("a", 50)
  with (
    emulators.started("gs") as emulator,
    emulators.connected(emulator.variables),
  ):
    address = f"{emulator.root}/curation/selection.npy"
    made = []
    for rows in ((40, 3, 17), (40, 3, 17), (2, 1)):
      path = _file(tmp_path, _uids(records, rows))
      objects.replace(address, path.read_bytes())
      made.append(subset.select(records, _source(address), place))
    objects.delete([address])
    with pytest.raises(ValueError, match=f"npy file of UIDs; got {address}: "):
      subset.select(records, _source(address), place)
  names = [[found[i].key for i in range(len(found))] for found in made]
  assert names == [["a3", "a17", "a40"]] * 2 + [["a1", "a2"]]
  assert [x.key for x in pickle.loads(pickle.dumps(made[2]))] == ["a1", "a2"]
