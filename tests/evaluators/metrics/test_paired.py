import numpy as np
import pytest
from scipy import stats

from evaluators.metrics import intervals, paired


def answers(both, only_a, only_b, neither):
  counts = (both, only_a, only_b, neither)
  return np.repeat([1, 1, 0, 0], counts), np.repeat([1, 0, 1, 0], counts)


def items(name, value, keys=None):
  keys = [str(i) for i in range(len(value))] if keys is None else keys
  return paired.Items(name, keys, np.asarray(value))


@pytest.mark.parametrize(
  ("table", "p_exact", "p_mid", "interval"),
  [
    # Cavo et al. (2012): p-values and interval of the R package
    # contingencytables (of Fagerland, Lydersen and Laake's book), whose
    # difference is first less second.
    ((59, 6, 16, 80), 0.052479, 0.034690, (0.0032, 0.1195)),
    # Bentur et al. (2009), in Fagerland et al. (2013), BMC Medical Research
    # Methodology 13:91.
    ((1, 1, 7, 12), 0.0703, 0.0391, None),
  ],
)
def test_published_examples(table, p_exact, p_mid, interval):
  right_a, right_b = answers(*table)
  got = paired.compare(items("a", right_a), items("b", right_b))
  assert (got["only_a"], got["only_b"]) == table[1:3]
  assert got["p_exact"] == pytest.approx(p_exact, abs=5e-5)
  assert got["p_mid"] == pytest.approx(p_mid, abs=5e-5)
  if interval:
    np.testing.assert_allclose(got["interval"], interval, atol=5e-5)


@pytest.mark.parametrize(
  ("only_a", "only_b"),
  [(0, 0), (0, 1), (3, 3), (5, 9), (400, 330), (9000, 9500), (30, 2000)],
)
def test_mcnemar_equals_scipy(only_a, only_b):
  got = paired.mcnemar(*answers(7, only_a, only_b, 11))
  n = only_a + only_b
  want = stats.binomtest(only_a, n, 0.5).pvalue if n else 1
  assert got["p_exact"] == pytest.approx(want, rel=1e-9, abs=1e-300)
  point = stats.binom.pmf(only_a, n, 0.5) if n else 0
  want = 1 - point / 2 if only_a == only_b else want - point
  assert got["p_mid"] == pytest.approx(want, rel=1e-9, abs=1e-300)


def test_mid_p_is_not_conservative():
  """Of equal models, 5 % are told apart; the exact test finds fewer."""
  rng = np.random.default_rng(0)
  rows = [
    paired.mcnemar(*answers(0, k, 40 - k, 0))
    for k in rng.binomial(40, 0.5, 2000)
  ]
  exact, mid = (
    np.mean([r[p] < 0.05 for r in rows]) for p in ("p_exact", "p_mid")
  )
  assert exact <= mid < 0.07
  assert abs(mid - 0.05) < abs(exact - 0.05) + 0.01


def test_items_are_matched_by_key():
  rng = np.random.default_rng(0)
  a, b = rng.random((2, 50)) < 0.6
  keys, order = np.array([f"k{i}" for i in range(50)]), rng.permutation(50)
  want = paired.compare(
    items("a", a, keys.tolist()), items("b", b, keys.tolist())
  )
  got = paired.compare(
    items("a", a, keys.tolist()),
    items("b", b[order], keys[order].tolist()),
  )
  assert got == want
  assert got["difference"] == pytest.approx(b.mean() - a.mean())
  assert (got["a"], got["b"]) == pytest.approx((a.mean(), b.mean()))
  assert got["interval"][0] < got["difference"] < got["interval"][1]


def test_pairing_narrows_an_interval():
  rng = np.random.default_rng(0)
  a = rng.random(2000) < 0.5
  b = np.where(rng.random(2000) < 0.05, ~a, a)
  got = paired.compare(items("a", a), items("b", b))
  alone = np.ptp(intervals.wilson(a.sum(), 2000))
  assert np.ptp(got["interval"]) < alone / 2
  swapped = paired.compare(items("b", b), items("a", a))
  np.testing.assert_allclose(
    swapped["interval"], -np.array(got["interval"])[::-1]
  )


def test_figures_have_a_bootstrap():
  rng = np.random.default_rng(0)
  a = 1 / rng.geometric(0.3, 500)
  b = a + rng.normal(0.02, 0.1, 500)
  got = paired.compare(items("a", a), items("b", b))
  want = stats.bootstrap(
    (b - a,), np.mean, method="percentile", n_resamples=5000, rng=rng
  )
  error = (b - a).std() / np.sqrt(500)
  ci = want.confidence_interval
  np.testing.assert_allclose(got["interval"], ci, atol=0.2 * error)
  assert "p_exact" not in got
  same = paired.compare(items("a", a), items("b", a))
  assert same["interval"] == [0, 0]


def test_captions_of_an_image_are_resampled_together():
  rng = np.random.default_rng(0)
  a, b = (np.repeat(rng.random(200) < p, 5) for p in (0.5, 0.6))
  args = items("a", a), items("b", b)
  alone = paired.compare(*args)
  together = paired.compare(*args, clusters=np.repeat(np.arange(200), 5))
  width = np.ptp(alone["interval"]) * np.sqrt(5)
  assert np.ptp(together["interval"]) == pytest.approx(width, rel=0.1)
  # A test of independent items would not hold.
  assert "p_exact" not in together


def test_difference_of_means_per_class():
  rng = np.random.default_rng(0)
  label = np.repeat([0, 1], [900, 100])
  a, b = rng.random((2, 1000)) < np.where(label == 0, 0.8, [[0.3], [0.6]])
  got = paired.compare(items("a", a), items("b", b), strata=label)
  means = [np.mean([x[label == c].mean() for c in (0, 1)]) for x in (a, b)]
  assert (got["a"], got["b"]) == pytest.approx(tuple(means))
  difference = b.astype(int) - a
  want = intervals.stratified(difference, label, is_share=False)
  np.testing.assert_array_equal(got["interval"], want)
  assert got["interval"][0] < got["difference"] < got["interval"][1]


@pytest.mark.parametrize(
  ("keys_a", "keys_b", "message"),
  [
    (
      ["1", "2", "3"],
      ["1", "4"],
      "old and new must have the same items.* 2 of 3 are in old alone, such as"
      " '2'; 1 of 2 are in new alone, such as '4'",
    ),
    (["1", "2"], ["1", "2", "9"], "keys: 1 of 3 are in new alone, such as '9'"),
    (
      ["1", "2", "2"],
      ["1", "2"],
      "old must have each key once; got '2' 2 times",
    ),
    (["1"], ["1", "1"], "new must have each key once; got '1' 2 times"),
  ],
)
def test_keys_are_refused(keys_a, keys_b, message):
  with pytest.raises(ValueError, match=message):
    paired.compare(
      items("old", np.ones(len(keys_a)), keys_a),
      items("new", np.ones(len(keys_b)), keys_b),
    )


def test_refusals():
  a = items("a", [1, 0])
  with pytest.raises(ValueError, match="a value for each of 2 keys; got 3"):
    paired.compare(a, paired.Items("b", ["0", "1"], np.ones(3)))
  with pytest.raises(ValueError, match="exclude each other"):
    paired.compare(a, a, clusters=[0, 1], strata=[0, 1])
  with pytest.raises(ValueError, match="must be 0 or 1; got 0.5"):
    paired.mcnemar(np.array([0.5]), np.array([1]))
