"""One form of message for a config field's value, NaN refused too."""

import re

import pytest

from runtime import checks

_NAN = float("nan")


@pytest.mark.parametrize(
  ("check", "bounds", "right", "wrong", "message"),
  [
    (checks.at_least, (1,), (1, 2.5), (0, _NAN), "at least 1"),
    (checks.above, (0,), (0.1, 2), (0, -1, _NAN), "above 0"),
    (checks.between, (0, 2), (0, 1, 2), (-1, 3, _NAN), "between 0 and 2"),
    (checks.in_range, (0, 1), (0, 0.9), (1, -0.1, _NAN), "in [0, 1)"),
    (checks.one_of, (("x", "y"),), ("x", "y"), ("z",), "one of x, y"),
  ],
)
def test_bounds_and_message(check, bounds, right, wrong, message):
  for value in right:
    check("a.b", value, *bounds)
  for value in wrong:
    got = re.escape(f"a.b must be {message}; got {value!r}")
    with pytest.raises(ValueError, match=f"^{got}$"):
      check("a.b", value, *bounds)


def _bad(first, second):
  checks.at_least("a", first, 1)
  checks.one_of("b", second, ("x",))


def test_problems_are_raised_together():
  with (
    pytest.raises(
      ValueError, match=r"^2 problems:\n  a must .* 0\n  b must be"
    ),
    checks.collected(),
  ):
    _bad(0, "y")
  with pytest.raises(ValueError, match="^a must be at least 1; got 0$"):
    _bad(0, "y")  # outside, the first one
  with checks.collected():
    _bad(1, "x")


def test_one_problem_is_raised_as_it_is():
  missing = FileNotFoundError("vocab.txt")
  with pytest.raises(FileNotFoundError) as raised, checks.collected():
    raise missing
  assert raised.value is missing


def test_a_section_that_cannot_be_checked_further_hides_no_other():
  @checks.collected()
  def check():
    with checks.collected():
      checks.at_least("a", 0, 1)
      _ = 1 // 0  # what a refused value leads to
    with checks.collected():
      raise FileNotFoundError(2, "No such file or directory", "vocab.txt")
    checks.above("c", 0, 0)
    checks.above("c", 0, 0)  # said once

  with pytest.raises(ValueError, match="problems:") as raised:
    check()
  assert str(raised.value).splitlines() == [
    "3 problems:",
    "  a must be at least 1; got 0",
    "  No such file or directory: vocab.txt",
    "  c must be above 0; got 0",
  ]


def test_a_defect_is_raised():
  with pytest.raises(ZeroDivisionError), checks.collected():
    _ = 1 // 0


def _bad_part(first):
  with checks.named("p: "):
    checks.at_least("a", first, 1)


def _bad_parts():
  _bad_part(0)
  checks.one_of("b", "y", ("x",))


def test_problems_are_named_by_their_part():
  with (
    pytest.raises(ValueError, match=r"^2 problems:\n  p: a must .*\n  b must"),
    checks.collected(),
  ):
    _bad_parts()


def test_an_error_is_named_by_its_part_too():
  with (
    pytest.raises(ValueError, match="^p: a must be"),
    checks.collected(),
    checks.named("p: "),
  ):
    raise ValueError("a must be 1")
