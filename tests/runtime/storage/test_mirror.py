"""Mirrors: whole files of a disk's folder that are in a bucket first."""

import pickle

import pytest

from runtime.storage import local_file, mirror, objects


def _fail(pairs):
  raise objects.BucketError(f"{list(pairs)}")


def test_files_are_in_the_bucket_before_they_are_on_the_disk(folder):
  with mirror.opened(folder) as copy:
    copy = pickle.loads(pickle.dumps(copy))  # as workers have it
    path = copy.local / "a" / "x"
    path.parent.mkdir()
    with copy.replacing(path) as file:
      file.write(b"old")
    with copy.new_file(path.with_name("y")) as temporary:
      temporary.write_bytes(b"1")
    assert objects.read(str(copy.address / "a/x")).data == b"old"
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(objects, "upload", _fail)
      with pytest.raises(objects.BucketError), copy.replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert sorted(p.name for p in path.parent.iterdir()) == ["x", "y"]
    local = copy.local
  assert not local.exists()


def test_a_folder_is_whole_once_its_last_file_is_there(folder, monkeypatch):
  real = objects.upload
  batches = []
  with mirror.opened(folder) as copy:
    state = copy.local / "state"
    monkeypatch.setattr(
      objects, "upload", lambda pairs: batches.append(list(pairs))
    )
    with copy.new_folder(state, last="facts") as temporary:
      (temporary / "z").mkdir()
      for name in ("facts", "z/keys"):
        (temporary / name).write_bytes(name.encode())
    monkeypatch.setattr(objects, "upload", real)
  names = [[url.removeprefix(f"{folder}/") for _, url in b] for b in batches]
  assert names == [["state/z/keys"], ["state/facts"]]


def test_what_lasts_is_fetched_once_and_deleted(folder):
  files = {"a/x": b"1", "a/b/y": b"22", "z": b"333"}
  for name, data in files.items():
    objects.replace(str(folder / name), data)
  with mirror.opened(folder) as copy:
    copy.fetch(copy.local / "a", copy.local / "z", copy.local / "none")
    assert {k: (copy.local / k).read_bytes() for k in files} == files
    (copy.local / "z").write_bytes(b"own")
    objects.replace(str(folder / "a/new"), b"4")
    copy.fetch(copy.local / "a", copy.local / "z")
    assert (copy.local / "z").read_bytes() == b"own"
    assert (copy.local / "a/new").read_bytes() == b"4"
    copy.delete(copy.local / "a/x")
    assert copy.sizes(copy.local / "a") == {"b/y": 2, "new": 1}
    assert not (copy.local / "a/x").exists()


def test_a_folder_on_a_disk_is_its_own_mirror(tmp_path):
  with mirror.opened(tmp_path) as copy:
    assert copy.address == copy.local == tmp_path
    with copy.new_folder(tmp_path / "state", last="x") as temporary:
      (temporary / "x").write_bytes(b"1")
    copy.fetch(tmp_path / "none")
    assert copy.sizes(tmp_path / "state") == {"x": 1}
    copy.delete(tmp_path / "state" / "x")
  assert list((tmp_path / "state").iterdir()) == []


def test_a_local_file_is_one_version(folder, tmp_path):
  address = str(folder / "keep.npy")
  with pytest.raises(FileNotFoundError, match="keep.npy"):
    local_file.get(address, tmp_path)
  objects.replace(address, b"1")
  first = local_file.get(address, tmp_path)
  assert first == local_file.get(address, tmp_path)
  assert first[0].read_bytes() == b"1"
  objects.replace(address, b"2")
  second = local_file.get(address, tmp_path)
  assert second[1] != first[1]
  assert second[0].read_bytes() == b"2"
  assert len(list(tmp_path.iterdir())) == 2
