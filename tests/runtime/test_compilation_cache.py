"""A second run reads the programs that the first one compiled."""

import dataclasses
import os
import subprocess
import sys

import pytest

from runtime import compilation_cache
from tests import runs

# Says at the end how many programs were read from the cache.
_COUNT_HITS = """
import atexit, sys
import jax
hits = []
jax.monitoring.register_event_listener(
  lambda name, **_: hits.append(1) if name.endswith("/cache_hits") else None
)
atexit.register(lambda: print("hits", len(hits), file=sys.stderr))
"""


def _hits(stderr):
  return int(stderr.strip().splitlines()[-1].removeprefix("hits "))


@pytest.mark.slow
def test_second_run_of_main_reads_what_the_first_compiled(
  runner, reference, tmp_path
):
  del reference  # prepared data
  runner = dataclasses.replace(runner, compiled=None)
  args = (
    "--config.total_steps=6",
    "--config.evaluate.sets={}",
  )
  hits = []
  for name in ("first", "second"):
    result = runner.run(
      tmp_path / name,
      *args,
      before=_COUNT_HITS,
      # The step compiles for seconds, but less than JAX's limit if one is fast.
      env={"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"},
    )
    assert result.code == 0, result.stderr
    hits.append(_hits(result.stderr))
  assert hits[0] == 0
  assert hits[1] >= 1
  assert list((tmp_path / compilation_cache.FOLDER).iterdir())
  lines = [runs.train_lines(tmp_path / name) for name in ("first", "second")]
  assert lines[0] == lines[1]


@pytest.mark.parametrize(
  ("env", "code", "expected"),
  [
    ({}, "", "runs/.jax_cache"),
    ({"JAX_COMPILATION_CACHE_DIR": "/mine"}, "", "/mine"),
    (
      {},
      'jax.config.update("jax_compilation_cache_dir", "/set"); ',
      "/set",
    ),
  ],
)
def test_a_place_that_was_chosen_wins(env, code, expected, tmp_path):
  clean = {
    name: value
    for name, value in os.environ.items()
    if name != "JAX_COMPILATION_CACHE_DIR"
  }
  program = (
    f"import jax, pathlib; {code}"
    "from runtime import compilation_cache; "
    f"compilation_cache.enable(pathlib.Path({str(tmp_path)!r}) / 'runs/a'); "
    "print(jax.config.jax_compilation_cache_dir)"
  )
  done = subprocess.run(
    [sys.executable, "-c", program],
    cwd=runs.ROOT,
    env=clean | env,
    capture_output=True,
    text=True,
    check=True,
  )
  wanted = expected if expected[0] == "/" else str(tmp_path / expected)
  assert done.stdout.strip() == wanted
