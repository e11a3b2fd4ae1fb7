"""Parts of question answering: equations written out, shapes, dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from losses import answers
from models.vqa import autoencoder, bilinear, questions, recurrent, weight_norm

RNG = np.random.default_rng(0)


# Compiles once, and not operation by operation.
_run = jax.jit(lambda module, *args: module(*args))


def _random(*shape: int) -> np.ndarray:
  return RNG.normal(size=shape).astype(np.float32)


def _arrays(module: nnx.Module) -> dict:
  tree = nnx.to_pure_dict(nnx.state(module, nnx.Param))
  return jax.tree.map(np.asarray, tree)


def _dropped(params: dict, x: np.ndarray, *, relu: bool = True) -> np.ndarray:
  """Compute a weight-normalised map by its definition."""
  dense = params["dense"]
  direction = dense["kernel"] / np.sqrt(np.sum(dense["kernel"] ** 2))
  y = x @ (dense["length"] * direction) + dense["bias"]
  return np.maximum(y, 0) if relu else y


def test_weight_norm_has_one_length_for_the_matrix():
  dense = weight_norm.WeightNormDense(5, 4, rngs=nnx.Rngs(params=0))
  before = dense(jnp.eye(5)) - dense.bias[...]
  np.testing.assert_allclose(before, dense.kernel[...], rtol=1e-6)
  dense.kernel = nnx.Param(7 * dense.kernel[...])  # the direction is the same
  dense.length = nnx.Param(jnp.array(3.0))
  now = dense(jnp.eye(5)) - dense.bias[...]
  assert np.linalg.norm(now) == pytest.approx(3.0, rel=1e-5)
  np.testing.assert_allclose(now / 3.0, before / np.linalg.norm(before), 1e-4)


def test_bilinear_equals_loops_over_pairs_and_dimensions():
  """One glimpse, with three objects: the paper's sums, term by term."""
  net = bilinear.Bilinear(6, 4, glimpses=1, rank=3, rngs=nnx.Rngs(params=1))
  v, q = _random(2, 3, 6), _random(2, 5, 4)
  got = _run(net, v, q)
  p = _arrays(net)
  attention = p["attention"]
  kernel = attention["kernel"][0]
  kernel = attention["length"] * kernel / np.linalg.norm(kernel)
  glimpse = jax.tree.map(lambda x: x[0], p["glimpses"])
  for b in range(2):
    v_att = _dropped(attention["objects"], v[b])
    q_att = _dropped(attention["tokens"], q[b])
    logits = np.zeros((3, 5))
    for i in range(3):
      for j in range(5):
        for d in range(12):
          logits[i, j] += kernel[d] * v_att[i, d] * q_att[j, d]
    weights = np.exp(logits + attention["bias"][0])
    weights /= weights.sum()
    v_res = _dropped(glimpse["objects"], v[b])
    q_res = _dropped(glimpse["tokens"], q[b])
    joint = np.zeros(4, np.float32)
    for i in range(3):
      for j in range(5):
        for d in range(4):
          joint[d] += weights[i, j] * v_res[i, d] * q_res[j, d]
    tokens = q[b] + _dropped(glimpse["out"], joint, relu=False)
    # float32 sums in another order.
    np.testing.assert_allclose(got[b], tokens.sum(0), rtol=2e-4, atol=1e-4)


def test_later_glimpses_read_the_tokens_of_earlier_ones():
  net = bilinear.Bilinear(3, 4, glimpses=2, rank=2, rngs=nnx.Rngs(params=1))
  v, q = jnp.asarray(_random(1, 1, 3)), jnp.asarray(_random(1, 2, 4))
  attention = _run(net.attention, v, q)
  assert attention.shape == (1, 2, 1, 2)
  np.testing.assert_allclose(attention.sum((2, 3)), 1, rtol=1e-6)
  tokens = q
  for g in range(2):
    glimpse = jax.tree.map(lambda x, g=g: x[g], net.glimpses)
    tokens = _run(glimpse, v, tokens, attention[:, g])
  np.testing.assert_allclose(
    _run(net, v, q), tokens.sum(1), rtol=1e-5, atol=1e-6
  )


def test_dropout_only_with_keys_and_by_example():
  net = bilinear.Bilinear(3, 8, glimpses=2, rank=2, rngs=nnx.Rngs(params=1))
  v, q = jnp.asarray(_random(4, 1, 3)), jnp.asarray(_random(4, 2, 8))
  keys = jax.random.split(jax.random.key(0), 4)
  kept, dropped = _run(net, v, q), _run(net, v, q, keys)
  assert not np.allclose(dropped, kept)
  order = np.array([2, 0, 3, 1])
  np.testing.assert_allclose(
    _run(net, v[order], q[order], keys[order]), dropped[order], rtol=1e-4
  )


def test_autoencoder_codes_and_reconstructs():
  net = autoencoder.Autoencoder(128, rngs=nnx.Rngs(params=0))
  code = jax.eval_shape(
    net.encode, jax.ShapeDtypeStruct((2, 128, 128, 1), np.float32)
  )
  assert code.shape == (2, 32, 32, 16)
  assert net.features.kernel.shape == (16_384, 64)
  small = autoencoder.Autoencoder(8, rngs=nnx.Rngs(params=0))
  grey = RNG.integers(0, 256, (3, 8, 8), np.uint8)
  features, error = _run(small, grey)
  assert features.shape == (3, 64)
  pixels = grey[..., None] / np.float32(255)
  rebuilt = small.decode(small.encode(jnp.asarray(pixels)))
  assert rebuilt.shape == (3, 8, 8, 1)
  expected = np.mean((np.asarray(rebuilt) - pixels) ** 2, axis=(1, 2, 3))
  np.testing.assert_allclose(error, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", sorted(recurrent.GATES))
def test_recurrent_does_not_see_the_future(kind: str):
  net = recurrent.Recurrent(kind, 3, 4, rngs=nnx.Rngs(params=0))
  x = _random(2, 5, 3)
  changed = x.copy()
  changed[:, 3:] += 1
  before, after = _run(net, x), _run(net, changed)
  np.testing.assert_array_equal(before[:, :3], after[:, :3])
  assert not np.allclose(before[:, 3:], after[:, 3:])


def test_padding_has_zeros_and_no_gradient():
  words = questions.Words(4, 3, num_tables=2, rngs=nnx.Rngs(params=0))
  tokens = jnp.array([[3, 4, 4]])
  found = words(tokens)
  assert found.shape == (1, 3, 6)
  assert not np.any(found[:, 1:])
  table = words.tables[...]
  np.testing.assert_array_equal(
    found[0, 0], np.concatenate([table[0, 3], table[1, 3]])
  )
  grads = jax.grad(lambda words: words(tokens[:, 1:]).sum())(words)
  assert not np.any(grads.tables[...])


def test_question_vector_is_an_attended_state():
  net = questions.QuestionVector(5, 3, 4, (6, 2), rngs=nnx.Rngs(params=0))
  tokens = jnp.array([[0, 2, 5, 5], [1, 3, 4, 5]])
  p = _arrays(net)
  words = net.words(tokens)
  states = _run(net.recurrent, words)
  both = np.concatenate([words, states], -1)
  affine = lambda name, x: x @ p[name]["kernel"] + p[name]["bias"]  # noqa: E731
  gate = 1 / (1 + np.exp(-affine("sigmoid_gate", both)))
  logits = affine("attention", np.tanh(affine("tanh_gate", both)) * gate)
  weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  x = (weights * states).sum(1)
  maps = p["maps"]
  x = np.maximum(x @ maps["0"]["kernel"] + maps["0"]["bias"], 0)
  x = x @ maps["1"]["kernel"] + maps["1"]["bias"]
  np.testing.assert_allclose(_run(net, tokens), x, rtol=1e-4, atol=1e-5)


def test_binary_sums_answers_and_averages_rows_of_its_head():
  logits, answer = jnp.array([[0.0, 1.0], [9.0, 9.0]]), jnp.array([1, -1])
  softplus = lambda x: np.log1p(np.exp(x))  # noqa: E731
  row = softplus(0.0) + softplus(-1.0)
  only = answers.binary(logits, answer, jnp.array([1, 0]), reduction="sum")
  assert float(only) == pytest.approx(row, rel=1e-6)
  both = answers.binary(logits, answer, jnp.ones(2), reduction="mean")
  assert float(both) == pytest.approx((row + 2 * softplus(9.0)) / 4, rel=1e-6)
  none = answers.binary(logits, answer, jnp.zeros(2), reduction="sum")
  assert float(none) == 0
