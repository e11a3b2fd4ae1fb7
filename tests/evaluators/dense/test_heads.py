"""Heads: one step and the losses by hand, and images of any grid."""

import dataclasses
import doctest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evaluators.dense import features, heads, maps, probe, probe_config

HEAD = heads.Head(
  is_depth=False,
  num_out=3,
  grid=(2, 2),
  batch_norm=False,
  with_pooled=False,
  weight_decay=0.1,
)
DEPTH = dataclasses.replace(
  HEAD, is_depth=True, num_out=8, min_metres=0.001, max_metres=10.0, upsample=2
)
# Sums of float32 in other orders.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def _grid(shapes=((2, 2), (2, 2)), num_tokens=4, width=5, seed=0):
  rng = np.random.default_rng(seed)
  return features.Grid(
    rng.normal(size=(len(shapes), num_tokens, width)).astype(np.float32),
    np.array(shapes, np.int32),
    rng.normal(size=(len(shapes), 2)).astype(np.float32),
  )


def _init(head, width=5):
  return heads.init(head, width, jax.random.key(1))


@pytest.mark.parametrize("module", [heads, probe_config])
def test_examples(module):
  results = doctest.testmod(module, extraglobs={"VOID": maps.VOID})
  assert results.attempted
  assert not results.failed


def test_a_step_is_adam_on_the_gradient_of_a_softmax():
  """Targets of the grid's own size: nothing is enlarged."""
  grid, rate = _grid(), 0.01
  target = np.array([[[0, 1], [2, -1]], [[1, 1], [0, 2]]], np.int16)
  before = jax.device_get(_init(HEAD))
  state, loss = heads.train_step(
    _init(HEAD), grid, target, np.float32(rate), head=HEAD
  )
  x, label = grid.tokens_bND.reshape(8, 5), target.reshape(8)
  kernel = before["params"]["kernel"]
  logits = x @ kernel
  p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
  is_in = label >= 0
  own = p[np.arange(8), np.maximum(label, 0)]
  np.testing.assert_allclose(loss, -np.log(own)[is_in].mean(), **CLOSE)
  off = (p - np.eye(3)[np.maximum(label, 0)]) * is_in[:, None] / is_in.sum()
  # The first update of Adam is the gradient by its own size.
  grads = {"kernel": x.T @ off, "bias": off.sum(axis=0)}
  updates = {k: g / (np.abs(g) + 1e-8) for k, g in grads.items()}
  updates["kernel"] += 0.1 * kernel
  for name, update in updates.items():
    expected = before["params"][name] - rate * update
    np.testing.assert_allclose(state["params"][name], expected, **CLOSE)


def test_batch_norm_takes_the_batch_and_then_its_running_statistics():
  head = dataclasses.replace(HEAD, batch_norm=True)
  grid, target = _grid(), np.zeros((2, 2, 2), np.int16)
  state, _ = heads.train_step(
    _init(head), grid, target, np.float32(0), head=head
  )
  x = grid.tokens_bND.reshape(8, 5)
  mean, var = 0.1 * x.mean(axis=0), 0.9 + 0.1 * x.var(axis=0, ddof=1)
  np.testing.assert_allclose(state["stats"]["mean"], mean, **CLOSE)
  np.testing.assert_allclose(state["stats"]["var"], var, **CLOSE)
  found = heads.predict(state, grid, head=head)
  kernel = np.asarray(state["params"]["kernel"])
  expected = (x - mean) / np.sqrt(var + 1e-5) @ kernel
  np.testing.assert_allclose(np.reshape(found, (8, 3)), expected, **CLOSE)


@pytest.mark.parametrize("head", [HEAD, DEPTH], ids=["classes", "depths"])
def test_padding_changes_nothing(head):
  """NaFlex's images: other tokens beyond their own, and a larger grid."""
  head = dataclasses.replace(
    head, grid=(3, 3), batch_norm=True, with_pooled=True
  )
  shapes = ((1, 4), (3, 2))
  small = _grid(shapes, num_tokens=6)
  noise = np.full((2, 9, 5), 1e3, np.float32)
  noise[0, :4], noise[1, :6] = small.tokens_bND[0, :4], small.tokens_bND[1]
  large = small._replace(tokens_bND=noise)
  rng = np.random.default_rng(4)
  target = (
    rng.uniform(1, 5, (2, 6, 6)).astype(np.float32)
    if head.is_depth
    else rng.integers(-1, 3, (2, 6, 6)).astype(np.int16)
  )
  outcomes = []
  for grid, size in ((small, (3, 4)), (large, (5, 6))):
    one = dataclasses.replace(head, grid=size)
    state, loss = heads.train_step(
      _init(one, 7), grid, target, np.float32(0.1), head=one
    )
    found = np.asarray(heads.predict(state, grid, head=one))
    factor = one.upsample if one.is_depth else 1
    parts = [
      found[i, : factor * rows, : factor * columns]
      for i, (rows, columns) in enumerate(shapes)
    ]
    outcomes.append((np.asarray(loss), state["params"], *parts))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    *outcomes,
  )


def test_depths_by_hand():
  state, grid = _init(DEPTH), _grid()
  state["params"]["kernel"] *= 50
  found = np.asarray(heads.predict(state, grid, head=DEPTH))
  logits = grid.tokens_bND @ np.asarray(state["params"]["kernel"])
  bins = np.linspace(0.001, 10, 8)
  for i in range(2):
    up = maps.bilinear(4, 2)
    large = np.einsum("ty,sx,yxa->tsa", up, up, logits[i].reshape(2, 2, 8))
    weights = np.maximum(large, 0) + 0.1
    expected = (weights * bins).sum(-1) / weights.sum(-1)
    np.testing.assert_allclose(found[i], expected, **CLOSE)
  assert found.min() > 0.001
  assert found.max() < 10


@pytest.mark.parametrize("step", [0, 100])
def test_loss_of_depths_by_hand(step):
  rng = np.random.default_rng(2)
  truth = rng.uniform(1, 9, (2, 7, 8)) * (rng.random((2, 7, 8)) < 0.7)
  found = rng.uniform(1, 9, (2, 7, 8))
  loss = jax.jit(heads.depth_loss)(found, truth, step)
  off = (np.log(found + 1e-3) - np.log(truth + 1e-3))[truth > 0]
  square = 0.15 * off.mean() ** 2 + (off.var(ddof=1) if step >= 100 else 0)
  expected = np.sqrt(square)
  for stride in (1, 2, 4, 6):
    total, count = 0.0, 0
    for f, t in zip(found, truth, strict=True):
      f, t = f[::stride, ::stride], t[::stride, ::stride]
      count += (t > 0).sum()
      g = np.log(f + 1e-3) - np.log(t + 1e-3)
      for y in range(f.shape[0]):
        for x in range(f.shape[1]):
          for v, u in ((y + 2, x), (y, x + 2)):
            if v < f.shape[0] and u < f.shape[1] and t[y, x] and t[v, u]:
              total += abs(g[y, x] - g[v, u])
    expected += 0.5 * total / count
  # Sums of float32.
  np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_an_exact_depth_has_a_finite_gradient():
  truth = jnp.ones((1, 4, 4))
  grad_fn = jax.jit(jax.grad(heads.depth_loss))
  grads = grad_fn(truth, truth, jnp.asarray(200))
  assert np.isfinite(grads).all()
  grads = grad_fn(truth, 0 * truth, jnp.asarray(200))
  np.testing.assert_array_equal(grads, 0)


def test_labels_are_those_of_enlarged_logits():
  logits = np.random.default_rng(5).normal(size=(3, 4, 6)).astype(np.float32)
  found = probe.enlarged_labels(logits, 11, 9)
  down, across = maps.bilinear(11, 3), maps.bilinear(9, 4)
  large = np.einsum("ty,sx,yxa->tsa", down, across, logits)
  np.testing.assert_array_equal(found, large.argmax(axis=-1))
  np.testing.assert_allclose(
    probe.enlarged(logits[..., 0], 11, 9), large[..., 0], **CLOSE
  )
