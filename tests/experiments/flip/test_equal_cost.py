"""Distances from whole pictures of equal FLOPs."""

import math

import pytest

from experiments.flip import equal_cost
from experiments.flip import study as study_lib

FIGURE = study_lib.STUDY.figures[0]


def _outcome(study, value_of):
  """Return an outcome whose figures are value_of(arm, seed)."""
  return {
    "trials": [
      {
        "arm": arm.name,
        "seed": seed,
        "figures": {
          name: value_of(arm, seed)
          for figure in study_lib.STUDY.figures
          for name in figure.names
        },
      }
      for arm in study.arms
      for seed in range(3)
    ]
  }


def _on_a_line(arm, seed):
  """Return a figure that is linear in the logarithm of FLOPs."""
  return 0.1 * math.log(arm.x / 1000) + 0.01 * seed


def _lifted(arm, seed):
  """Return the same, more by 0.02 but for whole pictures."""
  is_whole = arm.group == "whole pictures"
  return _on_a_line(arm, seed) + (0.0 if is_whole else 0.02)


def test_arms_are_compared_at_their_own_flops():
  ours = _outcome(study_lib.STUDY, _lifted)
  found = equal_cost.distances(ours, FIGURE)
  assert "half of the patches" in found
  assert "whole" not in found
  # Cheaper than the cheapest run on whole pictures, and dearer than the
  # dearest: no line goes there.
  assert "24 pixels, 4 tokens of text" not in found
  assert "half of the patches, twice the pairs" not in found
  for values in found.values():
    assert values == pytest.approx([0.02] * 3)


def test_the_block_has_all_figures_and_says_that_nothing_is_tested():
  ours = _outcome(study_lib.STUDY, _lifted)
  text = equal_cost.block(ours)
  assert "| 36 pixels | 3,527 | +0.020 ± 0.000 |" in text
  assert "Nothing here is tested" in text
