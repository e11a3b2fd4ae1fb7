import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from evaluators.metrics import classification, intervals, multilabel, resampling


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [1, 20, 711, 50_000])
def test_wilson_equals_scipy(n, level):
  for right in {0, n // 3, n // 2, n}:
    want = stats.binomtest(right, n).proportion_ci(level, method="wilson")
    got = intervals.wilson(right, n, level)
    np.testing.assert_allclose(got, [want.low, want.high], atol=1e-12)


def test_wilson_of_arrays():
  got = intervals.wilson(np.array([0, 3, 0]), np.array([5, 5, 0]))
  np.testing.assert_array_equal(got[1], intervals.wilson(3, 5))
  np.testing.assert_array_equal(got[2], [0, 1])
  with pytest.raises(ValueError, match="between 0 and 1.*got 95"):
    intervals.wilson(1, 2, 95)


def test_half_widths_that_were_stated():
  """Of KITTI (711) and ImageNet (50,000) at 40 %, in points."""
  for n, want in ((711, 3.6), (50_000, 0.43)):
    low, high = intervals.wilson(round(0.4 * n), n)
    assert (high - low) / 2 == pytest.approx(want / 100, abs=5e-4)


@pytest.mark.parametrize("freedom", [3, 10, 100])
def test_quantiles_of_t_equal_scipy(freedom):
  want = stats.t.ppf(0.975, freedom)
  assert resampling.student_quantile(0.95, freedom) == pytest.approx(
    want, rel=0.01
  )


def simulated_hits(seed=0, num_clusters=60):
  rng = np.random.default_rng(seed)
  cluster = np.repeat(np.arange(num_clusters), rng.integers(1, 6, num_clusters))
  rank = rng.geometric(0.3, len(cluster)) + 3 * (cluster % 3)
  return (rank[:, None] <= [1, 5, 10]).astype(float), cluster


def slow_bootstrap(value, cluster, num_resamples, figure_fn=np.mean):
  """Draw clusters one by one."""
  rng = np.random.default_rng(1)
  rows = [np.flatnonzero(cluster == c) for c in np.unique(cluster)]
  return np.array(
    [
      figure_fn(
        value[
          np.concatenate(
            [rows[i] for i in rng.integers(len(rows), size=len(rows))]
          )
        ]
      )
      for _ in range(num_resamples)
    ]
  )


def test_clustered_equals_drawing_clusters_one_by_one():
  hits, cluster = simulated_hits()
  got = intervals.clustered(hits, cluster, num_resamples=20_000)
  tail = stats.norm.cdf(stats.t.ppf(0.025, 59) * np.sqrt(60 / 59))
  for f in (0, 1):
    replicas = slow_bootstrap(hits[:, f], cluster, 5000)
    want = np.quantile(replicas, [tail, 1 - tail])
    # The error of a quantile of 5,000 draws is about 0.04 of their deviation.
    np.testing.assert_allclose(got[f], want, atol=0.15 * replicas.std())
  single = intervals.clustered(hits[:, 1], cluster, num_resamples=20_000)
  np.testing.assert_allclose(single, got[1], atol=0.01)


def test_clusters_widen_an_interval():
  value = np.repeat(np.random.default_rng(0).random(200) < 0.5, 5)
  alone = np.ptp(intervals.clustered(value))
  together = np.ptp(intervals.clustered(value, np.repeat(np.arange(200), 5)))
  assert together == pytest.approx(alone * np.sqrt(5), rel=0.1)


def test_means_of_distinct_values():
  """Values that are all different take the other way of drawing."""
  value = np.random.default_rng(0).gamma(2, size=400)
  low, high = intervals.clustered(value)
  error = value.std() / 20
  assert low == pytest.approx(value.mean() - 1.97 * error, abs=0.2 * error)
  assert high == pytest.approx(value.mean() + 1.97 * error, abs=0.2 * error)


@pytest.mark.parametrize("is_distinct", [False, True])
def test_intervals_are_the_same_in_any_order(is_distinct):
  hits, cluster = simulated_hits()
  if is_distinct:
    hits = hits + np.arange(len(hits))[:, None]
  order = np.random.default_rng(0).permutation(len(hits))
  first = intervals.clustered(hits, cluster)
  np.testing.assert_array_equal(intervals.clustered(hits, cluster), first)
  renamed = 1000 - cluster[order]
  np.testing.assert_array_equal(
    intervals.clustered(hits[order], renamed), first
  )
  label = cluster % 7
  first = intervals.stratified(hits[:, 1], label)
  again = intervals.stratified(hits[order, 1], label[order])
  np.testing.assert_allclose(again, first, rtol=1e-12)


def test_draws_in_parts(monkeypatch):
  hits, cluster = simulated_hits()
  whole = intervals.clustered(hits, cluster)
  monkeypatch.setattr(resampling, "_NUM_COUNTS", 1000)
  np.testing.assert_allclose(
    intervals.clustered(hits, cluster), whole, atol=0.02
  )


def test_values_that_are_all_alike():
  cluster = np.repeat(np.arange(50), 5)
  for value in (0, 1):
    got = intervals.clustered(np.full(250, value), cluster)
    np.testing.assert_array_equal(got, intervals.wilson(50 * value, 50))
    got = intervals.stratified(np.full(250, value), cluster)
    np.testing.assert_array_equal(got, intervals.wilson(250 * value, 250))
  got = intervals.clustered(np.zeros(250), cluster, is_share=False)
  np.testing.assert_array_equal(got, [0, 0])


def test_ranks_that_are_all_best():
  got = intervals.of_ranks(np.ones(100))
  assert got["mean_rank"] == got["median_rank"] == [1, 1]
  assert got["R@1"] == got["MRR"] == intervals.wilson(100, 100).tolist()


def test_one_cluster_says_nothing():
  value = np.array([[0, 5.0], [1, 7.0]])
  got = intervals.clustered(value, np.zeros(2), is_share=(True, False))
  np.testing.assert_array_equal(got, [[0, 1], [5, 7]])
  with pytest.raises(ValueError, match="at least one item"):
    intervals.clustered(np.zeros(0))


def test_clusters_as_many_as_queries():
  with pytest.raises(ValueError, match="as many as the 3 queries; got 2"):
    intervals.clustered(np.ones(3), np.ones(2))


def test_stratified_has_the_error_of_its_mean():
  rng = np.random.default_rng(0)
  n, p = np.array([5, 20, 100, 400]), np.array([0.6, 0.5, 0.9, 0.2])
  label = np.repeat(np.arange(4), n)
  right = rng.random(len(label)) < p[label]
  low, high = intervals.stratified(right, label, num_resamples=20_000)
  share = np.array([right[label == a].mean() for a in range(4)])
  error = np.sqrt((share * (1 - share) / (n - 1)).sum()) / 4
  assert (low + high) / 2 == pytest.approx(share.mean(), abs=0.1 * error)
  # An average value in each class counts in its deviation, too.
  assert high - low == pytest.approx(2 * 1.96 * error, rel=0.05)
  # Unlike the mean over examples, whose rare classes hardly count.
  assert high - low > 1.5 * np.ptp(intervals.clustered(right))


def test_stratified_with_classes_of_one_example():
  rng = np.random.default_rng(0)
  right = rng.random(300) < 0.5
  each = intervals.stratified(right, np.arange(300))
  np.testing.assert_allclose(each, intervals.clustered(right), atol=0.01)
  mixed = intervals.stratified(right, np.minimum(np.arange(300), 200))
  assert np.ptp(mixed) == pytest.approx(np.ptp(each) * np.sqrt(1.5), rel=0.1)


def test_stratified_differences():
  rng = np.random.default_rng(0)
  value, label = rng.integers(-1, 2, 600), rng.integers(0, 3, 600)
  low, high = intervals.stratified(value, label, is_share=False)
  means = [value[label == a] for a in range(3)]
  error = np.sqrt(sum(v.var() / (len(v) - 1) for v in means)) / 3
  middle = np.mean([v.mean() for v in means])
  assert low == pytest.approx(middle - 1.96 * error, abs=0.15 * error)
  assert high == pytest.approx(middle + 1.96 * error, abs=0.15 * error)


def test_median():
  rank = np.random.default_rng(0).geometric(0.02, 2000)
  low, high = intervals.clustered_median(rank)
  replicas = slow_bootstrap(rank, np.arange(2000), 1000, np.median)
  want = np.quantile(replicas, [0.025, 0.975])
  np.testing.assert_allclose([low, high], want, atol=1.5)
  wide = intervals.clustered_median(
    np.repeat(rank, 5), np.repeat(range(2000), 5)
  )
  np.testing.assert_allclose(wide, [low, high], atol=1)
  np.testing.assert_array_equal(intervals.clustered_median(np.ones(9)), [1, 1])


def test_f1_equals_drawing_examples_one_by_one():
  rng = np.random.default_rng(0)
  label = rng.choice(4, 300, p=[0.5, 0.3, 0.15, 0.05])
  predicted = np.where(rng.random(300) < 0.6, label, rng.integers(0, 5, 300))
  got = intervals.f1(label, predicted, 6, num_resamples=5000)
  for name, figure_fn in (
    ("macro_f1", classification.macro_f1),
    ("weighted_f1", classification.weighted_f1),
  ):

    def figure(rows, figure_fn=figure_fn):
      table = classification.per_class(label[rows], predicted[rows], 6)
      return figure_fn(table["n"], table["predicted"], table["right"])

    replicas = slow_bootstrap(np.arange(300), np.arange(300), 1000, figure)
    replicas += figure(np.arange(300)) - replicas.mean()
    want = np.quantile(replicas, [0.0245, 0.9755])
    # The error of a quantile of 1,000 draws is about 0.09 of their deviation.
    np.testing.assert_allclose(got[name], want, atol=0.35 * replicas.std())


def test_mean_ap_equals_drawing_images_one_by_one():
  rng = np.random.default_rng(0)
  right = rng.random((80, 3)) < [0.5, 0.2, 0.1]
  score = np.round(rng.normal(size=(80, 3)) + 1.5 * right, 1)
  counted = rng.random((80, 3)) < 0.8
  got = intervals.mean_ap(score, right, counted, num_resamples=4000)

  def figure(rows):
    return np.nanmean(
      multilabel.average_precisions(score[rows], right[rows], counted[rows])
    )

  replicas = slow_bootstrap(np.arange(80), np.arange(80), 1000, figure)
  replicas += figure(np.arange(80)) - replicas.mean()
  want = np.quantile(replicas, [0.0225, 0.9775])
  np.testing.assert_allclose(got, want, atol=0.35 * replicas.std())


def test_weighted_ap_equals_sklearn():
  rng = np.random.default_rng(0)
  right = rng.random(40) < 0.4
  score = np.round(rng.normal(size=40) + right)
  weight = rng.integers(0, 4, (6, 40))
  order, ends = multilabel.ordered(score)
  gain = np.diff(np.cumsum(right[order])[ends], prepend=0)
  got = intervals._weighted_ap(weight, order, right[order], ends[gain > 0])
  want = [
    sklearn_metrics.average_precision_score(right, score, sample_weight=w)
    for w in weight
  ]
  np.testing.assert_allclose(got, want, rtol=1e-12)


def test_intervals_of_answers():
  rng = np.random.default_rng(0)
  label = rng.integers(0, 7, 400)
  score = rng.normal(size=(400, 7))
  score[np.arange(400), label] += 1.5
  answers = classification.judge([score], label)
  got, figures = intervals.of_answers(answers), classification.figures(answers)
  assert set(got) == set(figures) - {"num_classes", "num_examples"}
  for name, (low, high) in got.items():
    assert low < figures[name] < high
    assert 0.01 < high - low < 0.12
  want = intervals.wilson((answers.rank_N <= 5).sum(), 400)
  assert got["top_5"] == want.tolist()


def test_intervals_of_ranks():
  rng = np.random.default_rng(0)
  cluster = np.repeat(np.arange(150), 5)
  rank = np.repeat(rng.geometric(0.1, 150), 5) + rng.integers(0, 5, 750)
  got = intervals.of_ranks(rank, cluster)
  figures = {f"R@{k}": np.mean(rank <= k) for k in (1, 5, 10)} | {
    "median_rank": np.median(rank),
    "mean_rank": rank.mean(),
    "MRR": np.mean(1 / rank),
  }
  assert set(got) == set(figures)
  alone = intervals.of_ranks(rank)
  for name, (low, high) in got.items():
    assert low <= figures[name] <= high, name
    # Ranks are whole numbers, and so are the bounds of their median.
    factor = 1 if name == "median_rank" else 1.2
    assert high - low >= factor * np.ptp(alone[name]), name
  order = rng.permutation(750)
  assert intervals.of_ranks(rank[order], cluster[order]) == got
