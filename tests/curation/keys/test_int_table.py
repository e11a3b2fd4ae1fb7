"""Tables of integers, against a dict."""

import numpy as np
import pytest

from curation.keys import int_table


@pytest.mark.parametrize("num_keys", [0, 1, 7, 20_000])
def test_finds_what_is_stored_and_nothing_else(num_keys):
  rng = np.random.default_rng(num_keys)
  # Close together and far apart; 0 is the key of an empty slot, too.
  keys = np.unique(
    np.concatenate(
      [np.arange(num_keys // 2), rng.integers(0, 2**64, num_keys, np.uint64)]
    ).astype(np.uint64)
  )
  values = rng.integers(1, 2**32, len(keys), np.uint32)
  table = int_table.make(keys, values)
  np.testing.assert_array_equal(table.find(keys), values)
  others = np.setdiff1d(keys + np.uint64(1), keys)
  assert not table.find(others).any()


def test_does_not_find_the_key_of_empty_slots():
  table = int_table.make(np.array([5], np.uint64), np.array([1], np.uint32))
  assert table.find(np.array([0, 5], np.uint64)).tolist() == [0, 1]
