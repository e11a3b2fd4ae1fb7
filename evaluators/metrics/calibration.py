"""Calibration: whether a probability of 0.8 is right 8 times of 10.

Probabilities are softmax(scores / temperature). The expected calibration error
(ECE) is the mean over bins of equal width, weighted by their examples, of
|accuracy - mean confidence|; confidence is the highest probability of an
example, and a bin holds those above its lower and up to its upper edge (Guo et
al., ICML 2017, arXiv 1706.04599). It is biased upwards for few examples a bin.

One temperature is fitted by the negative log-likelihood (NLL) of a part of the
examples, and ECE before and after is that of the others: examples are split by
the digest of their keys, so that the same examples are fitted on in any order
and for every model.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from evaluators.metrics import classification

NUM_BINS = 15
FIT_SHARE = 0.5
# Temperatures of scores in [-1, 1] and of logits lie well within these.
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 1e-4, 1e4

# Scores that are held as float64 at a time.
_NUM_SCORES = 2**20

# Returns the scores [n, A] of rows int [n]: `scores.__getitem__` of an array.
ScoreFn = Callable[[np.ndarray], np.ndarray]


def figures(
  score_fn: ScoreFn,
  answers: classification.Answers,
  keys: Sequence[str],
  *,
  temperature: float = 1.0,
  num_bins: int = NUM_BINS,
  fit_share: float = FIT_SHARE,
) -> dict[str, object]:
  """Fit one temperature, and return calibration before and after it.

  Args:
    score_fn: scores of rows.
    answers: labels, and which examples are right, by the same scores.
    keys: of the examples, by which they are split.
    temperature: of the model as it is; for cosine similarities, one over its
      scale.
    num_bins: bins of ECE.
    fit_share: share of the examples that the temperature is fitted on.

  Returns:
    num_fitted and num_judged examples; temperature (fitted); at_bound, whether
    no temperature within the bounds of this module is best; and for before and
    after: ece, nll (natural logarithms) and bins, of the judged examples.

  Raises:
    ValueError: one of the two parts is empty.
  """
  fit_N = held_part(keys, fit_share)
  fitted, judged = np.flatnonzero(fit_N), np.flatnonzero(~fit_N)
  if not fitted.size or not judged.size:
    raise ValueError(
      f"calibration must have examples to fit and to judge; got {fitted.size} "
      f"and {judged.size} of {len(keys)}"
    )
  best = fit_temperature(score_fn, answers.label_N, fitted)
  results: dict[str, object] = {
    "num_fitted": len(fitted),
    "num_judged": len(judged),
    "temperature": best,
    "at_bound": best in (LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE),
  }
  right_n = answers.right()[judged]
  for name, value in (("before", temperature), ("after", best)):
    confidence_n, nll_n = confidences(
      score_fn, answers.label_N, judged, temperature=value
    )
    bins = reliability(confidence_n, right_n, num_bins)
    results[name] = {
      "ece": ece(bins),
      "nll": float(nll_n.mean()),
      "bins": bins,
    }
  return results


def held_part(keys: Sequence[str], share: float = FIT_SHARE) -> np.ndarray:
  """Return whether the digest of each key is below a share: bool [N].

  >>> held_part(["a", "b", "c", "d"])
  array([ True, False,  True, False])
  """
  digests = [
    hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys
  ]
  number_N = np.frombuffer(b"".join(digests), ">u8")
  return number_N < np.uint64(math.floor(share * (2**64 - 1)))


def reliability(
  confidence_N: np.ndarray, right_N: np.ndarray, num_bins: int = NUM_BINS
) -> list[dict[str, float | int]]:
  """List the bins that have examples: low, high, n, confidence, accuracy.

  >>> reliability(np.array([0.5, 0.9, 0.7]), np.array([1, 1, 0]), 2)[1]
  {'low': 0.5, 'high': 1.0, 'n': 2, 'confidence': 0.8, 'accuracy': 0.5}
  """
  edges = np.linspace(0, 1, num_bins + 1)
  bin_N = np.searchsorted(edges[1:-1], confidence_N, side="left")
  n_B = np.bincount(bin_N, minlength=num_bins)
  confidence_B = np.bincount(bin_N, weights=confidence_N, minlength=num_bins)
  right_B = np.bincount(bin_N, weights=right_N, minlength=num_bins)
  return [
    {
      "low": float(edges[b]),
      "high": float(edges[b + 1]),
      "n": int(n_B[b]),
      "confidence": float(confidence_B[b] / n_B[b]),
      "accuracy": float(right_B[b] / n_B[b]),
    }
    for b in np.flatnonzero(n_B)
  ]


def ece(bins: Sequence[dict[str, float | int]]) -> float:
  """Return the expected calibration error of the bins of `reliability`.

  >>> ece(reliability(np.array([0.5, 0.9, 0.7]), np.array([1, 1, 0]), 2))
  0.3666666666666667
  """
  total = sum(
    row["n"] * abs(row["accuracy"] - row["confidence"]) for row in bins
  )
  return total / sum(row["n"] for row in bins)


def fit_temperature(
  score_fn: ScoreFn, label_N: np.ndarray, rows: np.ndarray
) -> float:
  """Return the temperature of the least NLL over rows, or the bound beyond it.

  NLL is convex in 1 / temperature, so that its least value is where its
  derivative is 0: a root that is enclosed, and approached by Newton's steps, or
  by halving where these leave the enclosure, to 1e-10 of its value. A dozen
  passes over the scores are usual.
  """
  low, high = 1 / HIGHEST_TEMPERATURE, 1 / LOWEST_TEMPERATURE

  def slopes(inverse: float) -> tuple[float, float]:
    return _nll_slopes(score_fn, label_N, rows, inverse=inverse)

  # A slope of 0 at the upper bound is one too small for a float64.
  if slopes(high)[0] <= 0:
    return LOWEST_TEMPERATURE
  if slopes(low)[0] >= 0:
    return HIGHEST_TEMPERATURE
  inverse = 1.0
  for _ in range(200):
    slope, curvature = slopes(inverse)
    low, high = (low, inverse) if slope > 0 else (inverse, high)
    step = slope / curvature if curvature > 0 else math.inf
    following = inverse - step
    if not low < following < high:
      # The middle in ratio: bounds are orders of magnitude apart.
      following = math.sqrt(low * high)
    last, inverse = inverse, following
    if abs(inverse - last) <= 1e-10 * inverse:
      break
  return 1 / inverse


def confidences(
  score_fn: ScoreFn,
  label_N: np.ndarray,
  rows: np.ndarray,
  *,
  temperature: float,
) -> tuple[np.ndarray, np.ndarray]:
  """Return the highest probability and the NLL of each row: float64 [n] both.

  The probability is that of the highest score, tied or not.
  """
  parts = []
  for label_n, score_nA in _blocks(score_fn, label_N, rows):
    logit_nA = score_nA / temperature
    top_n = logit_nA.max(axis=1)
    sum_n = np.exp(logit_nA - top_n[:, None]).sum(axis=1)
    logit_n = logit_nA[np.arange(len(label_n)), label_n]
    parts.append((1 / sum_n, top_n + np.log(sum_n) - logit_n))
  confidence_n, nll_n = map(np.concatenate, zip(*parts, strict=True))
  return confidence_n, nll_n


def _nll_slopes(
  score_fn: ScoreFn, label_N: np.ndarray, rows: np.ndarray, *, inverse: float
) -> tuple[float, float]:
  """Return the first two derivatives of NLL by the inverse temperature."""
  slope = curvature = 0.0
  for label_n, score_nA in _blocks(score_fn, label_N, rows):
    # Gaps to the label's score: a small slope is then not a difference of two
    # large sums.
    gap_nA = score_nA - score_nA[np.arange(len(label_n)), label_n][:, None]
    top_n1 = gap_nA.max(axis=1, keepdims=True)
    weight_nA = np.exp(inverse * (gap_nA - top_n1))
    weight_nA /= weight_nA.sum(axis=1, keepdims=True)
    mean_n = (weight_nA * gap_nA).sum(axis=1)
    slope += float(mean_n.sum())
    curvature += float((weight_nA * (gap_nA - mean_n[:, None]) ** 2).sum())
  return slope / len(rows), curvature / len(rows)


def _blocks(
  score_fn: ScoreFn, label_N: np.ndarray, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yield labels [n] and float64 scores [n, A] of rows, in blocks."""
  num_classes = score_fn(rows[:1]).shape[1]
  step = max(1, _NUM_SCORES // num_classes)
  for start in range(0, len(rows), step):
    block = rows[start : start + step]
    yield label_N[block], np.asarray(score_fn(block), np.float64)
