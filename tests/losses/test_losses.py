"""References of the losses against a float64 oracle and golden values.

Tolerances: inputs are float32 with 24 bits of mantissa, and a loss sums B * B
terms, so 2e-6 relative is a few roundings.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import losses
from losses import sigmoid, softmax, unicl
from tests.losses import pairs

_RTOL = 2e-6


def _float64_sigmoid(zimg, ztxt, scale, bias):
  zimg, ztxt = zimg.astype(np.float64), ztxt.astype(np.float64)
  total = 0.0
  for i in range(len(zimg)):
    for j in range(len(ztxt)):
      sign = 1 if i == j else -1
      total += np.log1p(np.exp(-sign * (scale * zimg[i] @ ztxt[j] + bias)))
  return total / len(zimg)


def _float64_softmax(zimg, ztxt, scale, smoothing, labels):
  logits = scale * zimg.astype(np.float64) @ ztxt.astype(np.float64).T
  total = 0.0
  for matrix in (logits, logits.T):
    log_p = matrix - np.log(np.exp(matrix).sum(axis=1, keepdims=True))
    for i, label in enumerate(labels):
      own = log_p[i, labels == label].mean()
      total -= (1 - smoothing) * own + smoothing * log_p[i].mean()
  return total / (2 * len(zimg))


def _float64(name, smoothing, zimg, ztxt, scale, bias, labels):
  if name == "sigmoid":
    return _float64_sigmoid(zimg, ztxt, scale, bias)
  if name == "softmax":
    labels = np.arange(len(zimg))
  return _float64_softmax(zimg, ztxt, scale, smoothing, labels)


@pytest.mark.parametrize(("name", "smoothing"), pairs.CASES)
def test_reference_equals_float64(name, smoothing):
  zimg, ztxt = pairs.embeddings(1)
  labels = pairs.labels(1)
  got = losses.LOSSES[name].reference(
    zimg,
    ztxt,
    scale=8.0,
    bias=-2.0,
    labels_B=labels,
    label_smoothing=smoothing,
  )
  want = _float64(name, smoothing, zimg, ztxt, 8.0, -2.0, labels)
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, want, rtol=_RTOL)


@pytest.mark.parametrize(("name", "smoothing"), pairs.CASES)
def test_gradients_equal_float64_differences(name, smoothing):
  zimg, ztxt = pairs.embeddings(2, size=5, dim=4)
  labels = np.asarray([0, 1, 0, 2, 1], np.int32)
  scale, bias = pairs.SCALE, pairs.BIAS
  grads = pairs.reference_grads(
    losses.LOSSES[name].reference,
    zimg,
    ztxt,
    labels,
    label_smoothing=smoothing,
  )[1]

  def oracle(zimg, scale, bias):
    return _float64(name, smoothing, zimg, ztxt, scale, bias, labels)

  step = 1e-5  # the central difference is then good to about 1e-9
  direction = np.random.default_rng(3).normal(size=zimg.shape)
  wide = zimg.astype(np.float64)
  along_zimg = (
    oracle(wide + step * direction, scale, bias)
    - oracle(wide - step * direction, scale, bias)
  ) / (2 * step)
  along_scale = (
    oracle(wide, scale + step, bias) - oracle(wide, scale - step, bias)
  ) / (2 * step)
  along_bias = (
    oracle(wide, scale, bias + step) - oracle(wide, scale, bias - step)
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


# Computed apart, in float64, from the papers' equations.
@pytest.mark.parametrize(
  ("name", "want"), [("softmax", 0.8361292542), ("unicl", 1.5361292542)]
)
def test_softmax_golden(name, want):
  zimg = np.asarray([[1, 0], [0, 1], [0.8, 0.6], [0.6, 0.8]], np.float32)
  ztxt = np.asarray([[1, 0], [0, 1], [0.6, 0.8], [0, 1]], np.float32)
  labels = np.asarray([0, 1, 0, 2], np.int32)
  got = losses.LOSSES[name].reference(
    zimg, ztxt, scale=10.0, bias=0.0, labels_B=labels
  )
  np.testing.assert_allclose(got, want, rtol=_RTOL)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_unicl_of_different_labels_is_softmax(smoothing):
  zimg, ztxt = pairs.embeddings(7)
  kwargs = {"scale": 10.0, "bias": 0.0, "label_smoothing": smoothing}
  labels = np.arange(16, dtype=np.int32)[::-1]
  np.testing.assert_allclose(
    unicl.reference(zimg, ztxt, labels_B=labels, **kwargs),
    softmax.reference(zimg, ztxt, **kwargs),
    rtol=_RTOL,
  )


def test_unicl_of_equal_texts_is_softmax():
  """Copies of one text have equal logits: the mean of matches is each one."""
  rng = np.random.default_rng(0)
  zimg, ztxt = rng.normal(size=(2, 8, 5)).astype(np.float32)
  labels = jnp.array([0, 1, 0, 2, 0, 3, 1, 4])

  def loss_fn(loss, zimg, ztxt):
    zimg, ztxt = (
      x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in (zimg, ztxt)
    )
    return loss.reference(
      *(zimg, ztxt[labels]), scale=10.0, bias=0.0, labels_B=labels
    )

  got, want = (
    jax.value_and_grad(loss_fn, (1, 2))(loss, zimg, ztxt)
    for loss in (unicl, softmax)
  )
  # The gradient is a difference of sums of 8 terms of size 1.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), got, want
  )
  # Texts of one label that differ are not CLIP's.
  args = {"scale": 10.0, "bias": 0.0, "labels_B": labels}
  values = [loss.reference(zimg, ztxt, **args) for loss in (unicl, softmax)]
  assert abs(values[0] - values[1]) > 0.1


@pytest.mark.parametrize(("name", "smoothing"), pairs.CASES)
@settings(max_examples=20, deadline=None, database=None, derandomize=True)
@given(permutation=st.permutations(range(8)), seed=st.integers(0, 1000))
def test_order_of_pairs_does_not_matter(name, smoothing, permutation, seed):
  zimg, ztxt = pairs.embeddings(seed, size=8)
  labels = pairs.labels(seed, size=8)
  order = np.asarray(permutation)
  kwargs = {"scale": 10.0, "bias": -5.0, "label_smoothing": smoothing}
  reference = losses.LOSSES[name].reference
  np.testing.assert_allclose(
    reference(zimg[order], ztxt[order], labels_B=labels[order], **kwargs),
    reference(zimg, ztxt, labels_B=labels, **kwargs),
    rtol=_RTOL,
  )


@pytest.mark.parametrize("name", losses.LOSSES)
def test_right_pairs_cost_less_than_wrong_ones(name):
  zimg, ztxt = pairs.embeddings(4)
  reference = losses.LOSSES[name].reference
  kwargs = {"scale": 10.0, "bias": -5.0, "labels_B": np.arange(16) // 2}
  right = reference(zimg, ztxt, **kwargs)
  wrong = reference(zimg, np.roll(ztxt, 2, axis=0), **kwargs)
  assert right < wrong


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("form", ["reference", "sharded"])
def test_extreme_logits_stay_finite(name, form):
  """Scale 1e4: exp(logits) would overflow float32."""
  zimg, ztxt = pairs.embeddings(5)
  module = losses.LOSSES[name]
  args = (1000 * zimg, -ztxt, pairs.labels(5))
  if form == "reference":
    got = pairs.reference_grads(module.reference, *args)
  else:
    mesh = pairs.make_mesh(2)
    got = pairs.sharded_grads(module.sharded, mesh, *args, block_size=4)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(got))


def test_sigmoid_refuses_label_smoothing():
  zimg, ztxt = pairs.embeddings(6)
  kwargs = {"scale": 10.0, "bias": -10.0, "label_smoothing": 0.1}
  with pytest.raises(ValueError, match=r"loss\.label_smoothing must be 0"):
    sigmoid.reference(zimg, ztxt, **kwargs)
  with pytest.raises(ValueError, match=r"loss\.label_smoothing must be 0"):
    sigmoid.sharded(zimg, ztxt, axis_names=("data",), block_size=8, **kwargs)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"name": "triplet"}, r"loss\.name must be one of sigmoid, .*; got 'trip"),
    ({"label_smoothing": 0.1}, r"loss\.label_smoothing must be 0 .* got 0\.1"),
    (
      {"name": "softmax", "label_smoothing": 1.0},
      r"loss\.label_smoothing must be in \[0, 1\); got 1\.0",
    ),
    (
      {"name": "unicl", "label_smoothing": -0.1},
      r"loss\.label_smoothing must be in \[0, 1\); got -0",
    ),
    ({"block_size": 0}, r"loss\.block_size must be at least 1; got 0"),
    ({"scope": "host"}, r"loss\.scope must be one of global, .*; got 'host'"),
  ],
)
def test_check_names_the_field(changes, message):
  config = losses.LossConfig(
    name="sigmoid", label_smoothing=0.0, block_size=256, scope="global"
  )
  config.check()
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(config, **changes).check()
