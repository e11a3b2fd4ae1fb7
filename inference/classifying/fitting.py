"""Fits of calibration: curve and threshold of a label, and figures of both.

Figures of curve and threshold are cross-validated: those of a picture are by a
fit on other pictures. Folds hold the same share of right pictures, and are made
by digests of the pictures' names, so that they do not depend on the order.

Platt's fit is that of Platt (1999, Probabilistic Outputs for Support Vector
Machines), with the targets (N+ + 1) / (N+ + 2) and 1 / (N- + 2), which keep the
slope finite where a label is separated without an error. The slope is not below
0: a label whose pictures have less evidence than others gets a constant.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import optimize

from evaluators.metrics import (
  calibration,
  intervals,
  multilabel,
  resampling,
)
from inference.classifying import curves, scores
from runtime import checks

# Folds of the cross-validation, fewer where a label has fewer pictures.
NUM_FOLDS = 5
# Pictures with a label, and without, that its folds need.
LEAST = 2

FitFn = Callable[[np.ndarray, np.ndarray], curves.Curve]


def platt(x_N: np.ndarray, right_N: np.ndarray) -> curves.Platt:
  """Fit a logistic function to evidence [N] and right answers, bool [N]."""
  num_right = int(right_N.sum())
  num_wrong = len(right_N) - num_right
  target_N = np.where(
    right_N, (num_right + 1) / (num_right + 2), 1 / (num_wrong + 2)
  )
  mean, spread = float(x_N.mean()), float(x_N.std())
  if spread == 0:
    base = float(target_N.mean())
    return curves.Platt(0.0, math.log(base / (1 - base)))
  unit_N = (x_N - mean) / spread

  def loss(params: np.ndarray) -> tuple[float, np.ndarray]:
    logit_N = params[0] * unit_N + params[1]
    gap_N = scores.logistic(logit_N) - target_N
    nll_N = np.logaddexp(0, logit_N) - target_N * logit_N
    return nll_N.mean(), np.array([(gap_N * unit_N).mean(), gap_N.mean()])

  found = optimize.minimize(
    loss,
    np.zeros(2),
    jac=True,
    method="L-BFGS-B",
    bounds=[(0, None), (None, None)],
    options={"ftol": 1e-14, "gtol": 1e-9},
  )
  slope = float(found.x[0]) / spread
  return curves.Platt(slope, float(found.x[1]) - slope * mean)


def isotonic(x_N: np.ndarray, right_N: np.ndarray) -> curves.Isotonic:
  """Fit the nearest curve that never falls, by least squares."""
  x_K, index_N, num_K = np.unique(x_N, return_inverse=True, return_counts=True)
  share_K = np.bincount(index_N, weights=right_N) / num_K
  fitted_K = optimize.isotonic_regression(share_K, weights=num_K).x
  return curves.Isotonic(tuple(x_K.tolist()), tuple(fitted_K.tolist()))


FITS: Mapping[str, FitFn] = {"platt": platt, "isotonic": isotonic}


def target(value: str) -> tuple[str, float]:
  """Return what --target asks for, and the least value of it.

  Raises:
    ValueError: it is not "f1", "precision=VALUE" or "recall=VALUE".
  """
  name, sign, number = value.partition("=")
  try:
    least = float(number) if sign else math.nan
  except ValueError:
    least = math.nan
  is_share = name in ("precision", "recall") and 0 < least <= 1
  if not is_share and value != "f1":
    raise ValueError(
      "--target must be f1, precision=VALUE or recall=VALUE, of above 0 to 1;"
      f" got {value!r}"
    )
  return name, least


def threshold(
  p_N: np.ndarray, right_N: np.ndarray, aim: tuple[str, float]
) -> float:
  """Return the lowest probability that is given the label.

  It lies between two probabilities that occur, so that rounding decides about
  none of them.

  Args:
    p_N: probabilities.
    right_N: bool, at least one of them true.
    aim: "f1" for the highest F1; "precision" or "recall" and its least value,
      for the most pictures, or the fewest, that have it.

  Returns:
    Threshold; infinite where no threshold has the precision, and, but for
    "recall", where all probabilities are the same, which tell nothing.
  """
  order = np.argsort(-p_N, kind="stable")
  sorted_N = p_N[order]
  ends = np.flatnonzero(np.append(sorted_N[1:] != sorted_N[:-1], True))
  right_T = np.cumsum(right_N[order])[ends]
  num_T, total = ends + 1, right_N.sum()
  name, least = aim
  if len(ends) == 1 and name != "recall":
    return math.inf
  if name == "f1":
    at = int(np.argmax(2 * right_T / (num_T + total)))
  elif name == "recall":
    at = int(np.argmax(right_T / total >= least))
  else:
    reached = np.flatnonzero(right_T / num_T >= least)
    if not reached.size:
      return math.inf
    at = int(reached[-1])
  p_T = sorted_N[ends]
  return float((p_T[at] + p_T[min(at + 1, len(p_T) - 1)]) / 2)


def folds(names: Sequence[str], right_N: np.ndarray) -> np.ndarray:
  """Return the fold of each picture: int [N], 0 to at most NUM_FOLDS - 1."""
  num = min(NUM_FOLDS, int(right_N.sum()), int((~right_N).sum()))
  digests = np.array(
    [hashlib.blake2b(x.encode(), digest_size=8).digest() for x in names]
  )
  fold_N = np.zeros(len(names), np.int64)
  for part in (right_N, ~right_N):
    rows = np.flatnonzero(part)
    fold_N[rows[np.argsort(digests[rows], kind="stable")]] = (
      np.arange(len(rows)) % num
    )
  return fold_N


def fit(
  x_N: np.ndarray,
  right_N: np.ndarray,
  names: Sequence[str],
  *,
  method: str,
  aim: tuple[str, float],
  is_probable: bool,
) -> dict[str, Any]:
  """Fit a label, and judge the fit.

  Args:
    x_N: evidence, float64.
    right_N: bool, whether each picture has the label; at least LEAST have it,
      and as many do not.
    names: of the pictures.
    method: key of FITS.
    aim: of `target`.
    is_probable: whether logistic(x_N) is the model's own probability.

  Returns:
    Values for JSON: curve, threshold (null for a label that is never given) and
    figures: num, num_right, average_precision (of the evidence; the fit does
    not change it), precision, recall, f1, and brier and ece, before (null where
    the model has no probability) and after. Intervals are of 95 %.
  """
  checks.one_of("--calibrator", method, FITS)
  fit_fn = FITS[method]
  fold_N = folds(names, right_N)
  p_N = np.zeros(len(x_N))
  given_N = np.zeros(len(x_N), bool)
  for fold in np.unique(fold_N):
    held = fold_N == fold
    curve = fit_fn(x_N[~held], right_N[~held])
    cut = threshold(curve(x_N[~held]), right_N[~held], aim)
    p_N[held] = curve(x_N[held])
    given_N[held] = p_N[held] >= cut
  curve = fit_fn(x_N, right_N)
  cut = threshold(curve(x_N), right_N, aim)
  own_N = scores.logistic(x_N) if is_probable else None
  return {
    "curve": vars(curve),
    "threshold": cut if math.isfinite(cut) else None,
    "figures": {
      "num": len(x_N),
      "num_right": int(right_N.sum()),
      **_decided(right_N, given_N),
      "average_precision": _ap(x_N, right_N),
      "before": None if own_N is None else _probable(own_N, right_N),
      "after": _probable(p_N, right_N),
    },
  }


def _ap(x_N: np.ndarray, right_N: np.ndarray) -> dict[str, Any]:
  score_N1, right_N1 = x_N[:, None], right_N[:, None]
  value = multilabel.average_precisions(score_N1, right_N1)[0]
  bounds = intervals.mean_ap(score_N1, right_N1)
  return {"value": float(value), "interval": bounds.tolist()}


def _decided(right_N: np.ndarray, given_N: np.ndarray) -> dict[str, Any]:
  """Return precision, recall and F1 with intervals."""
  # Right and given, given alone, right alone, neither.
  kinds_4 = np.array(
    [
      (right_N & given_N).sum(),
      (~right_N & given_N).sum(),
      (right_N & ~given_N).sum(),
      (~right_N & ~given_N).sum(),
    ]
  )
  hits, extra, missed, _ = kinds_4.tolist()

  def f1(count_R4: np.ndarray) -> np.ndarray:
    double_R = 2.0 * count_R4[:, 0]
    total_R = double_R + count_R4[:, 1] + count_R4[:, 2]
    return double_R / np.maximum(total_R, 1)

  whole = float(f1(kinds_4[None])[0])
  replica_R = np.concatenate(
    [
      f1(count_R4)
      for count_R4 in resampling.type_counts(
        kinds_4, np.eye(4), intervals.NUM_RESAMPLES
      )
    ]
  )
  bounds = resampling.moved_percentiles(
    replica_R, whole, len(right_N) - 1, intervals.LEVEL
  )
  return {
    "precision": {
      "value": hits / (hits + extra) if hits + extra else None,
      "interval": intervals.wilson(hits, hits + extra).tolist(),
    },
    "recall": {
      "value": hits / (hits + missed),
      "interval": intervals.wilson(hits, hits + missed).tolist(),
    },
    "f1": {"value": whole, "interval": bounds.tolist()},
  }


def _probable(p_N: np.ndarray, right_N: np.ndarray) -> dict[str, Any]:
  """Return the Brier score with its interval, and ECE."""
  square_N = (p_N - right_N) ** 2
  return {
    "brier": {
      "value": float(square_N.mean()),
      "interval": intervals.clustered(square_N).tolist(),
    },
    "ece": calibration.ece(calibration.reliability(p_N, right_N)),
  }
