"""Files at http:// are read, from servers that know ranges and others.

The servers are Python's own, on this machine, as they are or with ranges.
"""

import contextlib
import functools
import http.server
import re
import socket
import threading
import time

import pytest

from input_pipeline import faults
from input_pipeline.sources import table, webdataset
from input_pipeline.storage import files, web
from tests.input_pipeline.sources import pairs, tars


class _Whole(http.server.SimpleHTTPRequestHandler):
  """Handler of a server that sends files as wholes only."""

  def log_message(self, *args):
    self.server.requests.append((self.command, self.path))

  def send_head(self):
    if self.path != "/forbidden":
      return super().send_head()
    self.send_error(403)
    return None


class _Ranges(_Whole):
  """Handler of a server that sends parts of files too."""

  def do_GET(self):
    wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
    if not wanted:
      super().do_GET()
      return
    with open(self.translate_path(self.path), "rb") as file:
      data = file.read()
    start, stop = int(wanted[1]), int(wanted[2]) + 1
    if start >= len(data):
      self.send_error(416)
      return
    part = data[start:stop]
    self.send_response(206)
    self.send_header("Content-Length", str(len(part)))
    last = start + len(part) - 1
    self.send_header("Content-Range", f"bytes {start}-{last}/{len(data)}")
    self.end_headers()
    self.wfile.write(part)


class _NoSize(_Whole):
  """Handler of a server that does not say how long a file is."""

  def send_header(self, name, value):
    if name != "Content-Length":
      super().send_header(name, value)


@contextlib.contextmanager
def _serving(folder, handler):
  handler = functools.partial(handler, directory=str(folder))
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
    server.requests = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
      yield server, f"http://127.0.0.1:{server.server_port}"
    finally:
      server.shutdown()
      thread.join()
      web.copy.cache_clear()


@pytest.fixture(params=[_Whole, _Ranges, _NoSize])
def serving(request, tmp_path):
  """Return the folder "served", its server, the address and the handler."""
  folder = tmp_path / "served"
  folder.mkdir()
  with _serving(folder, request.param) as (server, address):
    yield folder, server, address, request.param


@pytest.mark.parametrize("scheme", ["http", "HTTP"])
def test_tars(serving, tmp_path, scheme):
  folder, server, address, handler = serving
  (folder / "[v1]").mkdir()
  for name, start in (("0.tar", 0), ("1.tar", 3), ("[v1]/2.tar", 6)):
    tars.write(folder / name, tars.examples(start, start + 3))
  address = address.replace("http", scheme)
  for path, keys in (
    ("0.tar", range(3)),
    ("{1,0}.tar", (3, 4, 5, 0, 1, 2)),
    ("*.tar", range(6)),
    ("[v1]/2.tar", (6, 7, 8)),
    ("[v1]/*.tar", (6, 7, 8)),
    ("%5Bv1%5D/2.tar", (6, 7, 8)),
  ):
    records = webdataset.open_split(
      pairs.source("webdataset", f"{address}/{path}"),
      "",
      pairs.context(tmp_path),
    )
    found = [records[index] for index in range(len(records))]
    assert [record.key for record in found] == [f"{key:04d}" for key in keys]
    for key, record in zip(keys, found, strict=True):
      assert record.image == tars.examples(key, key + 1)[f"{key:04d}.jpg"]
  data = (folder / "0.tar").read_bytes()
  with files.open_file(f"{address}/0.tar") as file:
    assert file.read() == data
  if handler is not _Ranges:
    # Copied once for each of three listings, not at every read.
    assert server.requests.count(("GET", "/0.tar")) < 10


@pytest.mark.parametrize("scheme", ["http", "HTTP"])
def test_images_of_a_table(serving, tmp_path, scheme):
  folder, _, address, _ = serving
  address = address.replace("http", scheme)
  (folder / "a b#c.png").write_bytes(b"image")
  rows = [f"{address}/a%20b%23c.png", f"{address}/a b%23c.png", "gone.png"]
  rows += [f"{address}/gone.png", f"{address}/forbidden"]
  lines = "".join(f"{name},caption\n" for name in rows)
  (tmp_path / "a.csv").write_text("filepath,title\n" + lines)
  records = table.open_split(
    pairs.source("table", tmp_path / "a.csv"), "", pairs.context(tmp_path)
  )
  assert [records[i].image for i in (0, 1)] == [b"image"] * 2
  for index, kind, text in (
    (2, "file_missing", "gone.png"),
    (3, "file_missing", rows[3]),
    (4, "read_failed", f"{rows[4]}.* 403"),
  ):
    with pytest.raises(faults.ExampleError, match=text) as caught:
      records[index]
    assert caught.value.kind == kind


def test_ranges(serving):
  folder, _, address, _ = serving
  data = bytes(range(256)) * 8
  (folder / "x").write_bytes(data)
  (file,) = files.find(f"{address}/x", "main.path")
  assert file == files.facts(f"{address}/x")
  assert file.size == len(data)
  assert "Last-Modified" in file.version
  for start, stop in ((0, 2048), (0, 1), (17, 700), (2047, 2048), (5, 5)):
    part = files.read_range(f"{address}/x", start, stop)
    assert part == data[start:stop]
  for start, stop in ((2040, 2060), (10, 2058), (3000, 3001)):
    with pytest.raises(faults.ExampleError, match="up to") as caught:
      files.read_range(f"{address}/x", start, stop, waits=())
    assert caught.value.kind == "shard_short"
  with pytest.raises(ValueError, match="1 are not there, first http.*/gone"):
    files.find(f"{address}/gone", "main.path")
  with pytest.raises(OSError, match=r"main.path: cannot .*forbidden.* 403"):
    files.find(f"{address}/forbidden", "main.path")


def test_dead_addresses():
  with socket.create_server(("127.0.0.1", 0)) as closed:
    port = closed.getsockname()[1]
  url = f"http://127.0.0.1:{port}/x.jpg"
  with pytest.raises(faults.ExampleError, match=f"{url}.*onnect") as caught:
    files.read_range(url, 0, 9, waits=(0.01,))
  assert caught.value.kind == "read_failed"
  for path in (url, f"http://127.0.0.1:{port}/*.tar"):
    text = f"main.path: cannot look up {re.escape(path)}.*onnect"
    with pytest.raises(OSError, match=text):
      files.find(path, "main.path")


def test_a_server_that_never_answers(monkeypatch):
  with socket.create_server(("127.0.0.1", 0)) as listener:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/x.jpg"
    start = time.monotonic()
    with pytest.raises(faults.ExampleError, match=f"{url}.*no answer within"):
      files.read_range(url, 0, 9, try_seconds=0.2, waits=(0.01,))
    monkeypatch.setattr(files, "_LIST_SECONDS", 0.2)
    with pytest.raises(TimeoutError, match=f"main.path: no answer.*{url}"):
      files.find(url, "main.path")
    # Three waits for an answer; the rest is for a busy machine.
    assert time.monotonic() - start < 10
