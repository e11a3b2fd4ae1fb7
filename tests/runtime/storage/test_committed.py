"""A folder in a bucket is there once its commit object is."""

import subprocess
import sys
import tempfile

import pytest

from runtime.storage import committed, objects

FILES = {"a/x": b"1", "b/y/z": b"22", "c": b"333", committed.COMMIT: b"done"}


@pytest.fixture
def local(tmp_path):
  for name, data in FILES.items():
    path = tmp_path / "local" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
  return tmp_path / "local"


def test_the_commit_comes_last_and_goes_first(folder, local, monkeypatch):
  sizes = {name: len(data) for name, data in FILES.items()}
  with monkeypatch.context() as patch:
    patch.setattr(objects, "replace", lambda *_: {}["killed"])
    with pytest.raises(KeyError):
      committed.upload(local, folder / "7")
  assert committed.names(folder) == []
  assert set(objects.sizes(str(folder / "7"))) == set(FILES) - {
    committed.COMMIT
  }
  committed.upload(local, folder / "8")
  assert committed.names(folder) == ["8"]
  committed.delete_unfinished(folder)
  assert objects.sizes(str(folder)) == {f"8/{k}": v for k, v in sizes.items()}
  committed.move(folder / "8", folder / "rejected/8")
  assert committed.names(folder) == []
  del sizes[committed.COMMIT]
  assert objects.sizes(str(folder / "rejected/8")) == sizes


def test_an_upload_replaces_what_a_kill_left(folder, local):
  objects.replace(str(folder / "7/old"), b"of another try")
  committed.upload(local, folder / "7")
  assert set(objects.sizes(str(folder / "7"))) == set(FILES)


def test_a_part_is_downloaded(folder, local, tmp_path):
  committed.upload(local, folder / "7")
  committed.download(folder / "7", tmp_path / "down", ("b",))
  down = {
    path.relative_to(tmp_path / "down").as_posix(): path.read_bytes()
    for path in (tmp_path / "down").rglob("*")
    if path.is_file()
  }
  assert down == {
    name: FILES[name] for name in ("b/y/z", "c", committed.COMMIT)
  }


def test_staging_of_a_killed_process_is_deleted(tmp_path, monkeypatch):
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  script = """
import sys, time
from runtime.storage import committed
with committed.staging() as folder:
  (folder / "large").write_bytes(bytes(9))
  print(folder, flush=True)
  time.sleep(600)
"""
  process = subprocess.Popen(
    [sys.executable, "-c", script],
    env={"TMPDIR": str(tmp_path)},
    stdout=subprocess.PIPE,
    text=True,
  )
  left = process.stdout.readline().strip()
  with committed.staging() as mine:
    names = {str(path) for path in tmp_path.iterdir()}
    assert names == {left, str(mine)}  # that one is alive
  process.kill()
  process.communicate()
  with committed.staging() as mine:
    assert [str(path) for path in tmp_path.iterdir()] == [str(mine)]
  assert not list(tmp_path.iterdir())
