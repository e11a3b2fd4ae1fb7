"""Tars at s3:// are read over HTTP, and a server that stalls is given up.

The server is moto's: an emulator of S3, in this process.
"""

import contextlib
import socket
import threading
import time

import pytest
import s3fs
from moto import server

from configs.parts import sources as source_configs
from input_pipeline import faults
from input_pipeline.sources import source_config, webdataset
from input_pipeline.storage import files
from tests.input_pipeline.sources import tars

ROOT = "s3://a-bucket/shards"


@pytest.fixture
def environment(monkeypatch):
  """Return what sets the address of S3, for clients made afterwards."""
  for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
    monkeypatch.setenv(f"AWS_{name}", "none")
  monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
  # Nothing of the machine that runs the tests.
  monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
  monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")

  def connect(port: int) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
    s3fs.S3FileSystem.clear_instance_cache()

  yield connect
  s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def s3(environment):
  """Return a file system with an empty bucket."""
  emulator = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
  emulator.start()
  try:
    environment(emulator.get_host_and_port()[1])
    fs = s3fs.S3FileSystem()
    fs.mkdir("a-bucket")
    yield fs
  finally:
    emulator.stop()


def _open(cache_dir) -> webdataset.Records:
  fields = source_configs.source(path=f"{ROOT}/{{0..1}}.tar").to_dict()
  return webdataset.open_split(
    source_config.SourceConfig(**fields),
    "",
    source_config.SourceContext("main", cache_dir, 8),
  )


def test_tars_on_s3(s3, tmp_path):
  for i in range(2):
    data = tars.data(tars.examples(3 * i, 3 * i + 3))
    s3.pipe(f"{ROOT}/{i}.tar", data)
  listed = files.find(f"{ROOT}/*.tar", "path")
  assert [file.path for file in listed] == [f"{ROOT}/{i}.tar" for i in (0, 1)]
  assert listed == files.find(f"{ROOT}/{{0..1}}.tar", "path")
  assert listed[0] == files.facts(listed[0].path)
  assert "ETag" in listed[0].version
  records = _open(tmp_path)
  found = [records[i] for i in (5, 0, 4)]
  assert [example.key for example in found] == ["0005", "0000", "0004"]
  assert [example.texts["en"][0] for example in found] == [
    *("caption 0005", "caption 0000", "caption 0004")
  ]
  assert found[0].image == b"image 0005" * 6
  with files.open_file(f"{ROOT}/0.tar") as file:
    assert file.read() == tars.data(tars.examples(0, 3))
  _check_faults(s3, records, len(tars.data(tars.examples(0, 3))))


def _check_faults(s3, records, size) -> None:
  with pytest.raises(ValueError, match=r"of which 8 are not there, first .*/2"):
    files.find(f"{ROOT}/{{0..9}}.tar", "path")
  # A range that begins behind the end, which S3 refuses, and one that ends so.
  for start in (size + 10, size - 10):
    with pytest.raises(faults.ExampleError) as caught:
      files.read_range(f"{ROOT}/0.tar", start, size + 20, waits=())
    assert caught.value.kind == "shard_short"
  s3.pipe(f"{ROOT}/0.tar", tars.data({"other.jpg": b"i" * 9000}))
  s3.rm(f"{ROOT}/1.tar")
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


def test_a_server_that_never_answers(environment):
  with _silent_server() as port:
    environment(port)
    start = time.monotonic()
    with pytest.raises(faults.ExampleError, match="no answer within") as caught:
      files.read_range(f"{ROOT}/0.tar", 0, 9, try_seconds=0.3, waits=(0.1,))
    # Two tries and a wait; the rest is for a busy machine.
    assert time.monotonic() - start < 10
  assert caught.value.kind == "read_failed"
