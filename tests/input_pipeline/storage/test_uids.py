"""Look-ups in sorted UIDs on disk."""

import numpy as np
import pytest

from input_pipeline.sources import record
from input_pipeline.storage import uids as uids_lib


def make_uids(rng, num, num_highs):
  uids = np.empty(num, record.UID)
  uids["f0"] = rng.integers(0, num_highs, num) << 40
  uids["f1"] = rng.integers(0, 2**63, num)
  return uids


# UIDs with one high half, with several, and with one each.
@pytest.mark.parametrize("num_highs", [1, 5, 2**20])
@pytest.mark.parametrize("num", [1, 2, 7, 300])
def test_finds_what_searchsorted_finds(num, num_highs, monkeypatch):
  monkeypatch.setattr(uids_lib, "STRIDE", 4)
  rng = np.random.default_rng(num + num_highs)
  uids = make_uids(rng, num, num_highs)
  times = rng.integers(1, 9, num)
  whole = np.sort(np.repeat(uids, times))
  others = make_uids(rng, 50, num_highs)
  others["f1"] |= np.uint64(2**63)
  names = uids_lib.SortedUids(whole, "a.npy")
  asked = np.concatenate([others, uids])
  first = names.first(asked)
  np.testing.assert_array_equal(first, np.searchsorted(whole, asked))
  counts = names.count(asked, first)
  assert counts.tolist() == [0] * 50 + times.tolist()
  assert names.have(asked).tolist() == [False] * 50 + [True] * num


def test_no_uids():
  names = uids_lib.SortedUids(np.zeros(0, record.UID), "a.npy")
  asked = np.zeros(3, record.UID)
  assert names.have(asked).tolist() == [False] * 3
  assert names.count(asked, names.first(asked)).tolist() == [0] * 3


def test_file_that_is_not_sorted(monkeypatch):
  monkeypatch.setattr(uids_lib, "STRIDE", 4)
  uids = np.sort(make_uids(np.random.default_rng(0), 90, 2**20))[::-1]
  with pytest.raises(
    ValueError, match="a.npy must be sorted .* UID 4 is lower"
  ):
    uids_lib.SortedUids(uids, "a.npy")
