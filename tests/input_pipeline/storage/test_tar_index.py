"""An index is made once, whoever asks, and is never that of another tar."""

import concurrent.futures
import json
import logging
import os
import pathlib
import threading

import numpy as np
import pytest

from input_pipeline.storage import files, tar_index, tar_scan
from tests.input_pipeline.sources import tars


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
  """Return a folder of three tars with 4, 5 and 6 examples."""
  start = 0
  for i, count in enumerate((4, 5, 6)):
    tars.write(tmp_path / f"{i}.tar", tars.examples(start, start + count))
    start += count
  return tmp_path


@pytest.fixture
def scanned(monkeypatch) -> list[str]:
  """Return a list that the names of scanned tars are added to."""
  names = []
  scan = tar_scan.scan

  def counted(tar, uid_field):
    names.append(pathlib.Path(tar.path).name)
    return scan(tar, uid_field)

  monkeypatch.setattr(tar_scan, "scan", counted)
  return names


def _prepare(folder, pattern="*.tar", uid=""):
  return tar_index.prepare(
    files.find(f"{folder}/{pattern}", "path"),
    uid_field=uid,
    cache_dir=folder / "cache",
    name="data.sources.main",
  )


def test_index(folder):
  index = tar_index.read(_prepare(folder))
  assert index.stops == (4, 9, 15)
  assert [pathlib.Path(tar.path).name for tar in index.tars] == [
    *("0.tar", "1.tar", "2.tar")
  ]
  assert len(index.spans) == 15
  assert len(np.unique(index.spans["uid"])) == 15


def test_index_has_at_most_40_bytes_an_example(folder):
  index_folder = _prepare(folder)
  index = tar_index.read(index_folder)
  assert index.spans.itemsize <= 40
  assert (index_folder / "spans.bin").stat().st_size <= 40 * len(index.spans)
  # Mapped: shared by all processes, and read no earlier than it is needed.
  assert isinstance(index.spans.base, np.memmap)
  assert not index.spans.flags.owndata


def test_index_is_made_once(folder, scanned):
  first = _prepare(folder)
  assert scanned == ["0.tar", "1.tar", "2.tar"]
  assert _prepare(folder) == first
  assert len(scanned) == 3
  assert not list((folder / "cache/tar_index/parts").iterdir())


def test_only_what_changed_is_indexed_again(folder, scanned, caplog):
  before = tar_index.read(_prepare(folder))
  scanned.clear()
  tars.write(folder / "1.tar", tars.examples(50, 52))
  with caplog.at_level(logging.WARNING):
    after = tar_index.read(_prepare(folder))
  assert scanned == ["1.tar"]
  assert "1.tar has changed: it is indexed again" in caplog.text
  assert after.stops == (4, 6, 12)
  np.testing.assert_array_equal(after.spans[:4], before.spans[:4])
  np.testing.assert_array_equal(after.spans[6:], before.spans[9:])
  # A time of change alone is enough.
  scanned.clear()
  os.utime(folder / "0.tar", ns=(1, 1))
  _prepare(folder)
  assert scanned == ["0.tar"]


def test_odd_tars_are_named_each_time(folder, scanned, caplog):
  one = tars.data(tars.examples(0, 2))
  for i in range(3, 10):
    (folder / f"{i}.tar").write_bytes(one * 2)
  for pattern in ("*.tar", "*.tar", "{9,8,7,6,5,4,3}.tar"):
    caplog.clear()
    with caplog.at_level(logging.WARNING):
      index = tar_index.read(_prepare(folder, pattern))
    assert sum("2 tars joined" in text for text in caplog.messages) == 3
    assert "and 9 more such warnings" in caplog.text
  assert len(scanned) == 10
  assert len(index.warnings) == 7
  assert all(len(texts) == 2 for texts in index.warnings)


def test_parts_of_examples_are_those_of_their_tars(folder, scanned):
  members = list(tars.examples(0, 3).items())
  tars.write(
    folder / "1.tar", members[::-1] + [("0000.a", b""), ("0002.a", b"")]
  )
  tars.write(folder / "2.tar", members[::2] + members[1::2])
  expected = {
    number: [
      tar_index.read(_prepare(folder, f"{number}.tar")).ranges(i)
      for i in range(3)
    ]
    for number in (1, 2)
  }
  assert [len(parts) for parts in expected[1]] == [2, 1, 1]
  assert [len(parts) for parts in expected[2]] == [2, 2, 2]
  for order in ((0, 1, 2), (2, 0, 1), (1, 2)):
    names = ",".join(map(str, order))
    index = tar_index.read(_prepare(folder, f"{{{names}}}.tar"))
    starts = dict(zip(order, (0, *index.stops), strict=False))
    for number in (1, 2):
      found = [index.ranges(starts[number] + i) for i in range(3)]
      assert found == expected[number]
  assert sorted(scanned) == ["0.tar", "1.tar", "2.tar"]


def test_other_patterns_know_the_tars(folder, scanned):
  _prepare(folder)
  scanned.clear()
  tars.write(folder / "3.tar", tars.examples(90, 93))
  assert tar_index.read(_prepare(folder, "{3,0}.tar")).stops == (3, 7)
  assert scanned == ["3.tar"]
  _prepare(folder, "0.tar", uid="uid")
  assert scanned == ["3.tar", "0.tar"]


def test_a_build_that_was_stopped_goes_on(folder, scanned, monkeypatch):
  counted = tar_scan.scan

  def stop(tar, uid_field):
    if tar.path.endswith("2.tar"):
      raise KeyboardInterrupt
    return counted(tar, uid_field)

  with monkeypatch.context() as patch:
    patch.setattr(tar_scan, "scan", stop)
    with pytest.raises(KeyboardInterrupt):
      _prepare(folder)
  assert scanned == ["0.tar", "1.tar"]
  assert len(tar_index.read(_prepare(folder)).spans) == 15
  assert scanned == ["0.tar", "1.tar", "2.tar"]


def test_builds_at_once(folder, scanned):
  found = []
  barrier = threading.Barrier(4)

  # Locks are of open files: threads are kept apart as processes are.
  def prepare():
    barrier.wait()
    found.append(_prepare(folder))

  threads = [threading.Thread(target=prepare) for _ in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert len(set(found)) == 1
  assert len(found) == 4
  assert sorted(scanned) == ["0.tar", "1.tar", "2.tar"]


def test_processes_make_the_same_index(folder, monkeypatch):
  expected = tar_index.read(_prepare(folder))
  (folder / "cache").rename(folder / "before")
  monkeypatch.setattr(tar_index, "_MIN_BYTES_FOR_PROCESSES", 0)
  monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(2))
  # One process is enough: each takes seconds to start.
  pool = concurrent.futures.ProcessPoolExecutor
  monkeypatch.setattr(
    concurrent.futures,
    "ProcessPoolExecutor",
    lambda number, **kwargs: pool(number // 2, **kwargs),
  )
  found = tar_index.read(_prepare(folder))
  np.testing.assert_array_equal(found.spans, expected.spans)
  assert found.stops == expected.stops


@pytest.mark.parametrize("damage", ["spans.bin", "pieces.bin", "shards.json"])
def test_broken_index_is_made_again(folder, damage):
  index_folder = _prepare(folder)
  expected = tar_index.read(index_folder).spans.copy()
  file = index_folder / damage
  data = file.read_bytes()
  file.write_bytes(data[:-5] if data else bytes(5))
  np.testing.assert_array_equal(
    tar_index.read(_prepare(folder)).spans, expected
  )


def test_leftovers_of_a_kill_go(folder):
  root = folder / "cache/tar_index"
  (root / ".abc.tmp-123").mkdir(parents=True)
  (root / "parts").mkdir()
  (root / "parts/.abc.bin.tmp-123").write_bytes(b"123")
  index_folder = _prepare(folder)
  assert {path.name for path in root.iterdir()} == {
    *(".lock", "parts", index_folder.name)
  }
  assert not list((root / "parts").iterdir())


def test_cache_that_cannot_be_written(folder):
  (folder / "cache").write_text("a file")
  with pytest.raises(OSError, match="data.sources.main .*set data.cache_dir"):
    _prepare(folder)


def test_tar_that_vanishes_meanwhile(folder):
  listed = files.find(f"{folder}/*.tar", "path")
  (folder / "1.tar").unlink()
  with pytest.raises(OSError, match="cannot index data.sources.main: .*1.tar"):
    tar_index.prepare(
      listed, uid_field="", cache_dir=folder / "cache", name="data.sources.main"
    )


def test_images_are_not_read(folder, monkeypatch):
  image = os.urandom(3_000_000)
  tars.write(
    folder / "big.tar", {"a.jpg": image, "a.txt": b"a", "b.jpg": image}
  )
  read = []
  read_range = files.read_range

  def counted(path, start, stop):
    read.append(stop - start)
    return read_range(path, start, stop)

  monkeypatch.setattr(files, "read_range", counted)
  _prepare(folder, "big.tar")
  assert 0 < sum(read) < 50_000


def test_remote_tars(folder):
  import fsspec

  memory = fsspec.filesystem("memory")
  memory.store.clear()
  for i in range(3):
    memory.pipe(f"/d/{i}.tar", (folder / f"{i}.tar").read_bytes())
  found = tar_index.read(
    tar_index.prepare(
      files.find("memory://d/{0..2}.tar", "path"),
      uid_field="uid",
      cache_dir=folder / "cache",
      name="data.sources.main",
    )
  )
  expected = tar_index.read(_prepare(folder, uid="uid"))
  np.testing.assert_array_equal(found.spans, expected.spans)
  assert found.spans["uid"]["f1"].tolist() == list(range(15))


def test_shards_are_named(folder):
  fields = json.loads((_prepare(folder) / "shards.json").read_text())
  assert [shard[0] for shard in fields["shards"]] == [
    str(folder / f"{i}.tar") for i in range(3)
  ]
