"""Sharded losses against their references, a float64 oracle and golden values.

Tolerances: inputs are float32 with 24 bits of mantissa, and a loss sums B * B
terms, so 2e-6 relative is a few roundings.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import losses
from losses import sigmoid, softmax

_RTOL = 2e-6
_MESHES = (
  ((1,), ("data",)),
  ((2,), ("data",)),
  ((8,), ("data",)),
  ((4, 2), ("data", "fsdp")),
  ((2, 4), ("data", "fsdp")),
)
_CASES = (("sigmoid", 0.0), ("softmax", 0.0), ("softmax", 0.1))


def _embeddings(seed: int, size: int = 16, dim: int = 24):
  """Return zimg_BE and ztxt_BE that resemble each other row by row."""
  rng = np.random.default_rng(seed)
  shared = rng.normal(size=(size, dim))
  noisy = [shared + rng.normal(size=(size, dim)) for _ in range(2)]
  unit = [z / np.linalg.norm(z, axis=1, keepdims=True) for z in noisy]
  return tuple(z.astype(np.float32) for z in unit)


def _make_mesh(shape, axis_names):
  count = int(np.prod(shape))
  return jax.make_mesh(
    shape,
    axis_names,
    axis_types=(jax.sharding.AxisType.Auto,) * len(shape),
    devices=jax.devices()[:count],
  )


def _value_and_grads(loss_fn, zimg, ztxt, scale, bias, **kwargs):
  def call(zimg, ztxt, scale, bias):
    return loss_fn(zimg, ztxt, scale=scale, bias=bias, **kwargs)

  return jax.jit(jax.value_and_grad(call, argnums=(0, 1, 2, 3)))(
    zimg, ztxt, jnp.float32(scale), jnp.float32(bias)
  )


def _float64_sigmoid(zimg, ztxt, scale, bias):
  zimg, ztxt = zimg.astype(np.float64), ztxt.astype(np.float64)
  total = 0.0
  for i in range(len(zimg)):
    for j in range(len(ztxt)):
      sign = 1 if i == j else -1
      total += np.log1p(np.exp(-sign * (scale * zimg[i] @ ztxt[j] + bias)))
  return total / len(zimg)


def _float64_softmax(zimg, ztxt, scale, smoothing):
  logits = scale * zimg.astype(np.float64) @ ztxt.astype(np.float64).T
  targets = (1 - smoothing) * np.eye(len(zimg)) + smoothing / len(zimg)
  total = 0.0
  for matrix in (logits, logits.T):
    log_p = matrix - np.log(np.exp(matrix).sum(axis=1, keepdims=True))
    total -= (targets * log_p).sum()
  return total / (2 * len(zimg))


@pytest.mark.parametrize(("shape", "axis_names"), _MESHES)
@pytest.mark.parametrize(("name", "smoothing"), _CASES)
def test_sharded_equals_reference(name, smoothing, shape, axis_names):
  module = losses.LOSSES[name]
  zimg, ztxt = _embeddings(0)
  kwargs = {"label_smoothing": smoothing}
  want = _value_and_grads(module.reference, zimg, ztxt, 10.0, -3.0, **kwargs)
  mesh = _make_mesh(shape, axis_names)
  rows = jax.NamedSharding(mesh, jax.P(axis_names))
  with jax.set_mesh(mesh):
    got = _value_and_grads(
      module.sharded,
      jax.device_put(zimg, rows),
      jax.device_put(ztxt, rows),
      10.0,
      -3.0,
      axis_names=axis_names,
      **kwargs,
    )
  # atol: entries of a gradient that cancel to nearly 0 (the softmax's bias to
  # exactly 0) keep the rounding of the terms, which are below 10.
  jax.tree.map(
    lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-5, atol=2e-6),
    got,
    want,
  )
  assert float(got[1][2]) != 0  # scale matters
  assert np.abs(got[1][0]).max() > 1e-3


@pytest.mark.parametrize(("name", "smoothing"), _CASES)
def test_reference_equals_float64(name, smoothing):
  zimg, ztxt = _embeddings(1)
  got = losses.LOSSES[name].reference(
    zimg, ztxt, scale=8.0, bias=-2.0, label_smoothing=smoothing
  )
  if name == "sigmoid":
    want = _float64_sigmoid(zimg, ztxt, 8.0, -2.0)
  else:
    want = _float64_softmax(zimg, ztxt, 8.0, smoothing)
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, want, rtol=_RTOL)


@pytest.mark.parametrize(("name", "smoothing"), _CASES)
def test_gradients_equal_float64_differences(name, smoothing):
  zimg, ztxt = _embeddings(2, size=5, dim=4)
  grads = _value_and_grads(
    losses.LOSSES[name].reference,
    zimg,
    ztxt,
    8.0,
    -2.0,
    label_smoothing=smoothing,
  )[1]

  def oracle(zimg, scale, bias):
    if name == "sigmoid":
      return _float64_sigmoid(zimg, ztxt, scale, bias)
    return _float64_softmax(zimg, ztxt, scale, smoothing)

  step = 1e-5  # the central difference is then good to about 1e-9
  direction = np.random.default_rng(3).normal(size=zimg.shape)
  wide = zimg.astype(np.float64)
  along_zimg = (
    oracle(wide + step * direction, 8.0, -2.0)
    - oracle(wide - step * direction, 8.0, -2.0)
  ) / (2 * step)
  along_scale = (
    oracle(wide, 8.0 + step, -2.0) - oracle(wide, 8.0 - step, -2.0)
  ) / (2 * step)
  along_bias = (
    oracle(wide, 8.0, -2.0 + step) - oracle(wide, 8.0, -2.0 - step)
  ) / (2 * step)
  np.testing.assert_allclose(
    np.sum(grads[0] * direction), along_zimg, rtol=1e-5
  )
  np.testing.assert_allclose(grads[2], along_scale, rtol=1e-5)
  np.testing.assert_allclose(grads[3], along_bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  ("size", "cosine", "want"),
  [
    (4, 0.0, 10.0001815959),
    (16, 0.0, 10.0007263824),
    (256, 0.0, 10.0116221181),
    (4, 1.0, 0.6932833773),
    (16, 1.0, 0.6938281640),
    (256, 1.0, 0.7047238999),
  ],
)
def test_sigmoid_golden(size, cosine, want):
  """Matching pairs at `cosine`, all others at 0, scale 10, bias -10."""
  axes = np.eye(2 * size, dtype=np.float32)
  zimg = axes[:size]
  ztxt = axes[:size] if cosine else axes[size:]
  got = sigmoid.reference(zimg, ztxt, scale=10.0, bias=-10.0)
  np.testing.assert_allclose(got, want, rtol=_RTOL)


def test_softmax_golden():
  zimg = np.asarray([[1, 0], [0, 1], [0.8, 0.6], [0.6, 0.8]], np.float32)
  ztxt = np.asarray([[1, 0], [0, 1], [0.6, 0.8], [0, 1]], np.float32)
  got = softmax.reference(zimg, ztxt, scale=10.0, bias=0.0)
  np.testing.assert_allclose(got, 0.8361292542, rtol=_RTOL)


@pytest.mark.parametrize(("name", "smoothing"), _CASES)
@settings(max_examples=20, deadline=None, database=None, derandomize=True)
@given(permutation=st.permutations(range(8)), seed=st.integers(0, 1000))
def test_order_of_pairs_does_not_matter(name, smoothing, permutation, seed):
  zimg, ztxt = _embeddings(seed, size=8)
  order = np.asarray(permutation)
  kwargs = {"scale": 10.0, "bias": -5.0, "label_smoothing": smoothing}
  reference = losses.LOSSES[name].reference
  np.testing.assert_allclose(
    reference(zimg[order], ztxt[order], **kwargs),
    reference(zimg, ztxt, **kwargs),
    rtol=_RTOL,
  )


@pytest.mark.parametrize("name", losses.LOSSES)
def test_right_pairs_cost_less_than_wrong_ones(name):
  zimg, ztxt = _embeddings(4)
  reference = losses.LOSSES[name].reference
  right = reference(zimg, ztxt, scale=10.0, bias=-5.0)
  wrong = reference(zimg, np.roll(ztxt, 1, axis=0), scale=10.0, bias=-5.0)
  assert right < wrong


@pytest.mark.parametrize("name", losses.LOSSES)
def test_extreme_logits_stay_finite(name):
  """Scale 1e4: exp(logits) would overflow float32."""
  zimg, ztxt = _embeddings(5)
  value, grads = _value_and_grads(
    losses.LOSSES[name].reference, zimg, -ztxt, 1e4, 0.0
  )
  assert all(np.isfinite(x).all() for x in jax.tree.leaves((value, grads)))


def test_sigmoid_refuses_label_smoothing():
  zimg, ztxt = _embeddings(6)
  kwargs = {"scale": 10.0, "bias": -10.0, "label_smoothing": 0.1}
  with pytest.raises(ValueError, match=r"loss\.label_smoothing must be 0"):
    sigmoid.reference(zimg, ztxt, **kwargs)
  with pytest.raises(ValueError, match=r"loss\.label_smoothing must be 0"):
    sigmoid.sharded(zimg, ztxt, axis_names=("data",), **kwargs)


@pytest.mark.parametrize(
  ("name", "smoothing", "message"),
  [
    ("triplet", 0.0, r"loss\.name must be one of sigmoid, softmax; got 'tr"),
    ("sigmoid", 0.1, r"loss\.label_smoothing must be 0 .* got 0\.1"),
    ("softmax", 1.0, r"loss\.label_smoothing must be in \[0, 1\); got 1\.0"),
    ("softmax", -0.1, r"loss\.label_smoothing must be in \[0, 1\); got -0"),
  ],
)
def test_check_names_the_field(name, smoothing, message):
  with pytest.raises(ValueError, match=message):
    losses.LossConfig(name=name, label_smoothing=smoothing).check()
