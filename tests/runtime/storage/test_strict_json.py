"""JSON that every reader takes."""

import json

import numpy as np
import pytest

from runtime.storage import strict_json


def _refused(name):
  raise AssertionError(f"{name} is no JSON")


def test_numbers_that_are_not_finite_are_null():
  value = {
    "a": [1.5, float("nan"), (float("inf"), "NaN")],
    "b": {"c": -float("inf"), "d": np.float64("nan")},
    "e": np.float64(0.25),
  }
  text = strict_json.dumps(value, indent=1)
  assert json.loads(text, parse_constant=_refused) == {
    "a": [1.5, None, [None, "NaN"]],
    "b": {"c": None, "d": None},
    "e": 0.25,
  }


def test_other_values_are_as_before():
  value = {"ä": [1, 0.1, None, True]}
  for options in ({}, {"indent": 2}, {"ensure_ascii": False}):
    assert strict_json.dumps(value, **options) == json.dumps(value, **options)
  with pytest.raises(TypeError):
    strict_json.dumps({"a": b"bytes"})
