"""Quantiles over shards against numpy's sort."""

import numpy as np
import pytest

from curation.on_disk import quantiles


def run(fn, items):
  return [fn(item) for item in items]


def saved(tmp_path, values, num_parts):
  paths = []
  for number, part in enumerate(np.array_split(values, num_parts)):
    measure = quantiles.Scores()
    for table in np.array_split(part, 2):
      measure.add(table)
    paths.append(tmp_path / f"{number}")
    measure.save(paths[-1])
  return paths


def scores():
  """Return scores with ties, both signs, both zeros, infinities and NaN."""
  rng = np.random.default_rng(0)
  values = np.round(rng.normal(0, 0.3, 997), 2).astype(np.float32)
  values[:9] = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, -1e-45, 0.0, np.nan]
  return rng.permutation(values)


@pytest.mark.parametrize("num_parts", [1, 5, 70])
def test_threshold_is_the_value_at_the_index_of_the_sort(tmp_path, num_parts):
  values = scores()
  parts = saved(tmp_path, values, num_parts)
  numbers = values[~np.isnan(values)]
  descending = np.sort(numbers)[::-1]
  for fraction in (0.0, 0.001, 0.3, 0.5, 0.999):
    threshold, summary = quantiles.fraction_threshold(parts, fraction, run)
    assert threshold == descending[int(len(numbers) * fraction)]
  assert summary == quantiles.Summary(995, 2, -np.inf, np.inf)
  assert quantiles.fraction_threshold(parts, 1.0, run)[0] == -np.inf
  ascending = [quantiles.value_at(parts, i, run) for i in range(0, 995, 200)]
  assert ascending == np.sort(numbers)[::200].tolist()
  with pytest.raises(IndexError, match=r"0\.\.994; got 995"):
    quantiles.value_at(parts, 995, run)


def test_ordered_bits_are_ordered_as_the_numbers():
  values = np.sort(scores())[:-2]
  bits = quantiles.ordered_bits(values)
  assert (np.diff(bits.astype(np.int64)) >= 0).all()
  assert ((np.diff(values) == 0) == (np.diff(bits) == 0))[5:-5].all()
  np.testing.assert_array_equal(quantiles.from_ordered_bits(bits), values)


def test_histogram_is_numpys(tmp_path):
  values = scores()
  edges = np.linspace(-1, 1, 65)
  found = quantiles.histogram(saved(tmp_path, values, 3), edges, run)
  finite = values[~np.isnan(values)]
  assert found.tolist() == np.histogram(finite, edges)[0].tolist()


def test_no_scores_give_a_threshold_that_keeps_all(tmp_path):
  parts = saved(tmp_path, np.float32([np.nan]), 1)
  threshold, summary = quantiles.fraction_threshold(parts, 0.3, run)
  assert threshold == -np.inf
  assert (summary.num, summary.num_nan) == (0, 1)
