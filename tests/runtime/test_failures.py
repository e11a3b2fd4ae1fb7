"""Flags that come twice: the last value counts, joined with nothing."""

import subprocess
import sys

import pytest

from runtime import failures
from tests import runs

# Prints fields of the config that main.py would run with.
_SHOW = """
import sys
import absl.flags
from absl import app
import main
from tasks import flags
def show(argv):
  c = flags.CONFIG.value
  task = absl.flags.FLAGS.task
  print(c.total_steps, c.data.languages, c.optimizer.freeze, task)
app.run(show, flags_parser=main._parse)
"""
_FREEZE = "--config.optimizer.freeze=(('a',True),)"


def test_the_last_value_of_a_tuple_counts(tmp_path):
  (tmp_path / "flags").write_text("--config.data.languages=fr\n")
  done = subprocess.run(
    (
      *(sys.executable, "-c", _SHOW, "--config=configs/quickstart.py"),
      *(f"--flagfile={tmp_path / 'flags'}", "--task=plan"),
      *("--config.data.languages=('en','de')", "--config.data.languages", "ja"),
      *(_FREEZE, "--config=tests/tiny.py", "--config.total_steps=3"),
      *(_FREEZE, "--config.total_steps=5", "--task=train"),
    ),
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
  )
  assert done.stdout == "5 ('ja',) (('a', True),) train\n", done.stderr


@pytest.mark.parametrize(
  ("argv", "expected"),
  [
    ("--config=a --config.x=1 --config.x=2", "--config=a --config.x=2"),
    ("--config=a --config.x=1 --config=b", "--config=b --config.x=1"),
    ("--config a --config.x 1 --config b", "--config b --config.x 1"),
    ("--config.x -1 --config.y=3 --config.x 2", "--config.y=3 --config.x 2"),
    # A bool's "--noconfig.x" is the same field, and absl's last one wins.
    ("--config.x --json --config.x=true", "--json --config.x=true"),
    ("--config.x --noconfig.x --config.x", "--noconfig.x --config.x"),
    ("-config.x=1 --config.x=2", "--config.x=2"),
    # Another field, another flag, no flag.
    ("--config.x=1 --config.xy=2 --configs=a", None),
    ("--json --json a a", None),
  ],
)
def test_earlier_flags_of_a_field_are_dropped(argv, expected):
  got = failures._last_of_each(["main.py", *argv.split()])
  assert got == ["main.py", *(expected or argv).split()]


@pytest.mark.parametrize(
  ("args", "lines"),
  [
    (
      "--config.foo=1 --config.optimizer.bar=2 --config.total_steps=a",
      (
        "error: 3 problems:",
        "  --config.foo: there is no config field 'foo'",
        "  --config.optimizer.bar: there is no config field",
        "  --config.total_steps: flag --config.total_steps=a",
      ),
    ),
    (
      "--config.batch_size=a --config.seed=-1 --config.loss.name=b",
      (
        "error: 3 problems:",
        "  --config.batch_size: flag --config.batch_size=a",
        "  seed must be at least 0; got -1",
        "  loss.name must be one of sigmoid",
      ),
    ),
    ("--config.foo=1 --config.seed=2", ("error: there is no config field 'f",)),
  ],
)
def test_all_fields_that_cannot_be_used(args, lines):
  done = subprocess.run(
    (*(sys.executable, "main.py", "--config=tests/tiny.py"), *args.split()),
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 1
  said = done.stderr.splitlines()
  assert len(said) == len(lines), done.stderr
  assert all(a.startswith(b) for a, b in zip(said, lines, strict=True))
