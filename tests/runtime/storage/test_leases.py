"""A folder in a bucket has one owner, whose claim ends with its process."""

import concurrent.futures
import contextlib
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from runtime import failures
from runtime.storage import bucket_path, leases, objects, unfinished

LEASE = 2.0
# Claims a folder in a process of its own, and says so.
_CLAIM = """
import sys, time
from runtime.storage import bucket_path, unfinished
with unfinished.claim(bucket_path.make(sys.argv[1]), "--workdir=W"):
  print("claimed", flush=True)
  time.sleep(600)
"""


@pytest.fixture
def short(monkeypatch):
  """Let claims expire soon, and hide that their owners are of this machine."""
  monkeypatch.setattr(leases, "BEAT_SECONDS", 0.3)
  monkeypatch.setattr(leases, "LEASE_SECONDS", LEASE)
  monkeypatch.setattr(leases, "_POLL_SECONDS", 0.1)
  monkeypatch.setattr(leases, "_machine", lambda: "")


@contextlib.contextmanager
def _process(folder):
  process = subprocess.Popen(
    [sys.executable, "-c", _CLAIM, str(folder)],
    stdout=subprocess.PIPE,
    text=True,
  )
  try:
    assert process.stdout.readline() == "claimed\n"
    yield process
  finally:
    process.kill()
    process.communicate()


def test_two_owners_are_refused_and_the_message_names_the_first(folder):
  with unfinished.claim(folder, "--workdir=W") as token:
    assert unfinished.token(folder) == token
    with (
      pytest.raises(failures.RunError) as caught,
      unfinished.claim(folder, "--workdir=W"),
    ):
      pass
    assert unfinished.token(folder) == token
  message = str(caught.value)
  assert message.startswith("--workdir=W is in use by another run (host ")
  assert f"process {os.getpid()}, since 20" in message
  with unfinished.claim(folder, "--workdir=W"):  # and free again
    pass


@pytest.mark.slow
def test_an_owner_of_another_machine_that_renews_is_alive(folder, short):
  with unfinished.claim(folder, "--workdir=W"):
    start = time.monotonic()
    with (
      pytest.raises(failures.RunError, match="in use by another run"),
      unfinished.claim(folder, "--workdir=W"),
    ):
      pass
    assert time.monotonic() - start < LEASE  # its heartbeat was seen
    time.sleep(2 * LEASE)  # a claim lives longer than a lease
    with (
      pytest.raises(failures.RunError, match="in use by another run"),
      unfinished.claim(folder, "--workdir=W"),
    ):
      pass


def test_a_dead_owner_of_another_machine_expires(folder, short, capsys):
  dead = {"token": "t", "host": "far", "process": 1, "started": "then"}
  text = json.dumps({"owner": dead, "beat": 3})
  objects.replace(str(folder / unfinished.LOCK), text.encode())
  start = time.monotonic()
  with unfinished.claim(folder, "--workdir=W"):
    assert 0.5 * LEASE < time.monotonic() - start < 5 * LEASE
  said = capsys.readouterr().err
  assert said.count("\n") == 1
  assert "s ago by host far, process 1, since then; waiting for up to" in said


@pytest.mark.slow
def test_a_killed_process_of_this_machine_frees_its_claim(folder):
  with _process(folder) as process:
    with (
      pytest.raises(failures.RunError, match=f"process {process.pid},"),
      unfinished.claim(folder, "--workdir=W"),
    ):
      pass
    process.kill()
    process.wait()
    start = time.monotonic()
    with unfinished.claim(folder, "--workdir=W"):
      assert time.monotonic() - start < 0.5 * leases.LEASE_SECONDS


@pytest.mark.parametrize("data", [b"", b"no JSON", b'{"owner": 3}'], ids=str)
def test_a_damaged_claim_is_taken(folder, data):
  objects.replace(str(folder / unfinished.LOCK), data)
  with unfinished.claim(folder, "--workdir=W"):
    pass


def test_one_of_many_claims_wins(folder, short):
  done = threading.Event()

  def claim(_: int) -> bool:
    try:
      with unfinished.claim(folder, "--workdir=W"):
        done.wait(60)
        return True
    except failures.RunError:
      return False

  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    claims = [pool.submit(claim, i) for i in range(4)]
    refused = concurrent.futures.as_completed(claims, 60)
    assert [next(refused).result() for _ in range(3)] == [False] * 3
    done.set()
    assert next(refused).result()


def test_an_owner_whose_claim_was_taken_ends(folder, short):
  lock, lost = folder / unfinished.LOCK, []
  taken = threading.Event()

  def on_lost(message: str) -> None:
    lost.append(message)
    taken.set()

  with leases.claim(lock, "--workdir=W", on_lost):
    other = {"token": "t", "host": "far", "process": 1, "started": "now"}
    text = json.dumps({"owner": other, "beat": 0}).encode()
    while True:  # until between two heartbeats
      with contextlib.suppress(objects.ConflictError):
        objects.replace(str(lock), text)
        break
    assert taken.wait(30)
  assert lost == [
    f"{folder} was claimed by another run (host far, process 1, since now)"
    " while this one did not answer; ending"
  ]
  assert objects.read(str(lock)).data == text  # was not freed


@pytest.mark.slow
def test_a_claim_outlives_errors_of_the_bucket(folder, short, proxy):
  with unfinished.claim(folder, "--workdir=W") as token:
    proxy.mode = "503"
    time.sleep(1)
    proxy.mode = "pass"
    before = objects.version(str(folder / unfinished.LOCK))
    deadline = time.monotonic() + 60
    while objects.version(str(folder / unfinished.LOCK)) == before:
      assert time.monotonic() < deadline
      time.sleep(0.1)
    assert unfinished.token(folder) == token


def test_a_bucket_that_is_not_there_is_named(emulator):
  url = f"{emulator.scheme}://no-such-bucket/a"
  with (
    pytest.raises(failures.RunError, match=f"--workdir={url}: .*no such buc"),
    unfinished.claim(bucket_path.make(url), f"--workdir={url}"),
  ):
    pass


def test_whether_a_claim_is_held(folder, short):
  lock = folder / unfinished.LOCK
  assert not leases.is_held(lock)
  with leases.claim(lock, "--workdir=W"):
    assert leases.is_held(lock)
    with unfinished.shared(folder, "it") as files:
      assert files is None
  assert not leases.is_held(lock)
  other = {"owner": {"token": "t", "host": "far", "machine": "far 1"}}
  objects.replace(str(lock), json.dumps(other).encode())
  assert leases.is_held(lock)
  deadline = time.monotonic() + 30
  while leases.is_held(lock):  # nobody renews it
    assert time.monotonic() < deadline
    time.sleep(0.1)


def test_a_claim_is_that_of_what_it_started(folder):
  process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1)
  me = leases.identity(process.pid)
  assert unfinished.is_shared(folder, (), me)
  process.communicate(b"\n")
  assert not unfinished.is_shared(folder, (), me)
  with leases.claim(folder / "in" / unfinished.LOCK, "--workdir=W"):
    assert unfinished.is_shared(folder, [folder / "in"], me)
  with unfinished.shared(folder, "it", [folder / "in"], me) as files:
    assert files == ()
    assert unfinished.is_shared(folder)
