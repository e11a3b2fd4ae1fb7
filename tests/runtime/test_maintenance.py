"""Notices of Google Cloud, from a metadata server on this machine."""

import http.server
import signal
import threading
import time

import pytest

from runtime import maintenance


@pytest.fixture
def server(monkeypatch):
  """Return the values of a metadata server that this machine asks."""
  values = {"maintenance-event": "NONE", "preempted": "FALSE"}

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      name = self.path.removeprefix("/computeMetadata/v1/instance/")
      is_asked = self.headers["Metadata-Flavor"] == "Google" and name in values
      self.send_response(200 if is_asked else 403)
      self.end_headers()
      self.wfile.write(values.get(name, "").encode())

    def log_message(self, *args):
      pass

  made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  thread = threading.Thread(target=made.serve_forever, daemon=True)
  thread.start()
  monkeypatch.setenv(maintenance.HOST, f"127.0.0.1:{made.server_port}")
  yield values
  made.shutdown()
  made.server_close()
  thread.join()


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("maintenance-event", "TERMINATE_ON_HOST_MAINTENANCE"),
    ("preempted", "TRUE"),
  ],
)
def test_a_notice_is_sigterm(server, name, value, capsys):
  got = threading.Event()
  before = signal.signal(signal.SIGTERM, lambda *args: got.set())
  try:
    ended = maintenance.watch(seconds=0.02)
    time.sleep(0.2)
    assert not got.is_set()
    server[name] = value
    deadline = time.monotonic() + 5
    while not got.is_set() and time.monotonic() < deadline:
      time.sleep(0.01)
    assert got.is_set()
    ended.set()
  finally:
    signal.signal(signal.SIGTERM, before)
  assert f"instance/{name} is {value}" in capsys.readouterr().err


def test_migration_and_silence_end_nothing(server, monkeypatch):
  got = threading.Event()
  before = signal.signal(signal.SIGTERM, lambda *args: got.set())
  try:
    server["maintenance-event"] = "MIGRATE_ON_HOST_MAINTENANCE"
    first = maintenance.watch(seconds=0.02)
    monkeypatch.setenv(maintenance.HOST, "127.0.0.1:9")
    second = maintenance.watch(seconds=0.02)
    time.sleep(0.3)
    assert not got.is_set()
    first.set()
    second.set()
  finally:
    signal.signal(signal.SIGTERM, before)


def test_another_machine_is_not_watched(monkeypatch, tmp_path):
  monkeypatch.delenv(maintenance.HOST, raising=False)
  monkeypatch.setattr(maintenance, "_PRODUCT", tmp_path / "product_name")
  assert maintenance.watch() is None
  (tmp_path / "product_name").write_text("Google Compute Engine\n")
  monkeypatch.setattr(maintenance, "_HOST", "127.0.0.1:9")
  ended = maintenance.watch()
  assert ended is not None
  ended.set()
