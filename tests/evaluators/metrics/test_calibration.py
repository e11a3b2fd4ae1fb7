import numpy as np
import pytest
from scipy import optimize, special

from evaluators.metrics import calibration, classification


def sampled_set(seed=0, n=4000, num_classes=5, *, sharpness=3.0):
  """Labels drawn from softmax(z), and scores that are `sharpness` times z."""
  rng = np.random.default_rng(seed)
  z = rng.normal(size=(n, num_classes)) * 1.5
  label = (z + rng.gumbel(size=z.shape)).argmax(axis=1)
  return (sharpness * z).astype(np.float32), label


def keys_of(n):
  return [f"key {i}" for i in range(n)]


def nll(score, label, temperature):
  log_p = special.log_softmax(score.astype(np.float64) / temperature, axis=1)
  return -log_p[np.arange(len(label)), label]


@pytest.mark.parametrize("num_scores", [2**20, 5 * 13])
def test_figures(num_scores, monkeypatch):
  monkeypatch.setattr(calibration, "_NUM_SCORES", num_scores)
  score, label = sampled_set()
  answers = classification.judge([score], label)
  got = calibration.figures(score.__getitem__, answers, keys_of(4000))
  fit = calibration.held_part(keys_of(4000))
  best = optimize.minimize_scalar(
    lambda log_t: nll(score[fit], label[fit], np.exp(log_t)).mean(),
    bounds=(-5, 5),
    options={"xatol": 1e-9},
  )
  assert got["temperature"] == pytest.approx(np.exp(best.x), rel=1e-6)
  # The truth, to four standard errors.
  assert got["temperature"] == pytest.approx(3, rel=0.12)
  assert (got["num_fitted"], got["num_judged"]) == (fit.sum(), (~fit).sum())
  assert not got["at_bound"]
  for part, temperature in (("before", 1), ("after", got["temperature"])):
    judged = score[~fit], label[~fit]
    want = nll(*judged, temperature).mean()
    assert got[part]["nll"] == pytest.approx(want, rel=1e-9)
    probability = special.softmax(judged[0].astype(float) / temperature, axis=1)
    want = slow_ece(
      probability.max(axis=1), probability.argmax(axis=1) == judged[1]
    )
    assert got[part]["ece"] == pytest.approx(want, rel=1e-9)
  assert got["before"]["ece"] > 0.1 > 0.04 > got["after"]["ece"]


def slow_ece(confidence, right, num_bins=15):
  """Loop over bins of Guo et al.'s own code."""
  edges, total = np.linspace(0, 1, num_bins + 1), 0.0
  for low, high in zip(edges[:-1], edges[1:], strict=True):
    inside = (confidence > low) & (confidence <= high)
    if inside.any():
      gap = abs(right[inside].mean() - confidence[inside].mean())
      total += gap * inside.mean()
  return total


def test_ece_equals_its_definition_on_1000_cases():
  rng = np.random.default_rng(0)
  for _ in range(1000):
    n, num_bins = rng.integers(1, 50), int(rng.integers(1, 20))
    # Some confidences lie on an edge, as 1.0 does.
    edges = np.linspace(0, 1, num_bins + 1)[1:]
    confidence = np.where(
      rng.random(n) < 0.2, rng.choice(edges, n), rng.uniform(0.01, 1, n)
    )
    right = rng.random(n) < confidence
    bins = calibration.reliability(confidence, right, num_bins)
    want = slow_ece(confidence, right, num_bins)
    assert calibration.ece(bins) == pytest.approx(want, abs=1e-12)
    assert sum(row["n"] for row in bins) == n


def test_a_calibrated_model_has_little_error():
  rng = np.random.default_rng(0)
  confidence = rng.uniform(0.2, 1, 100_000)
  right = rng.random(100_000) < confidence
  bins = calibration.reliability(confidence, right)
  assert calibration.ece(bins) < 0.01
  assert calibration.ece(calibration.reliability(confidence, ~right)) > 0.2


@pytest.mark.parametrize("scale", [0.01, 1.0, 50.0])
def test_temperature_follows_the_scale_of_scores(scale):
  score, label = sampled_set(sharpness=scale)
  rows = np.arange(4000)
  got = calibration.fit_temperature(score.__getitem__, label, rows)
  unit = calibration.fit_temperature(
    (score / np.float32(scale)).__getitem__, label, rows
  )
  assert got == pytest.approx(scale * unit, rel=1e-5)


def test_no_best_temperature_is_a_bound():
  score = np.eye(4, dtype=np.float32)[np.arange(40) % 4]
  rows = np.arange(40)
  always_right = calibration.fit_temperature(score.__getitem__, rows % 4, rows)
  assert always_right == calibration.LOWEST_TEMPERATURE
  always_wrong = calibration.fit_temperature(
    score.__getitem__, (rows + 1) % 4, rows
  )
  assert always_wrong == calibration.HIGHEST_TEMPERATURE
  answers = classification.judge([score], rows % 4)
  got = calibration.figures(score.__getitem__, answers, keys_of(40))
  assert got["at_bound"]
  assert got["after"]["ece"] < 1e-6


def test_one_wrong_answer_has_a_best_temperature():
  score = np.eye(4, dtype=np.float32)[np.arange(40_000) % 4]
  label = np.arange(40_000) % 4
  label[0] = 1
  calls = []

  def score_fn(rows):
    calls.append(len(rows))
    return score[rows]

  got = calibration.fit_temperature(score_fn, label, np.arange(40_000))
  # The share of errors equals their probability: 3 / (e^x + 3) = 1 / 40,000.
  want = 1 / (np.log(39_999) + np.log(3))
  assert got == pytest.approx(want, rel=1e-8)
  assert sum(n > 1 for n in calls) < 40


def test_scores_from_embeddings():
  rng = np.random.default_rng(0)
  zimg, zclass = rng.normal(size=(500, 8)), rng.normal(size=(6, 8))
  label = (zimg @ zclass.T + rng.gumbel(size=(500, 6))).argmax(axis=1)
  answers = classification.judge([zimg @ zclass.T], label)
  got, want = (
    calibration.figures(score_fn, answers, keys_of(500), temperature=0.5)
    for score_fn in (
      lambda rows: zimg[rows] @ zclass.T,
      (zimg @ zclass.T).__getitem__,
    )
  )
  assert got["temperature"] == pytest.approx(want["temperature"], rel=1e-9)
  assert got["before"]["ece"] == pytest.approx(want["before"]["ece"])
  judged = ~calibration.held_part(keys_of(500))
  want = nll(zimg[judged] @ zclass.T, label[judged], 0.5).mean()
  assert got["before"]["nll"] == pytest.approx(want, rel=1e-9)


def test_part_follows_the_keys():
  keys = keys_of(10_000)
  whole = calibration.held_part(keys)
  order = np.random.default_rng(0).permutation(10_000)
  moved = calibration.held_part([keys[i] for i in order])
  np.testing.assert_array_equal(moved, whole[order])
  # Four standard errors.
  assert abs(whole.mean() - 0.5) < 0.02
  fewer = calibration.held_part(keys, 0.1)
  assert abs(fewer.mean() - 0.1) < 0.012
  assert not (fewer & ~whole).any()


def test_an_empty_part_is_refused():
  score, label = sampled_set(n=3)
  answers = classification.judge([score], label)
  with pytest.raises(ValueError, match="got 0 and 3 of 3"):
    calibration.figures(score.__getitem__, answers, keys_of(3), fit_share=1e-9)
