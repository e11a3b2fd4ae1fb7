"""Multinomial logistic regression at many strengths at once.

The objective is scikit-learn's, for C a strength, w the weights and b the
intercepts, which are not penalised (of two classes, its penalty is that of the
difference of their weights):

  mean over examples of -log softmax(w x + b)[label] + |w|^2 / (2 C N)

and a fit ends as scikit-learn's L-BFGS does, when no component of the gradient
exceeds `tol`. Where examples can be separated and C is high, that holds far
from the minimum, and accuracy depends on the path. A fit therefore also ends no
earlier than when no component of the gradient exceeds `rtol` times the largest
of the penalty's gradient (inf: scikit-learn's condition alone).

Variables are changed, which changes neither the objective nor the conditions:
features are centred, rotated to their principal axes, and reduced to their
rank; a variable is measured in units of the diagonal of the Hessian where a fit
starts, at most 50 steps before. A fit starts from fits at other strengths:
strengths a decade apart are fitted one after another, then those in between, by
halves. Fits of a half share products of 128 columns, in which the next strength
takes the turn of a fit that ends.

Shape letters beside those of models/layers.py: here N counts examples, n those
of one block, B blocks, D features, R their rank, F is R + 1 (the last is the
intercept), A classes, S strengths, s those of one product, M steps remembered.
"""

import bisect
import collections
import itertools
import math
import typing
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from evaluators.probes import lbfgs
from runtime import checks

# Range and number of the strengths of CLIP, arXiv 2103.00020, A.3, as values of
# scikit-learn's C.
STRENGTHS = tuple(np.logspace(-6, 6, 96).tolist())
# Tolerance and number of steps of scikit-learn's LogisticRegression, but for
# the number, which is CLIP's.
TOL = 1e-4
MAX_STEPS = 1000
# Share of the penalty's gradient; see the module.
RTOL = 1e-2

# Logits of one block of examples: 16 MiB in float32.
_BLOCK_SIZE = 2**22
# Columns of one product: fewer classes are fitted at several strengths.
_COLUMNS = 128
# Steps of L-BFGS in the units of one start; a fit that takes more goes on from
# there in new units.
_UNIT_STEPS = 50
# Examples that are rotated at once, in float64.
_ROTATED = 2**14


class Fits(typing.NamedTuple):
  """Linear classifiers, one a strength, in the order that was asked for.

  Attributes:
    weight_SAD: float32; 0 for a class without examples.
    intercept_SA: float32; -inf for a class without examples.
    has_converged_S: whether the conditions hold, or one more step would lower
      the loss by less than a thousandth of float32's resolution.
    gradient_S: largest component of the gradient.
    num_evaluations_S: evaluations of the loss and its gradient.
  """

  weight_SAD: np.ndarray
  intercept_SA: np.ndarray
  has_converged_S: np.ndarray
  gradient_S: np.ndarray
  num_evaluations_S: np.ndarray


def fit(
  x_ND: np.ndarray,
  label_N: np.ndarray,
  *,
  num_classes: int,
  strengths: Sequence[float] = STRENGTHS,
  tol: float = TOL,
  rtol: float = RTOL,
  max_steps: int = MAX_STEPS,
) -> Fits:
  """Fit a classifier at each strength, in float32.

  >>> x = np.array([[-1.0], [1.0], [2.0]])
  >>> fits = fit(x, np.array([0, 1, 1]), num_classes=2, strengths=[1.0])
  >>> predict(fits, x)
  array([[0, 1, 1]])
  """
  solver = Solver(x_ND, label_N, num_classes, tol=tol, rtol=rtol)
  return solver.fit(strengths, max_steps=max_steps)


def predict(fits: Fits, x_ND: np.ndarray) -> np.ndarray:
  """Return the class of the highest logit, of equal ones the first: [S, N]."""
  predicted_SN = np.empty((len(fits.weight_SAD), len(x_ND)), np.int64)
  rows = max(1, _BLOCK_SIZE // fits.weight_SAD.shape[1])
  x_ND = np.asarray(x_ND, np.float32)
  for s, (w_AD, b_A) in enumerate(
    zip(fits.weight_SAD, fits.intercept_SA, strict=True)
  ):
    for start in range(0, len(x_ND), rows):
      logits_nA = x_ND[start : start + rows] @ w_AD.T + b_A
      predicted_SN[s, start : start + rows] = logits_nA.argmax(axis=1)
  return predicted_SN


class Solver:
  """Fits of the same examples, each of which starts from earlier ones."""

  def __init__(
    self,
    x_ND: np.ndarray,
    label_N: np.ndarray,
    num_classes: int,
    *,
    tol: float = TOL,
    rtol: float = RTOL,
  ):
    """Rotate the features.

    Raises:
      ValueError: examples belong to fewer than two classes.
    """
    self._present_A, label_N = np.unique(label_N, return_inverse=True)
    if len(self._present_A) < 2:
      raise ValueError(
        "label_N must have at least 2 classes; got "
        f"{', '.join(map(str, self._present_A)) or 'none'}"
      )
    self._num_classes = num_classes
    self._tol, self._rtol = tol, rtol
    self._mean_D, self._axes_DR = _principal_axes(x_ND)
    num_present = len(self._present_A)
    width = num_present * max(1, _COLUMNS // num_present)
    num_blocks = -(-len(x_ND) * width // _BLOCK_SIZE)
    rows = -(-len(x_ND) // num_blocks)
    rank = self._axes_DR.shape[1]
    x = np.zeros((num_blocks * rows, rank + 1), np.float32)
    for start in range(0, len(x_ND), _ROTATED):
      part = x_ND[start : start + _ROTATED] - self._mean_D
      x[start : start + len(part), :rank] = part @ self._axes_DR
    x[: len(x_ND), rank] = 1
    label = np.full(num_blocks * rows, -1, np.int32)
    label[: len(x_ND)] = label_N
    self._data = lbfgs.Data(
      jnp.asarray(x.reshape(num_blocks, rows, -1)),
      jnp.asarray(label.reshape(num_blocks, rows)),
      jnp.asarray(self._mean_D, jnp.float32),
      jnp.asarray(self._axes_DR, jnp.float32),
      jnp.float32(len(x_ND)),
    )
    self._shape = (rank + 1, num_present)
    self._num_examples = len(x_ND)
    # C -> weights, and the rest of a row of Fits.
    self._weights: dict[float, np.ndarray] = {}
    self._rows: dict[float, tuple[Any, ...]] = {}

  def fit(
    self,
    strengths: Sequence[float],
    *,
    start: Fits | None = None,
    max_steps: int = MAX_STEPS,
  ) -> Fits:
    """Return fits at strengths; those fitted before are not fitted again.

    Args:
      strengths: values of C, in any order.
      start: one fit of other examples, to start from.
      max_steps: steps of L-BFGS of a fit.
    """
    if not len(strengths):
      raise ValueError("strengths must have at least one item; got none")
    for c in strengths:
      checks.above("strengths", c, 0)
    first = None if start is None else self._inner(start)
    for level in _levels(sorted(set(strengths) - set(self._rows))):
      self._fit_level(level, first, max_steps)
    rows = [self._outer(self._weights[c]) + self._rows[c] for c in strengths]
    return Fits(*map(np.stack, zip(*rows, strict=True)))

  def _fit_level(
    self, level: list[float], first: np.ndarray | None, max_steps: int
  ) -> None:
    size = max(1, _COLUMNS // self._shape[1])
    limits = (jnp.float32(self._tol), jnp.float32(self._rtol))
    waiting = list(level)
    starts: dict[float, np.ndarray] = {}
    num_steps, num_evaluations = collections.Counter(), collections.Counter()
    fitting: list[float | None] = [None] * size
    state = None
    # The penalty of two classes is that of one weight vector, the difference.
    factor = 2 if self._shape[1] == 2 else 1
    while waiting or any(fitting):
      is_new = np.zeros(size, bool)
      w = np.zeros((size, *self._shape), np.float32)
      l2 = np.ones(size, np.float32)
      for i in range(size):
        if fitting[i] is None and waiting:
          c = fitting[i] = waiting.pop(0)
          if c in starts:
            w[i] = starts[c]
          else:
            w[i] = self._start(c) if first is None else first
          l2[i], is_new[i] = factor / (c * self._num_examples), True
      begun = lbfgs.begin(self._data, w, l2, is_new)
      state = begun if state is None else lbfgs.replace(state, begun)
      state = lbfgs.run(self._data, state, *limits, min(_UNIT_STEPS, max_steps))
      is_active, has_converged, largest, steps, evaluations = jax.device_get(
        (
          state.is_active,
          state.has_converged,
          state.largest,
          state.num_steps,
          state.num_evaluations,
        )
      )
      for i, c in enumerate(fitting):
        if c is None or is_active[i]:
          continue
        fitting[i] = None
        starts[c] = np.asarray(state.w[i])
        num_steps[c] += int(steps[i])
        num_evaluations[c] += int(evaluations[i])
        if has_converged[i] or not steps[i] or num_steps[c] >= max_steps:
          self._weights[c] = starts[c]
          self._rows[c] = (has_converged[i], largest[i], num_evaluations[c])
        else:
          waiting.append(c)

  def _start(self, strength: float) -> np.ndarray:
    """Return the weights to start from, by those at other strengths.

    Over log C they are interpolated, by a cubic between four fits, a line
    between two, or extrapolated by a line from the two highest, but for no more
    than the distance between those; below all others they are the nearest.
    """
    solved = sorted(self._weights)
    if not solved:
      return np.zeros(self._shape, np.float32)
    right = bisect.bisect(solved, strength)
    if right == 0:
      return self._weights[solved[0]]
    nodes = solved[max(0, right - 2) : right + 2]
    if right == len(solved):
      strength = min(strength, nodes[-1] ** 2 / nodes[0])
    elif len(nodes) == 3:
      nodes = solved[right - 1 : right + 1]
    position, *logs = (math.log(c) for c in (strength, *nodes))
    shares = [
      math.prod(
        (position - other) / (log - other) for other in logs if other != log
      )
      for log in logs
    ]
    return np.tensordot(
      np.asarray(shares, np.float32),
      np.stack([self._weights[c] for c in nodes]),
      axes=1,
    )

  def _outer(self, w_FA: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weights [A, D] and intercepts [A] of all classes."""
    # A constant over classes changes no softmax, and is zero at the minimum.
    w_FA = w_FA - w_FA.mean(axis=1, keepdims=True, dtype=np.float64)
    present_AD = w_FA[:-1].T @ self._axes_DR.T
    intercept_A = np.full(self._num_classes, -np.inf, np.float32)
    intercept_A[self._present_A] = w_FA[-1] - present_AD @ self._mean_D
    weight_AD = np.zeros((self._num_classes, len(self._mean_D)), np.float32)
    weight_AD[self._present_A] = present_AD
    return weight_AD, intercept_A

  def _inner(self, fits: Fits) -> np.ndarray:
    """Return the variables [F, A] of the one fit of other examples."""
    w_AD = fits.weight_SAD[0][self._present_A].astype(np.float64)
    b_A = fits.intercept_SA[0][self._present_A]
    b_A = np.where(np.isfinite(b_A), b_A, b_A[np.isfinite(b_A)].min())
    w_RA = self._axes_DR.T @ w_AD.T
    return np.vstack([w_RA, b_A + w_AD @ self._mean_D]).astype(np.float32)


def _principal_axes(x_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Return the mean [D] and the axes along which features differ [D, R]."""
  mean_D = x_ND.mean(axis=0, dtype=np.float64)
  cov_DD = np.zeros((len(mean_D), len(mean_D)))
  for start in range(0, len(x_ND), _ROTATED):
    part = x_ND[start : start + _ROTATED] - mean_D
    cov_DD += part.T @ part
  square_D, axes_DD = np.linalg.eigh(cov_DD)
  # Smaller differences are rounding of float32 features.
  size = np.finfo(np.float32).eps ** 2 * max(square_D[-1], 0)
  return mean_D, axes_DD[:, square_D > size]


def _levels(strengths: list[float]) -> Iterator[list[float]]:
  """Yield ascending strengths in parts, each to be fitted given all before."""
  first = list(strengths[:1])
  for c in strengths:
    # Values a decade apart may be less by rounding.
    if c == strengths[-1] or c >= 9.9 * first[-1]:
      first.append(c)
  first = sorted(set(first))
  yield from ([c] for c in first)
  gaps = [
    [c for c in strengths if a < c < b] for a, b in itertools.pairwise(first)
  ]
  while gaps := [gap for gap in gaps if gap]:
    yield [gap[len(gap) // 2] for gap in gaps]
    halves = [(gap[: len(gap) // 2], gap[len(gap) // 2 + 1 :]) for gap in gaps]
    gaps = [half for pair in halves for half in pair]
