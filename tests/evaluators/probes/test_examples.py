"""Examples are checked, and ordered by their UIDs alone."""

import doctest

import numpy as np
import pytest

from evaluators.probes import episodes, few_shot, logistic, nearest
from evaluators.probes import examples as examples_lib
from input_pipeline.storage import uids


def make(num=60, num_classes=3):
  rng = np.random.default_rng(0)
  return examples_lib.Examples(
    rng.normal(size=(num, 4)).astype(np.float32),
    np.arange(num) % num_classes,
    rng.integers(0, 256, (num, 16), np.uint8),
  )


@pytest.mark.parametrize("module", [episodes, few_shot, logistic, nearest])
def test_docstrings(module):
  results = doctest.testmod(module)
  assert results.attempted >= 2
  assert results.failed == 0


def test_order_is_that_of_uids_in_any_form():
  examples = make()
  forms = [
    examples_lib.Examples(examples.x_ND, examples.label_N, form)
    for form in (
      examples.uid_N,
      uids.sortable(examples.uid_N),
      uids.records(examples.uid_N),
    )
  ]
  orders = [np.concatenate(examples_lib.by_hash(e, "a")) for e in forms]
  np.testing.assert_array_equal(orders[0], orders[1])
  np.testing.assert_array_equal(orders[0], orders[2])
  shuffle = np.random.default_rng(1).permutation(60)
  rows = np.concatenate(examples_lib.by_hash(examples.take(shuffle), "a"))
  np.testing.assert_array_equal(shuffle[rows], orders[0])
  other = np.concatenate(examples_lib.by_hash(examples, "b"))
  assert (other != orders[0]).any()


def test_held_out_share_of_each_class():
  examples = make(63)
  examples.label_N[-3:] = [3, 4, 4]
  is_held = examples_lib.hold_out(examples, 0.2)
  np.testing.assert_array_equal(
    np.bincount(examples.label_N[is_held], minlength=5), [4, 4, 4, 0, 1]
  )


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("x_ND", np.zeros((60, 4), int), "train.x_ND must be floats"),
    ("x_ND", np.zeros(60), "train.x_ND must be floats"),
    ("x_ND", np.full((60, 4), np.inf), "60 rows that are not, the first is"),
    ("label_N", np.zeros(60), "train.label_N must be integers"),
    ("label_N", np.full(60, 3), r"must be in \[0, 3\); got 3 in row 0"),
    ("label_N", np.zeros(59, int), "must have 60 rows, as x_ND; got 59"),
    ("uid_N", np.zeros((2, 16), np.uint8), "uid_N must have 60 rows"),
  ],
)
def test_wrong_values_are_refused(field, value, message):
  examples = make()
  values = {name: getattr(examples, name) for name in vars(examples)}
  with pytest.raises(ValueError, match=message):
    examples_lib.Examples(**values | {field: value}).check("train", 3)
