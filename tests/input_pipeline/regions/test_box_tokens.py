"""Boxes to tokens and back, and the ids beside those of a tokenizer."""

import doctest

import numpy as np
import pytest

from input_pipeline.regions import box_tokens


def test_examples():
  results = doctest.testmod(box_tokens)
  assert results.attempted >= 3
  assert results.failed == 0


@pytest.mark.parametrize("order", box_tokens.ORDERS)
@pytest.mark.parametrize("num_bins", [2, 32, 1000])
def test_boxes_come_back_within_half_a_bin(order, num_bins):
  vocabulary = box_tokens.Vocabulary(256_000, num_bins, order)
  sides = np.sort(np.random.default_rng(0).random((500, 2, 2)), axis=1)
  box_M4 = sides.reshape(500, 4)
  id_M4 = vocabulary.box_ids(box_M4)
  assert id_M4.dtype == np.int32
  assert 256_000 <= id_M4.min() <= id_M4.max() < 256_000 + num_bins
  got_M4, is_box_M = vocabulary.boxes(id_M4)
  assert is_box_M.all()
  # Half a bin, and the rounding of a product of float64.
  assert np.abs(got_M4 - box_M4).max() <= 0.5 / (num_bins - 1) + 1e-12


@pytest.mark.parametrize("order", box_tokens.ORDERS)
def test_edges_of_the_image_are_exact(order):
  vocabulary = box_tokens.Vocabulary(10, 1000, order)
  whole = np.array([0.0, 0.0, 1.0, 1.0])
  ids = vocabulary.box_ids(whole)
  assert ids.tolist() == [10, 10, 1009, 1009]
  got, is_box = vocabulary.boxes(ids)
  np.testing.assert_array_equal(got, whole)
  assert is_box


def test_orders_put_the_same_sides_elsewhere():
  box = np.array([0.1, 0.2, 0.3, 0.4])
  by_y = box_tokens.Vocabulary(0, 11, "yxyx").box_ids(box)
  by_x = box_tokens.Vocabulary(0, 11, "xyxy").box_ids(box)
  assert by_y.tolist() == [2, 1, 4, 3]
  assert by_x.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
  "ids",
  [
    [9, 12, 13, 14],  # a text token
    [12, 12, 13, 21],  # a task
    [12, 12, 13, 99],  # no id
    [-1, 12, 13, 14],
    [15, 12, 12, 14],  # the bottom above the top
    [12, 15, 13, 14],  # the right side left of the left one
  ],
)
def test_other_ids_are_no_box(ids):
  vocabulary = box_tokens.Vocabulary(10, 11)
  box_M4, is_box_M = vocabulary.boxes(np.array([ids, [10, 10, 20, 20]]))
  assert is_box_M.tolist() == [False, True]
  assert box_M4.tolist() == [[0, 0, 0, 0], [0, 0, 1, 1]]


def test_sides_in_one_bin_are_a_box_without_area():
  vocabulary = box_tokens.Vocabulary(10, 11)
  box, is_box = vocabulary.boxes(np.array([12, 13, 12, 13]))
  assert is_box
  np.testing.assert_allclose(box, [0.3, 0.2, 0.3, 0.2], rtol=1e-15)


@pytest.mark.parametrize("share", [-0.01, 1.01, np.nan, np.inf])
def test_places_outside_of_the_image_are_refused(share):
  vocabulary = box_tokens.Vocabulary(10, 11)
  with pytest.raises(ValueError, match="a box must have shares of 0 to 1"):
    vocabulary.box_ids(np.array([0.0, 0.0, share, 1.0]))


def test_ids_follow_those_of_the_text():
  vocabulary = box_tokens.Vocabulary(256_000, 1000)
  assert vocabulary.size == 257_003
  ids = [vocabulary.task_id(task) for task in box_tokens.TASKS]
  assert ids == [257_000, 257_001, 257_002]
  assert [vocabulary.name(id) for id in ids] == [*box_tokens.TASKS]
  assert vocabulary.name(255_999) == ""
  assert vocabulary.name(256_000) == "bin 0"
  assert vocabulary.name(257_003) == ""
