"""Bloom filter: no false negatives, few false positives."""

import numpy as np
import pytest

from curation.keys import bloom


@pytest.mark.parametrize("rate", [0.01, 0.001])
def test_size_and_rate_are_those_of_the_formula(tmp_path, rate):
  rng = np.random.default_rng(0)
  keys = rng.integers(0, 2**64, 20_000, np.uint64)
  made = bloom.make(len(keys), rate)
  made.add(keys)
  made.save(tmp_path / "bloom")
  found = bloom.load(tmp_path / "bloom")
  assert found.contains(keys).all()
  others = rng.integers(0, 2**64, 200_000, np.uint64)
  got = found.contains(others).mean()
  # 4 standard deviations of the draw, and 5 % as a key has whole bits.
  assert abs(got - rate) < 4 * (rate / len(others)) ** 0.5 + 0.05 * rate
  bits = {0.01: 9.59, 0.001: 14.38}[rate]
  size = (tmp_path / "bloom").stat().st_size
  # 200 bytes: the header of a .npy file, and whole words.
  assert size == pytest.approx(len(keys) * bits / 8, abs=200, rel=1e-3)


def test_an_empty_filter_has_nothing():
  keys = np.arange(1000, dtype=np.uint64)
  assert not bloom.make(0, 0.01).contains(keys).any()
