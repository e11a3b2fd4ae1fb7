"""Braces in the names of shards mean what they mean in a shell."""

import shutil
import subprocess

import pytest

from input_pipeline.storage import braces

PATTERNS = {
  "a": ["a"],
  "{08..10}.tar": ["08.tar", "09.tar", "10.tar"],
  "{8..10}": ["8", "9", "10"],
  "x{a,b}y{1..2}z": ["xay1z", "xay2z", "xby1z", "xby2z"],
  "{a,b{1..2},{c,d}e}": ["a", "b1", "b2", "ce", "de"],
  "{,part-}0": ["0", "part-0"],
  "{5..5}": ["5"],
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_expand(pattern):
  assert braces.expand(pattern) == PATTERNS[pattern]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_expand_is_that_of_a_shell():
  for pattern in PATTERNS:
    out = subprocess.run(
      ["bash", "-c", f"printf '%s\\n' {pattern}"],
      capture_output=True,
      check=True,
      text=True,
    ).stdout
    assert braces.expand(pattern) == out.splitlines(), pattern


@pytest.mark.parametrize(
  ("pattern", "message"),
  [
    ("{0..3", "without its }"),
    ("0..3}", "without its {"),
    ("a}{0..3}", "without its {"),
    ("{3..0}", "count up"),
    ("{0..9999999}", "count up, to 1000000 at most"),
    ("{0..9999}/{0..9999}", "misprint"),
    ("{a}", "neither"),
    ("{}", "neither"),
  ],
)
def test_expand_refuses(pattern, message):
  with pytest.raises(ValueError, match=message):
    braces.expand(pattern)
