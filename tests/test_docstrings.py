"""Numeric examples in the docstrings of losses and protocols, executed."""

import doctest

import pytest

from evaluators import directions, retrieval, right_pairs, tiles, zero_shot
from losses import (
  answers,
  clips,
  masked_words,
  sigmoid,
  softmax,
  unicl,
)


@pytest.mark.parametrize(
  "module",
  [
    answers,
    clips,
    masked_words,
    sigmoid,
    softmax,
    unicl,
    directions,
    retrieval,
    right_pairs,
    tiles,
    zero_shot,
  ],
  ids=lambda module: module.__name__,
)
def test_examples(module):
  results = doctest.testmod(module)
  assert results.attempted >= 2
  assert results.failed == 0
