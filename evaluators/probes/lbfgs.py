"""L-BFGS of multinomial logistic regression, for several strengths at once.

The objective, its variables and the conditions under which a fit has converged
are those of linear_probe.py, as are the letters of shapes.

A step is accepted on the slope along it, whose resolution in float32 is finer
than that of the loss. Of an example whose right class has a probability near 1,
the gradient and the loss are computed from the other classes, so that they are
exact relative to their size where they are far below float32's resolution at 1.
"""

import functools
import typing

import jax
import jax.numpy as jnp
import numpy as np

# Steps remembered by L-BFGS, as SciPy's and so scikit-learn's.
_MEMORY = 10
# Share of the slope at the start that is left where a line search ends, as
# SciPy's (Moré and Thuente, 1994).
_CURVATURE = 0.9
# Evaluations of one line search, as scikit-learn's maxls.
_MAX_SEARCH = 50
# Rise of a loss, relative to it, that may be rounding in float32.
_ROUNDING = 1e-5
# Decrease of a loss by one step, relative to it, that is left: a thousandth of
# float32's resolution.
_INVISIBLE = float(np.finfo(np.float32).eps) / 2**10


class Data(typing.NamedTuple):
  """Examples in the variables of the solver.

  Attributes:
    x_BnF: blocks of rotated features with a last column of ones.
    label_Bn: classes; -1 in rows that fill the last block.
    mean_D: mean features.
    axes_DR: principal axes.
    num_examples: N.
  """

  x_BnF: jax.Array
  label_Bn: jax.Array
  mean_D: jax.Array
  axes_DR: jax.Array
  num_examples: jax.Array


def _loss(x_BnF, label_Bn, num_examples, w_sFA, l2_s, second=False):
  """Return losses [s], and gradients or diagonals of the Hessian [s, F, A]."""
  s, F, A = w_sFA.shape
  w_FC = jnp.moveaxis(w_sFA, 0, 1).reshape(F, s * A)

  def block(carry, xs):
    loss_s, out_FC = carry
    x_nF, label_n = xs
    logits_nsA = jnp.matmul(x_nF, w_FC, precision="highest").reshape(-1, s, A)
    top_ns1 = logits_nsA.max(axis=2, keepdims=True)
    exp_nsA = jnp.exp(logits_nsA - top_ns1)
    hot_n1A = label_n[:, None, None] == jnp.arange(A)
    real_n11 = (label_n >= 0)[:, None, None]
    right_ns1 = jnp.where(hot_n1A, logits_nsA, 0).sum(axis=2, keepdims=True)
    # Not 1 - p: where p is almost 1, that is rounding.
    wrong_ns1 = jnp.where(hot_n1A, 0, exp_nsA).sum(axis=2, keepdims=True)
    sum_ns1 = wrong_ns1 + jnp.exp(right_ns1 - top_ns1)
    each_ns1 = jnp.where(
      right_ns1 == top_ns1,
      jnp.log1p(wrong_ns1),
      jnp.log(sum_ns1) + top_ns1 - right_ns1,
    )
    loss_s += jnp.where(real_n11, each_ns1, 0).sum(axis=(0, 2))
    p_nsA = exp_nsA / sum_ns1
    if second:
      rest_nsA = jnp.where(hot_n1A, wrong_ns1 / sum_ns1, 1 - p_nsA)
      row_nsA, x_nF = p_nsA * rest_nsA, x_nF**2
    else:
      row_nsA = jnp.where(hot_n1A, -wrong_ns1 / sum_ns1, p_nsA)
    row_nC = jnp.where(real_n11, row_nsA, 0).reshape(-1, s * A)
    out_FC += jnp.matmul(x_nF.T, row_nC, precision="highest")
    return (loss_s, out_FC), None

  carry = (jnp.zeros(s), jnp.zeros((F, s * A)))
  (loss_s, out_FC), _ = jax.lax.scan(block, carry, (x_BnF, label_Bn))
  out_sFA = jnp.moveaxis(out_FC.reshape(F, s, A), 1, 0) / num_examples
  l2_sF1 = l2_s[:, None, None] * (jnp.arange(F) < F - 1)[:, None]
  loss_s = loss_s / num_examples + (l2_sF1 * w_sFA**2).sum(axis=(1, 2)) / 2
  return loss_s, out_sFA + l2_sF1 * (1 if second else w_sFA)


def _largest(g_sFA, mean_D, axes_DR):
  """Return the largest component of a gradient in the given variables, [s]."""
  g_sDA = jnp.einsum("dr,sra->sda", axes_DR, g_sFA[:, :-1], precision="highest")
  g_sDA += mean_D[:, None] * g_sFA[:, -1:]
  return jnp.maximum(
    jnp.abs(g_sDA).max(axis=(1, 2)), jnp.abs(g_sFA[:, -1]).max(axis=1)
  )


def _dot(a, b):
  return (a * b).sum(axis=(-2, -1))


def _direction(g_sFA, step_sMFA, change_sMFA, curve_sM, unit_sFA):
  """Return the direction of L-BFGS from the steps, the last ones last."""
  is_real_sM = curve_sM > 0
  inverse_sM = jnp.where(is_real_sM, 1 / jnp.where(is_real_sM, curve_sM, 1), 0)

  def back(i, carry):
    q, alpha_sM = carry
    m = _MEMORY - 1 - i
    alpha_s = inverse_sM[:, m] * _dot(step_sMFA[:, m], q)
    q -= alpha_s[:, None, None] * change_sMFA[:, m]
    return q, alpha_sM.at[:, m].set(alpha_s)

  def forth(m, q):
    beta_s = inverse_sM[:, m] * _dot(change_sMFA[:, m], q)
    return q + (alpha_sM[:, m] - beta_s)[:, None, None] * step_sMFA[:, m]

  carry = (g_sFA, jnp.zeros_like(curve_sM))
  q, alpha_sM = jax.lax.fori_loop(0, _MEMORY, back, carry)
  last = change_sMFA[:, -1]
  scale_s = jnp.where(
    is_real_sM[:, -1],
    curve_sM[:, -1] / jnp.maximum(_dot(last, last / unit_sFA), 1e-37),
    1,
  )
  q = scale_s[:, None, None] * q / unit_sFA
  q = jax.lax.fori_loop(0, _MEMORY, forth, q)
  # A constant over classes changes no softmax, is zero at the minimum and where
  # fits start, and would be slow to vanish: only the penalty opposes it.
  return q.mean(axis=2, keepdims=True) - q


class State(typing.NamedTuple):
  """Fits under way; `lo` and `hi` bracket the step of a line search."""

  w: jax.Array
  loss: jax.Array
  g: jax.Array
  d: jax.Array
  unit: jax.Array
  l2: jax.Array
  step: jax.Array  # [s, M, F, A]
  change: jax.Array
  curve: jax.Array
  t: jax.Array
  slope: jax.Array
  lo: jax.Array
  lo_slope: jax.Array
  hi: jax.Array
  hi_slope: jax.Array
  search: jax.Array
  num_steps: jax.Array
  num_evaluations: jax.Array
  largest: jax.Array
  is_active: jax.Array
  has_converged: jax.Array


def _advance(s: State, data, tol, rtol, max_steps) -> State:
  x_BnF, label_Bn, mean_D, axes_DR, num_examples = data

  def col(v_s):
    return v_s[:, None, None]

  trial = s.w + col(s.t) * s.d
  loss, g = _loss(x_BnF, label_Bn, num_examples, trial, s.l2)
  is_first = s.num_evaluations == 0
  slope = jnp.where(is_first, 0, _dot(g, s.d))
  has_risen = ~(loss <= (1 + _ROUNDING) * s.loss)
  is_good = (jnp.abs(slope) <= -_CURVATURE * s.slope) & ~has_risen
  is_good |= is_first
  # The slope of a convex function rises: it brackets the minimum.
  is_short = (slope < 0) & ~has_risen
  lo = jnp.where(is_short, s.t, s.lo)
  lo_slope = jnp.where(is_short, slope, s.lo_slope)
  hi = jnp.where(is_short, s.hi, s.t)
  hi_slope = jnp.where(
    is_short, s.hi_slope, jnp.where(slope > 0, slope, jnp.inf)
  )
  is_open = jnp.isinf(hi)
  prev_slope = jnp.where(is_open, s.lo_slope, lo_slope)
  gap = jnp.where(is_open, lo - s.lo, hi - lo)
  other = jnp.where(is_open, lo_slope, hi_slope)
  secant = gap * -prev_slope / jnp.maximum(other - prev_slope, 1e-37)
  secant = jnp.where(jnp.isfinite(other), secant, 0)
  new_t = jnp.where(
    is_open,
    jnp.clip(s.lo + secant, 1.5 * lo, 8 * lo),
    jnp.clip(lo + secant, lo + 0.1 * gap, lo + 0.9 * gap),
  )
  # Steps that were taken.
  move, change = trial - s.w, g - s.g
  curve = _dot(move, change)
  keeps = is_good & ~is_first & (curve > 0)

  def push(old, new):
    pushed = jnp.concatenate([old[:, 1:], new[:, None]], axis=1)
    return _where(keeps, pushed, old)

  step, changes = push(s.step, move), push(s.change, change)
  curves = push(s.curve, curve)
  w = jnp.where(col(is_good), trial, s.w)
  g = jnp.where(col(is_good), g, s.g)
  d = _direction(g, step, changes, curves, s.unit)
  new_slope = _dot(g, d)
  largest = jnp.where(is_good, _largest(g, mean_D, axes_DR), s.largest)
  num_steps = s.num_steps + (is_good & ~is_first)
  loss = jnp.where(is_good, loss, s.loss)
  penalty = s.l2 * _largest(w.at[:, -1].set(0), 0 * mean_D, axes_DR)
  bound = jnp.fmin(tol, rtol * penalty)  # inf * 0 is no bound
  is_flat = -new_slope <= _INVISIBLE * loss
  has_converged = is_good & ((largest <= bound) | is_flat)
  search = jnp.where(is_good, 0, s.search + 1)
  is_over = has_converged | (num_steps >= max_steps) | (search >= _MAX_SEARCH)
  return State(
    w=w,
    loss=loss,
    g=g,
    d=jnp.where(col(is_good), d, s.d),
    unit=s.unit,
    l2=s.l2,
    step=step,
    change=changes,
    curve=curves,
    t=jnp.where(is_good, 1, new_t),
    slope=jnp.where(is_good, new_slope, s.slope),
    lo=jnp.where(is_good, 0, lo),
    lo_slope=jnp.where(is_good, new_slope, lo_slope),
    hi=jnp.where(is_good, jnp.inf, hi),
    hi_slope=jnp.where(is_good, 0, hi_slope),
    search=search,
    num_steps=num_steps,
    num_evaluations=s.num_evaluations + 1,
    largest=largest,
    is_active=~is_over,
    has_converged=has_converged,
  )


@jax.jit
def begin(data, w_sFA, l2_s, is_active_s):
  """Return fits that start from w_sFA."""
  x_BnF, label_Bn, _, _, num_examples = data
  s, F, A = w_sFA.shape
  w_sFA = w_sFA - w_sFA.mean(axis=2, keepdims=True)  # see _direction
  _, unit = _loss(x_BnF, label_Bn, num_examples, w_sFA, l2_s, second=True)
  floor = unit.mean(axis=(1, 2), keepdims=True) * 1e-6
  zero, zeros = jnp.zeros(s), jnp.zeros((s, F, A))
  return State(
    w=w_sFA,
    loss=zero,
    g=zeros,
    d=zeros,
    unit=jnp.maximum(unit, floor + 1e-30),
    l2=l2_s,
    step=jnp.zeros((s, _MEMORY, F, A)),
    change=jnp.zeros((s, _MEMORY, F, A)),
    curve=jnp.zeros((s, _MEMORY)),
    t=zero,
    slope=zero,
    lo=zero,
    lo_slope=zero,
    hi=zero + jnp.inf,
    hi_slope=zero,
    search=jnp.zeros(s, jnp.int32),
    num_steps=jnp.zeros(s, jnp.int32),
    num_evaluations=jnp.zeros(s, jnp.int32),
    largest=zero + jnp.inf,
    is_active=is_active_s,
    has_converged=jnp.zeros(s, bool),
  )


@jax.jit
def replace(state, begun):
  """Return fits under way, with those that begin in the turns of ended ones."""
  return _where(begun.is_active, begun, state)


def _where(is_first_s, first, second):
  return jax.tree.map(
    lambda a, b: jnp.where(is_first_s.reshape(-1, *(1,) * (a.ndim - 1)), a, b),
    first,
    second,
  )


@functools.partial(jax.jit, donate_argnums=1)
def run(data, state, tol, rtol, max_steps):
  """Advance active fits until one of them ends."""
  num_active = state.is_active.sum()

  def advance(state):
    new = _advance(state, data, tol, rtol, max_steps)
    return _where(state.is_active, new, state)

  return jax.lax.while_loop(
    lambda state: (num_active > 0) & (state.is_active.sum() == num_active),
    advance,
    state,
  )
