"""Linear probe: a logistic regression whose strength is chosen as in CLIP.

Source: CLIP (arXiv 2103.00020), A.3. Shape letters: N examples, D features.
"""

import typing
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from evaluators.probes import examples as examples_lib
from evaluators.probes import logistic
from runtime import checks

# Strengths of the search: 8 a decade, so that both ends and all starts are
# among them.
GRID = tuple(np.logspace(-6, 6, 97).tolist())
# Distance of the starts of the search in GRID: two decades.
_FIRST_STRIDE = 16


class Probe(typing.NamedTuple):
  """A linear probe whose strength was chosen.

  Attributes:
    predicted_N: classes of the test examples.
    top_1: accuracy on the test examples.
    strength: C that was chosen: of equal scores the lowest, which is the most
      regularised.
    scores: score of each strength that was tried, on `validation`.
    validation: examples that the strength was chosen on, in words.
    num_fits: fits, the last one included.
    not_converged: strengths whose fit did not converge, the last one's too.
  """

  predicted_N: np.ndarray
  top_1: float
  strength: float
  scores: Mapping[float, float]
  validation: str
  num_fits: int
  not_converged: tuple[float, ...]


def accuracy(predicted_N: np.ndarray, label_N: np.ndarray) -> float:
  """Return the share of right predictions."""
  return float(np.mean(predicted_N == label_N))


def probe(
  train: examples_lib.Examples,
  test: examples_lib.Examples,
  *,
  num_classes: int,
  validation: examples_lib.Examples | None = None,
  held_out: float = 0.2,
  search: bool = True,
  score_fn: Callable[[np.ndarray, np.ndarray], float] = accuracy,
  tol: float = logistic.TOL,
  rtol: float = logistic.RTOL,
) -> Probe:
  """Choose a strength, fit at it again with all examples, and test.

  Args:
    train: examples to fit.
    test: examples to report on; nothing is chosen on them.
    num_classes: A.
    validation: examples to choose the strength on; None holds out a share of
      each class of `train`, chosen by a hash of the UIDs.
    held_out: that share.
    search: whether strengths are tried as in CLIP's A.3, about 15 of GRID: the
      seven that are two decades apart, then those around the best, by halves;
      else all logistic.STRENGTHS.
    score_fn: function of predictions and labels; higher is better.
    tol: see the module.
    rtol: see the module.
  """
  with checks.collected():
    checks.above("held_out", held_out, 0)
    checks.in_range("held_out", held_out, 0, 1)
    for field, value in (("train", train), ("test", test)):
      value.check(field, num_classes)
    if validation is not None:
      validation.check("validation", num_classes)
  if validation is None:
    is_held_N = examples_lib.hold_out(train, held_out)
    if not is_held_N.any():
      raise ValueError(
        "train must have a class of at least 2 examples, or validation must be "
        "given"
      )
    fitted, validation = train.take(~is_held_N), train.take(is_held_N)
    everything = train
    words = f"{held_out:g} of each class of train, by hash of UIDs"
  else:
    fitted, everything = train, examples_lib.joined(train, validation)
    words = "validation"

  solver = logistic.Solver(
    fitted.x_ND, fitted.label_N, num_classes, tol=tol, rtol=rtol
  )
  scores: dict[float, float] = {}
  not_converged = []

  def try_all(strengths: Sequence[float]) -> None:
    fits = solver.fit(strengths)
    predicted_SN = logistic.predict(fits, validation.x_ND)
    for c, predicted_N, has_converged in zip(
      strengths, predicted_SN, fits.has_converged_S, strict=True
    ):
      scores[c] = score_fn(predicted_N, validation.label_N)
      if not has_converged:
        not_converged.append(c)

  def best() -> float:
    return max(sorted(scores), key=scores.__getitem__)

  if search:
    stride = _FIRST_STRIDE
    try_all(GRID[::stride])
    while stride > 1:
      stride //= 2
      middle = GRID.index(best())
      try_all(
        [GRID[i] for i in (middle - stride, middle + stride) if 0 <= i <= 96]
      )
  else:
    try_all(logistic.STRENGTHS)

  strength = best()
  last = logistic.Solver(
    everything.x_ND, everything.label_N, num_classes, tol=tol, rtol=rtol
  ).fit([strength], start=solver.fit([strength]))
  if not last.has_converged_S[0]:
    not_converged.append(strength)
  (predicted_N,) = logistic.predict(last, test.x_ND)
  return Probe(
    predicted_N=predicted_N,
    top_1=accuracy(predicted_N, test.label_N),
    strength=strength,
    scores=dict(sorted(scores.items())),
    validation=words,
    num_fits=len(scores) + 1,
    not_converged=tuple(not_converged),
  )
