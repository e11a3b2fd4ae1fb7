"""Numeric examples in the docstrings of metrics, executed."""

import doctest

import pytest

from evaluators.metrics import (
  calibration,
  classification,
  geometry,
  groups,
  intervals,
  multilabel,
  paired,
)


@pytest.mark.parametrize(
  "module",
  [
    calibration,
    classification,
    geometry,
    groups,
    intervals,
    multilabel,
    paired,
  ],
  ids=lambda module: module.__name__.split(".")[-1],
)
def test_examples(module):
  results = doctest.testmod(module)
  assert results.attempted >= 2
  assert results.failed == 0
