"""Targets of a decoder: what is given, what is predicted, and what is cut."""

import dataclasses
import doctest

import numpy as np
import pytest

from input_pipeline.regions import box_tokens, region_targets

IDS = box_tokens.Vocabulary(100, 11)
WRITER = region_targets.Writer(IDS, 8, end_id=1, pad_id=0, given_weight=0.0)
BOX = np.array([0.1, 0.2, 0.3, 0.4])
BOX_IDS = [102, 101, 104, 103]


def test_examples():
  results = doctest.testmod(
    region_targets, optionflags=doctest.NORMALIZE_WHITESPACE
  )
  assert results.attempted >= 5
  assert results.failed == 0


def _lists(target: region_targets.Target) -> tuple[list, list, list]:
  assert target.tokens.dtype == target.targets.dtype == np.int32
  assert target.weights.dtype == np.float32
  return tuple(
    x.tolist() for x in (target.tokens, target.targets, target.weights)
  )


def test_caption_is_predicted():
  got = _lists(WRITER.write("caption", [7, 8, 9]))
  assert got == (
    [111, 7, 8, 9, 1, 0, 0, 0],
    [7, 8, 9, 1, 0, 0, 0, 0],
    [1, 1, 1, 1, 0, 0, 0, 0],
  )


def test_box_is_predicted_for_a_given_text():
  got = _lists(WRITER.write("referring", [7, 8], BOX))
  assert got == (
    [112, 7, 8, *BOX_IDS, 1],
    [7, 8, *BOX_IDS, 1, 0],
    [0, 0, 1, 1, 1, 1, 1, 0],
  )


def test_text_is_predicted_for_a_given_box():
  got = _lists(WRITER.write("grounded", [7, 8], BOX))
  assert got == (
    [113, *BOX_IDS, 7, 8, 1],
    [*BOX_IDS, 7, 8, 1, 0],
    [0, 0, 0, 0, 1, 1, 1, 0],
  )


def test_given_ids_may_be_predicted_too():
  writer = dataclasses.replace(WRITER, given_weight=0.5)
  _, targets, weights = _lists(writer.write("grounded", [7], BOX))
  assert targets == [*BOX_IDS, 7, 1, 0, 0]
  assert weights == [0.5, 0.5, 0.5, 0.5, 1, 1, 0, 0]


@pytest.mark.parametrize(
  ("task", "length", "ends", "num_cut"),
  [
    ("caption", 7, True, 0),  # 7 ids and the end are 8
    ("caption", 8, False, 0),
    ("caption", 10, False, 2),
    ("referring", 3, True, 0),  # 3 ids, 4 of the box, and the end
    ("referring", 5, True, 2),
    ("grounded", 3, True, 0),
    ("grounded", 4, False, 0),
    ("grounded", 9, False, 5),
  ],
)
def test_long_texts_are_cut(task, length, ends, num_cut):
  box = None if task == "caption" else BOX
  target = WRITER.write(task, range(10, 10 + length), box)
  assert target.num_cut == num_cut
  # No place is left over, and the box is whole in each.
  assert (target.weights > 0).sum() == {"referring": 5, "grounded": 4}.get(
    task, 8
  )
  assert (target.targets[-1] == 1) == ends
  # A caption that is cut, or just fits, is not taught to end in its middle.
  assert (1 in target.targets.tolist()) == ends
  if box is not None:
    assert [x for x in target.targets if 100 <= x < 111] == BOX_IDS
  assert target.tokens[1:].tolist() == target.targets[:-1].tolist()


def test_nothing_is_trained_by_an_empty_target():
  tokens, targets, weights = _lists(WRITER.empty("grounded"))
  assert tokens == [113, *[0] * 7]
  assert targets == [0] * 8
  assert weights == [0] * 8


@pytest.mark.parametrize(
  ("fields", "expected"),
  [
    ({"num_tokens": -1}, "num_tokens must be at least 0"),
    ({"num_tokens": 5}, "num_tokens must be at least 6"),
    ({"tasks": "two"}, "tasks must be one of drawn, all"),
    ({"probabilities": (0.5, 0.5, 0.5)}, "sum to 1.*sum 1.5"),
    ({"probabilities": (1.5, -0.5, 0.0)}, "three of 0 to 1"),
    ({"probabilities": (0.5, 0.5)}, "must be three"),
    ({"given_weight": -1.0}, "given_weight must be finite"),
    ({"num_bins": 1}, "num_bins must be at least 2"),
    ({"order": "cxcywh"}, "order must be one of yxyx, xyxy"),
    ({"least_visible": 0.0}, "least_visible must be above 0"),
    ({"broken": "ignore"}, "broken must be one of fault, skip"),
  ],
)
def test_values_that_cannot_be_used(fields, expected):
  config = region_targets.RegionsConfig(**{"num_tokens": 16, **fields})
  with pytest.raises(ValueError, match=expected):
    config.check()


def test_nothing_is_checked_where_it_is_off():
  region_targets.RegionsConfig(num_bins=0).check()
  assert region_targets.RegionsConfig().shapes() == {}
