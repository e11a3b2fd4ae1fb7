"""Fixtures of tests in a bucket: an emulator a session, a folder a test."""

import itertools

import pytest

from runtime.storage import bucket_path
from tests import bucket_emulators as emulators

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def emulator_s3():
  with emulators.started("s3") as emulator:
    yield emulator


@pytest.fixture(scope="session")
def emulator_gs():
  with emulators.started("gs") as emulator:
    yield emulator


@pytest.fixture(params=["s3", "gs"])
def emulator(request):
  """Return an emulator that the clients of this process are connected to."""
  started = request.getfixturevalue(f"emulator_{request.param}")
  with emulators.connected(started.variables):
    yield started


@pytest.fixture
def folder(emulator):
  """Return a folder of a bucket, for one test."""
  return bucket_path.make(f"{emulator.root}/test-{next(_NUMBERS)}")


@pytest.fixture
def proxy(emulator, monkeypatch):
  """Return a proxy that all requests of the test go through."""
  made = emulators.Proxy(emulator.port)
  with emulators.connected(emulators.variables(emulator.scheme, made.port)):
    yield made
  made.close()
