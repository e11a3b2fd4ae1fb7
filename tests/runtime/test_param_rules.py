"""Ordered (regex, value) rules."""

import re

import pytest

from runtime import param_rules

_TREE = {"img": {"kernel": 1, "bias": 2}, "scale": 3}


def _apply(*pairs):
  return param_rules.values(param_rules.apply(pairs, _TREE, "optimizer.freeze"))


def test_first_match_wins():
  assert _apply((r"img/.*", "a"), (r".*", "b")) == {
    "img": {"kernel": "a", "bias": "a"},
    "scale": "b",
  }


def test_the_whole_path_must_match():
  got = _apply((r".*/bias", 1), (r"img/ker.*", 2), (r".*", 3))
  assert got == {"img": {"kernel": 2, "bias": 1}, "scale": 3}
  with pytest.raises(ValueError, match="img/"):
    _apply((r"kernel|bias|img", 1), (r"scale", 2))


def test_tuples_and_none_are_values():
  got = _apply((r"img/kernel", ("fsdp", None)), (r".*", ()))
  assert got == {"img": {"kernel": ("fsdp", None), "bias": ()}, "scale": ()}


def test_unmatched_names_field_and_parameter():
  with pytest.raises(
    ValueError, match="optimizer.freeze has no rule for parameter 'scale'"
  ):
    _apply((r"img/.*", 1))


@pytest.mark.parametrize("unused", [r"txt/.*", r"img/bias"])
def test_unused_names_field_and_rule(unused):
  # The second would match, but an earlier rule takes what it matches.
  with pytest.raises(
    ValueError, match=f"optimizer.freeze: the rule '{re.escape(unused)}' wins"
  ):
    _apply((r"img/.*", 1), (unused, 2), (r".*", 3))


def test_convert():
  wrapped = param_rules.apply(((r".*", 2),), _TREE, "x")
  assert param_rules.values(wrapped, lambda v: v * 1.5) == {
    "img": {"kernel": 3.0, "bias": 3.0},
    "scale": 3.0,
  }
