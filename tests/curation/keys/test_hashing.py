"""Draws: dependence on UIDs and seeds, and distribution."""

import numpy as np

from curation.keys import hashing
from input_pipeline.storage import uids as uids_lib

HASHES = ["0xf183f4aa53e2b6d1", "0xdbcc2b551fc79466", "0x1efca8f85a12e1cf"]


def make_uids(high, low):
  uids = np.zeros(len(low), uids_lib.UID)
  uids["f0"], uids["f1"] = high, low
  return uids


def test_draws_are_what_they_were():
  # A change would select other pairs for the same seed.
  uids = make_uids([0, 1, 2**64 - 1], [0, 2, 7])
  assert [hex(bits) for bits in hashing.h64(uids, 0)] == HASHES
  assert hashing.uniform(uids, 0).tolist() == [
    (int(bits, 16) >> 11) / 2**53 for bits in HASHES
  ]


def test_uids_as_bytes_are_the_same():
  uids = make_uids([1, 2**63], [3, 4])
  data = [
    int(high).to_bytes(8, "big") + int(low).to_bytes(8, "big")
    for high, low in uids
  ]
  data = np.frombuffer(b"".join(data), np.uint8).reshape(-1, 16)
  assert (hashing.h64(data, 5) == hashing.h64(uids, 5)).all()


def test_draws_are_even_and_do_not_follow_uid_or_seed():
  num = 40_000
  counting = np.arange(num, dtype=np.uint64)
  for uids in (
    make_uids(0, counting),
    make_uids(counting, np.zeros(num, np.uint64)),
    make_uids(0, counting << np.uint64(48)),
  ):
    draws = np.stack([hashing.uniform(uids, seed) for seed in (0, 1, 2**70)])
    assert 0 <= draws.min() <= draws.max() < 1
    counts = np.array([np.histogram(d, 16, (0, 1))[0] for d in draws])
    # 5 sigma of a binomial of 40,000 and 1/16: 242.
    assert np.abs(counts - num / 16).max() < 242
    # Correlations of successive pairs, and of two seeds: 5 sigma are 0.025.
    after = [np.corrcoef(d[1:], d[:-1])[0, 1] for d in draws]
    assert np.abs(after).max() < 0.025
    assert np.abs(np.corrcoef(draws) - np.eye(3)).max() < 0.025
