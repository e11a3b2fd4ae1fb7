"""Numeric examples in the docstrings of losses and protocols, executed."""

import doctest

import pytest

from evaluators import (
  directions,
  proposals,
  retrieval,
  right_pairs,
  tiles,
  zero_shot,
)
from losses import (
  answers,
  atss,
  clips,
  detection,
  masked_words,
  sigmoid,
  softmax,
  unicl,
  vocabulary,
)
from models.decoding import generation, inputs
from models.detecting import anchors, boxes


@pytest.mark.parametrize(
  "module",
  [
    answers,
    clips,
    masked_words,
    sigmoid,
    softmax,
    unicl,
    vocabulary,
    directions,
    proposals,
    retrieval,
    right_pairs,
    tiles,
    zero_shot,
    atss,
    detection,
    anchors,
    boxes,
    generation,
    inputs,
  ],
  ids=lambda module: module.__name__,
)
def test_examples(module):
  results = doctest.testmod(module)
  assert results.attempted >= 2
  assert results.failed == 0
