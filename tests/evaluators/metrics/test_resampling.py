import numpy as np
import pytest
from scipy import stats

from evaluators.metrics import resampling


@pytest.mark.parametrize("freedom", [4, 19, 499])
def test_percentiles_are_expanded_for_few_samples(freedom):
  # All quantiles of a uniform distribution are their own share.
  got = resampling.percentiles(np.linspace(0, 1, 10_001)[:, None], freedom, 0.9)
  # Hesterberg: the deviation of n samples is small by sqrt((n - 1) / n).
  factor = np.sqrt((freedom + 1) / freedom)
  want = stats.norm.cdf(stats.t.ppf(0.05, freedom) * factor)
  np.testing.assert_allclose(got, [[want, 1 - want]], rtol=0.02)
  assert got[0, 0] < 0.05


def test_moved_percentiles_lie_around_the_figure():
  replicas = np.linspace(0.2, 0.4, 10_001)
  low, high = resampling.moved_percentiles(replicas, 0.5, 10_000, 0.9)
  assert (low, high) == pytest.approx((0.41, 0.59), abs=1e-3)
  _, high = resampling.moved_percentiles(replicas, 0.99, 10_000, 0.9)
  assert high == 1


@pytest.mark.parametrize("count", [[5, 2, 13], [1, 1, 2, 1]])
def test_counts_have_the_moments_of_a_multinomial(count):
  count = np.array(count)
  total, num_resamples = count.sum(), 40_000
  parts = resampling.type_counts(
    count, np.arange(len(count))[:, None], num_resamples
  )
  drawn = np.concatenate(list(parts))
  assert drawn.shape == (num_resamples, len(count))
  np.testing.assert_array_equal(drawn.sum(axis=1), total)
  # Four standard errors of a mean and of a covariance.
  np.testing.assert_allclose(drawn.mean(axis=0), count, atol=0.04)
  share = count / total
  want = total * (np.diag(share) - np.outer(share, share))
  np.testing.assert_allclose(np.cov(drawn.T), want, atol=0.15)


def test_streams_follow_the_values():
  a, b = np.arange(6), np.arange(6).reshape(2, 3)
  first = resampling.generator(a).integers(2**62)
  assert resampling.generator(a.astype(float)).integers(2**62) == first
  assert resampling.generator(b).integers(2**62) != first
  assert resampling.generator(a + 1).integers(2**62) != first


def test_accelerated_percentiles_equal_scipys():
  sample = np.random.default_rng(0).gamma(1, size=60)
  want = stats.bootstrap(
    (sample,), np.mean, n_resamples=20_000, method="BCa", rng=1
  ).confidence_interval
  replicas = np.random.default_rng(2).choice(sample, (20_000, 60)).mean(axis=1)
  skewness = stats.skew(sample) / np.sqrt(60)
  got = resampling.accelerated_percentiles(replicas, skewness, 10**6, 0.95)
  np.testing.assert_allclose(got, want, atol=0.15 * replicas.std())
  plain = resampling.percentiles(replicas[:, None], 10**6, 0.95)[0]
  assert (got > plain + 0.1 * replicas.std()).all()
  even = resampling.accelerated_percentiles(replicas, 0.0, 10**6, 0.95)
  np.testing.assert_allclose(even, plain)
