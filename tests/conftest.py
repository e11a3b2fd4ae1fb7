"""Fixtures of all tests: 8 simulated devices, data, and one finished run."""

import fcntl
import gc
import itertools
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import pytest
from absl import flags

from runtime.storage import bucket_path
from tests import runs

# Files whose tests start processes or compile for a TPU.
_LONG = ("test_main", "test_plan")

# Memory maps of this process at which compiled programs are forgotten: each has
# about nine, and XLA ends with a segmentation fault beyond the kernel's limit,
# 65,530 (vm.max_map_count).
_MOST_MAPS = 40_000
_MAPS = pathlib.Path("/proc/self/maps")

_NUMBERS = itertools.count()

# Traces of programs make many objects, few of them in cycles: with Python's own
# threshold of 700, the collector takes a tenth of the tests' time.
gc.set_threshold(100_000, 20, 10)

# Before JAX starts. Tests that want fewer devices make a mesh of fewer.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
# Compiles faster, and these programs run for a moment only.
jax.config.update("jax_disable_most_optimizations", True)
with pytest.MonkeyPatch.context() as _patch:
  # Read once, as the CPU client starts; no process of a test inherits it.
  _flags = (os.environ.get("XLA_FLAGS", ""), runs.FAST_COMPILATION)
  _patch.setenv("XLA_FLAGS", " ".join(_flags))
  jax.devices()


def pytest_configure(config: pytest.Config) -> None:
  del config
  # Grain reads its absl flags, which pytest never parses.
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  """Mark tests of whole runs as slow; begin with the longest.

  No worker then waits for the longest tests at the end.
  """
  for item in items:
    if "reference" in getattr(item, "fixturenames", ()):
      item.add_marker(pytest.mark.slow)
  items.sort(key=lambda item: not item.path.name.startswith(_LONG))


def pytest_runtest_teardown(
  item: pytest.Item, nextitem: pytest.Item | None
) -> None:
  """Forget compiled programs behind a file of tests, where there are many."""
  if nextitem is None or nextitem.path == item.path or not _MAPS.exists():
    return
  if _MAPS.read_bytes().count(b"\n") > _MOST_MAPS:
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="session")
def shared_dir(
  tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> pathlib.Path:
  """Return a folder that all processes of this test session share."""
  folder = tmp_path_factory.getbasetemp()
  return folder if worker_id == "master" else folder.parent


@pytest.fixture(scope="session")
def runner(shared_dir: pathlib.Path) -> runs.Runner:
  """Return what starts main.py with prepared data and compiled programs."""
  return runs.Runner(shared_dir / "cache", shared_dir / "compiled")


@pytest.fixture(scope="session")
def reference(shared_dir: pathlib.Path, runner: runs.Runner) -> pathlib.Path:
  """Return the folder of a run that nothing disturbed; copy it to change it.

  Its processes' output is beside it, in reference.stdout and .stderr.
  """
  workdir = shared_dir / "reference"
  done = shared_dir / "reference.stdout"
  with open(shared_dir / "reference.lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not done.exists():
      result = runner.run(workdir)
      assert result.code == 0, result.stderr
      (shared_dir / "reference.stderr").write_text(result.stderr)
      done.write_text(result.stdout)
  return workdir


# Clients of stores take a second to import, and most tests have none.


@pytest.fixture(scope="session")
def emulator_s3() -> Iterator[Any]:
  from tests import bucket_emulators

  with bucket_emulators.started("s3") as emulator:
    yield emulator


@pytest.fixture(scope="session")
def emulator_gs() -> Iterator[Any]:
  from tests import bucket_emulators

  with bucket_emulators.started("gs") as emulator:
    yield emulator


@pytest.fixture(params=["s3", "gs"])
def emulator(request: pytest.FixtureRequest) -> Iterator[Any]:
  """Return an emulator that the clients of this process are connected to."""
  from tests import bucket_emulators

  started = request.getfixturevalue(f"emulator_{request.param}")
  with bucket_emulators.connected(started.variables):
    yield started


@pytest.fixture
def bucket(emulator: Any) -> str:
  """Return the address of an empty folder in a bucket, for one test."""
  return f"{emulator.root}/test-{next(_NUMBERS)}"


@pytest.fixture
def folder(bucket: str) -> pathlib.Path:
  """Return the path of an empty folder in a bucket, for one test."""
  return bucket_path.make(bucket)


@pytest.fixture
def proxy(emulator: Any) -> Iterator[Any]:
  """Return a proxy that all requests of the test go through."""
  from tests import bucket_emulators

  made = bucket_emulators.Proxy(emulator.port)
  variables = bucket_emulators.variables(emulator.scheme, made.port)
  with bucket_emulators.connected(variables):
    yield made
  made.close()
