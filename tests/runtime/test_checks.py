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
