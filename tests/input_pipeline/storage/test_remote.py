"""Tars at s3:// and gs:// are read over HTTP; a server that stalls is given up.

The servers are emulators on this machine.
"""

import contextlib
import socket
import threading
import time

import fsspec
import pytest

from configs.parts import sources as source_configs
from input_pipeline import faults
from input_pipeline.sources import source_config, webdataset
from input_pipeline.storage import files
from tests import bucket_emulators as emulators
from tests.input_pipeline.sources import tars


@pytest.fixture
def root(bucket):
  """Return a URL of an empty folder in a store of each kind."""
  return f"{bucket}/shards"


def _open(root, cache_dir) -> webdataset.Records:
  fields = source_configs.source(path=f"{root}/{{0..1}}.tar").to_dict()
  return webdataset.open_split(
    source_config.SourceConfig(**fields),
    "",
    source_config.SourceContext("main", cache_dir, 8),
  )


def test_tars(root, tmp_path):
  fs, _ = fsspec.url_to_fs(root)
  for i in range(2):
    data = tars.data(tars.examples(3 * i, 3 * i + 3))
    fs.pipe(f"{root}/{i}.tar", data)
  listed = files.find(f"{root}/*.tar", "path")
  assert [file.path for file in listed] == [f"{root}/{i}.tar" for i in (0, 1)]
  assert listed == files.find(f"{root}/{{0..1}}.tar", "path")
  assert listed[0] == files.facts(listed[0].path)
  version = "ETag" if root.startswith("s3") else "generation"
  assert version in listed[0].version
  records = _open(root, tmp_path)
  found = [records[i] for i in (5, 0, 4)]
  assert [example.key for example in found] == ["0005", "0000", "0004"]
  assert [example.texts["en"][0] for example in found] == [
    *("caption 0005", "caption 0000", "caption 0004")
  ]
  assert found[0].image == b"image 0005" * 6
  with files.open_file(f"{root}/0.tar") as file:
    assert file.read() == tars.data(tars.examples(0, 3))
  _check_faults(fs, root, records, len(tars.data(tars.examples(0, 3))))


def _check_faults(fs, root, records, size) -> None:
  with pytest.raises(ValueError, match=r"of which 8 are not there, first .*/2"):
    files.find(f"{root}/{{0..9}}.tar", "path")
  # A range that begins behind the end, which S3 refuses, and one that ends so.
  for start in (size + 10, size - 10):
    with pytest.raises(faults.ExampleError) as caught:
      files.read_range(f"{root}/0.tar", start, size + 20, waits=())
    assert caught.value.kind == "shard_short"
  fs.pipe(f"{root}/0.tar", tars.data({"other.jpg": b"i" * 9000}))
  fs.rm(f"{root}/1.tar")
  for index, kind in ((0, "shard_changed"), (5, "file_missing")):
    with pytest.raises(faults.ExampleError) as caught:
      records[index]
    assert caught.value.kind == kind


@contextlib.contextmanager
def _silent_server():
  """Yield the port of a server that accepts and never answers."""
  with socket.create_server(("127.0.0.1", 0)) as listener:
    connections = []

    def accept():
      with contextlib.suppress(OSError):
        while True:
          connections.append(listener.accept()[0])

    thread = threading.Thread(target=accept)
    thread.start()
    try:
      yield listener.getsockname()[1]
    finally:
      listener.shutdown(socket.SHUT_RDWR)
      thread.join()
      for connection in connections:
        connection.close()


@pytest.mark.parametrize("scheme", emulators.SCHEMES)
def test_a_server_that_never_answers(monkeypatch, scheme):
  root = f"{scheme}://a-bucket"
  with (
    _silent_server() as port,
    emulators.connected(emulators.variables(scheme, port)),
  ):
    start = time.monotonic()
    with pytest.raises(faults.ExampleError, match="no answer within") as caught:
      files.read_range(f"{root}/0.tar", 0, 9, try_seconds=0.3, waits=(0.1,))
    # Two tries and a wait; the rest is for a busy machine.
    assert time.monotonic() - start < 10
  assert caught.value.kind == "read_failed"
