"""Paths in a bucket answer as those of a disk with the same files do."""

import pathlib

import pytest

from runtime.storage import bucket_path, whole_files

FILES = {"a/b.json": b"1", "a/c/d": b"23", "e.txt": "ä".encode()}


@pytest.fixture
def roots(folder, tmp_path):
  for root in (folder, tmp_path):
    for name, data in FILES.items():
      (root / name).parent.mkdir(parents=True, exist_ok=True)
      whole_files.write(root / name, data)
  return folder, tmp_path


def _both(roots, call):
  """Return what a call returns, without the roots; it must be the same."""
  results = [
    str(call(root)).replace(repr(root), "R").replace(str(root), "R")
    for root in roots
  ]
  results = [r.replace("BucketPath", "PosixPath") for r in results]
  assert results[0] == results[1]
  return results[0]


def test_answers_are_those_of_a_disk(roots):
  for name in ("a", "a/b.json", "a/c", "e.txt", "none"):
    for call in (
      lambda path: path.exists(),
      lambda path: path.is_file(),
      lambda path: path.is_dir(),
      lambda path: path.name,
      lambda path: path.suffix,
      lambda path: path.stem,
      lambda path: path.parent.name == "a",
      lambda path: path.with_name("x").name,
      lambda path: path.joinpath("x", "y/z").name,
    ):
      _both([root / name for root in roots], call)


def test_lists_and_contents(roots):
  for call in (
    lambda root: sorted(path.name for path in root.iterdir()),
    lambda root: sorted(path.name for path in root.glob("*")),
    lambda root: sorted(path.name for path in root.glob("a/*")),
    lambda root: sorted(path.name for path in root.glob("*/b.*")),
    lambda root: sorted(path.name for path in root.glob("*.txt")),
    lambda root: (root / "e.txt").read_text(encoding="utf-8"),
    lambda root: (root / "a/c/d").read_bytes(),
  ):
    _both(roots, call)
  for root in roots:
    with pytest.raises(FileNotFoundError):
      (root / "none").read_bytes()
    (root / "e.txt").unlink()
    (root / "e.txt").unlink(missing_ok=True)
    assert not (root / "e.txt").exists()


def test_a_whole_file_replaces(folder):
  path = folder / "a"
  with whole_files.replacing(path) as file:
    file.write(b"1")
    assert not path.exists()
  whole_files.write(path, b"2")
  with pytest.raises(KeyError), whole_files.replacing(path) as file:
    raise KeyError
  assert path.read_bytes() == b"2"


def test_addresses():
  make = bucket_path.make
  assert str(make("GS://b//x/./y/")) == "gs://b/x/y"
  assert make("s3://b/x") == make("s3://b") / "x" != make("gs://b/x")
  assert make(make("s3://b/x")) == make("s3://b/x")
  assert sorted([make("s3://b/y"), make("s3://b/x")])[0].name == "x"
  for local in ("runs/a", "/gs/b", "hf://owner/name"):
    assert make(local) == pathlib.Path(local)


def test_no_path_of_this_disk_is_made(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  path = bucket_path.make("s3://b/x")
  for call in (pathlib.Path, open):
    with pytest.raises(TypeError, match="s3://b/x is not on this disk"):
      call(path)
  assert not list(tmp_path.iterdir())
