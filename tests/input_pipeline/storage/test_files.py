"""Files are found, and read by ranges, on disk and through fsspec."""

import importlib
import os
import pickle
import sys
import threading

import fsspec
import fsspec.implementations.memory
import pytest

from input_pipeline import faults
from input_pipeline.storage import files

NOW = {"waits": ()}


@pytest.fixture(params=["disk", "file", "memory"])
def root(request, tmp_path) -> str:
  """Return the start of the paths of a place where there are no files yet."""
  if request.param == "disk":
    return str(tmp_path)
  if request.param == "file":
    return f"file://{tmp_path}"
  memory = fsspec.filesystem("memory")
  memory.store.clear()
  memory.pseudo_dirs[:] = [""]
  return "memory://data"


def _write(path: str, data: bytes = b"") -> None:
  with fsspec.open(path, "wb", auto_mkdir=True) as file:
    file.write(data)


def _names(paths: list[str], root: str) -> list[str]:
  """Return paths from `root` on, as found."""
  # fsspec writes memory://data as memory:///data.
  start = root.removeprefix("file://").replace("memory://", "memory:///")
  return [path.removeprefix(start + "/") for path in paths]


def test_expand(root):
  for name in ("b/00.tar", "b/01.tar", "a/00.tar", "a/00.json", "a/c/x.tar"):
    _write(f"{root}/{name}")

  def found(pattern):
    return _names(files.expand(f"{root}/{pattern}", "path"), root)

  assert found("a/00.tar") == ["a/00.tar"]
  assert found("b/{00..01}.tar") == ["b/00.tar", "b/01.tar"]
  assert found("{b,a}/00.tar") == ["b/00.tar", "a/00.tar"]
  assert found("*/*.tar") == ["a/00.tar", "b/00.tar", "b/01.tar"]
  assert found("{b,a}/*.tar") == ["b/00.tar", "b/01.tar", "a/00.tar"]
  assert found("**/*.tar") == [
    *("a/00.tar", "a/c/x.tar", "b/00.tar", "b/01.tar")
  ]
  assert found("a/*") == ["a/00.json", "a/00.tar"]


@pytest.mark.parametrize(
  ("pattern", "message"),
  [
    ("a/*.parquet", "my.field matches no file"),
    (
      "a/{0..9}.tar",
      r"my.field lists 10 files, of which 8 are not there, first .*a/2.tar",
    ),
    ("{a/0.tar,a/*}", r"my.field names .*a/0.tar twice"),
    ("a", r"my.field .* is a folder; did you mean .*a/\*"),
    ("a/{0..1.tar", "my.field: .*without its }"),
    ("a/0.tar::a/1.tar", "my.field .*several sources"),
  ],
)
def test_find_refuses(root, pattern, message):
  for name in ("0.tar", "1.tar"):
    _write(f"{root}/a/{name}")
  with pytest.raises(ValueError, match=message):
    files.find(f"{root}/{pattern}", "my.field")


def test_find_refuses_what_no_package_reads(monkeypatch):
  with pytest.raises(ValueError, match="my.field: nobody://x: .*not known"):
    files.find("nobody://x", "my.field")
  with pytest.raises(ValueError, match="my.field must name files"):
    files.find("", "my.field")
  with pytest.raises(ValueError, match="my.field .*a command, which is never"):
    files.find("pipe:aws s3 cp s3://bucket/0.tar -", "my.field")
  # fsspec keeps the class of a client that this process has used.
  classes = importlib.import_module("fsspec.registry")._registry
  monkeypatch.delitem(classes, "gs", raising=False)
  monkeypatch.setitem(sys.modules, "gcsfs", None)
  with pytest.raises(ModuleNotFoundError, match="my.field.*pip install gcsfs"):
    files.find("gs://bucket/x", "my.field")


def test_read(root):
  _write(f"{root}/x", b"whole")
  _write(f"{root}/empty")
  assert files.read(f"{root}/x") == b"whole"
  assert files.read(f"{root}/empty") == b""
  with pytest.raises(faults.ExampleError) as caught:
    files.read(f"{root}/gone")
  assert caught.value.kind == "file_missing"


def test_version_changes_with_the_file(root):
  path = f"{root}/x"
  _write(path, b"123")
  (before,) = files.find(path, "path")
  assert before == files.facts(before.path)
  assert before.size == 3
  assert before.version
  if "memory" in root:
    fsspec.filesystem("memory").rm("data/x")
  _write(path, b"456")
  if "memory" not in root:
    os.utime(before.path, ns=(1, 1))
  assert files.facts(before.path).version != before.version


def test_read_range(root):
  data = os.urandom(1000)
  _write(f"{root}/x", data)
  for start, stop in ((0, 1000), (0, 0), (17, 18), (500, 1000)):
    assert files.read_range(f"{root}/x", start, stop) == data[start:stop]


def test_read_range_names_the_fault(root):
  _write(f"{root}/x", b"123")
  with pytest.raises(faults.ExampleError, match="up to 5.*ends at 3") as caught:
    files.read_range(f"{root}/x", 1, 5, **NOW)
  assert caught.value.kind == "shard_short"
  with pytest.raises(faults.ExampleError, match="y is gone") as caught:
    files.read_range(f"{root}/y", 0, 1, **NOW)
  assert caught.value.kind == "file_missing"
  if "memory" not in root:
    with pytest.raises(faults.ExampleError, match="s a directory") as caught:
      files.read_range(root, 0, 1)
    assert caught.value.kind == "read_failed"


def test_remote_reads_are_tried_again(monkeypatch):
  _write("memory://data/x", b"0123456789")
  real = fsspec.implementations.memory.MemoryFileSystem.cat_file
  failures = []

  def fail_twice(self, *args, **kwargs):
    if len(failures) < 2:
      failures.append(1)
      raise ConnectionResetError("by peer")
    return real(self, *args, **kwargs)

  monkeypatch.setattr(
    fsspec.implementations.memory.MemoryFileSystem, "cat_file", fail_twice
  )
  assert files.read_range("memory://data/x", 2, 4, waits=(0, 0)) == b"23"
  failures.clear()
  with pytest.raises(faults.ExampleError, match="ConnectionReset.*by peer"):
    files.read_range("memory://data/x", 2, 4, waits=(0,))


def test_a_server_without_ranges(monkeypatch):
  monkeypatch.setattr(
    fsspec.implementations.memory.MemoryFileSystem,
    "cat_file",
    lambda *args, **kwargs: b"all there is",
  )
  with pytest.raises(faults.ExampleError, match="no parts of") as caught:
    files.read_range("memory://data/x", 2, 4)
  assert caught.value.kind == "read_failed"


def test_a_stalled_read_ends(monkeypatch):
  _write("memory://data/x", b"0123456789")
  answer = threading.Event()
  monkeypatch.setattr(
    fsspec.implementations.memory.MemoryFileSystem,
    "cat_file",
    lambda *args, **kwargs: answer.wait(60),
  )
  with pytest.raises(faults.ExampleError, match="no answer within") as caught:
    files.read_range("memory://data/x", 2, 4, try_seconds=0.05, waits=(0,))
  answer.set()
  assert caught.value.kind == "read_failed"


def test_many_files_leave_few_open(tmp_path, monkeypatch):
  paths = [tmp_path / f"{i}" for i in range(files._NUM_DESCRIPTORS + 50)]
  before = len(os.listdir("/proc/self/fd"))
  for i, path in enumerate(paths):
    path.write_bytes(b"%d" % i)
    assert files.read_range(str(path), 0, len(str(i))) == b"%d" % i
  opened = len(os.listdir("/proc/self/fd")) - before
  assert 0 < opened <= files._NUM_DESCRIPTORS
  files.facts(str(paths[0]))
  assert len(os.listdir("/proc/self/fd")) <= before


def test_threads_read_what_others_let_go(tmp_path, monkeypatch):
  # One file more than stay open: each read closes a file of another thread.
  monkeypatch.setattr(
    files, "_descriptor", files.functools.lru_cache(1)(files._Descriptor)
  )
  paths = [tmp_path / str(i) for i in range(4)]
  for i, path in enumerate(paths):
    path.write_bytes(bytes([i]) * 64)
  wrong = []

  def read(i):
    for _ in range(300):
      if files.read_range(str(paths[i]), 8, 40) != bytes([i]) * 32:
        wrong.append(i)

  threads = [threading.Thread(target=read, args=(i,)) for i in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert not wrong


def test_open_file_is_seekable(root):
  data = os.urandom(3_000_000)
  _write(f"{root}/x", data)
  with files.open_file(f"{root}/x") as file:
    assert file.seek(-10, os.SEEK_END) == len(data) - 10
    assert file.read() == data[-10:]
    assert file.read() == b""
    assert file.seek(5) == 5
    assert file.read(2_000_000) == data[5:2_000_005]
    assert file.tell() == 2_000_005


def test_file_can_be_pickled(tmp_path):
  (tmp_path / "x").write_bytes(b"1")
  file = files.facts(str(tmp_path / "x"))
  assert pickle.loads(pickle.dumps(file)) == file
