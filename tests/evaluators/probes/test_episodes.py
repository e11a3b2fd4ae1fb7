"""Episodes are drawn as said; the head equals PyTorch's SGD in NumPy."""

import dataclasses

import numpy as np
import pytest

from evaluators.probes import episodes
from tests.evaluators.probes import test_few_shot

HEAD = episodes.Head(epochs=3)
FAST = dataclasses.replace(HEAD, learning_rate=0.5)


def test_a_query_is_no_shot_and_classes_differ():
  some = test_few_shot.make(200, num_classes=8)
  drawn = episodes.draw(some, 4, num_episodes=20, queries=6)
  assert drawn.shot_RAK.shape == (20, 5, 4)
  assert drawn.query_RAQ.shape == (20, 5, 6)
  for shots, queries in zip(drawn.shot_RAK, drawn.query_RAQ, strict=True):
    rows = np.concatenate([shots, queries], axis=1)
    assert len(np.unique(rows)) == rows.size
    labels = some.label_N[rows]
    assert (labels == labels[:, :1]).all()
    assert len(np.unique(labels[:, 0])) == 5
  # All classes are drawn in the end, and no two episodes are equal.
  assert len(np.unique(some.label_N[drawn.shot_RAK])) == 8
  assert len({rows.tobytes() for rows in drawn.shot_RAK}) == 20


def test_the_order_of_examples_changes_nothing():
  some = test_few_shot.make(150)
  order = np.random.default_rng(3).permutation(150)
  first = episodes.draw(some, 3, num_episodes=4)
  second = episodes.draw(some.take(order), 3, num_episodes=4)
  np.testing.assert_array_equal(first.shot_RAK, order[second.shot_RAK])
  np.testing.assert_array_equal(first.query_RAQ, order[second.query_RAQ])


def test_an_epoch_has_each_shot_once():
  rng = np.random.default_rng(0)
  order = episodes.orders(10, 3, 4, rng)
  assert order.shape == (9, 4)
  for epoch in order.reshape(3, 12):
    assert sorted(epoch) == [-1, -1, *range(10)]
  assert (order[0] != order[3]).any()


def _reference(x, label, order, w, b, head):
  """Return a head after PyTorch's SGD, one step after the other, in float64."""
  params, sums = [w.astype(np.float64), b.astype(np.float64)], None
  for row in order:
    row = row[row >= 0]
    logits = x[row] @ params[0] + params[1]
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(row)), label[row]] -= 1
    p /= len(row)
    grads = [
      x[row].T @ p + head.weight_decay * params[0],
      p.sum(axis=0) + head.weight_decay * params[1],
    ]
    if sums is None:
      sums = grads
    else:
      sums = [
        head.momentum * s + (1 - head.dampening) * g
        for s, g in zip(sums, grads, strict=True)
      ]
    params = [
      p - head.learning_rate * s for p, s in zip(params, sums, strict=True)
    ]
  return params


@pytest.mark.parametrize(
  "changes",
  [{}, {"momentum": 0.99, "dampening": 0.0, "weight_decay": 0.1}],
  ids=["benchmark", "florence"],
)
def test_the_head_is_pytorchs_sgd(changes):
  head = dataclasses.replace(HEAD, learning_rate=0.05, **changes)
  rng = np.random.default_rng(0)
  label = np.repeat(np.arange(5), 2)
  x = rng.normal(size=(2, 10, 7)).astype(np.float32)
  begun = [episodes.initial(7, 5, rng) for _ in range(2)]
  order = np.stack([episodes.orders(10, 3, 4, rng) for _ in range(2)])
  w, b = episodes.fit(
    *(x, label, order, tuple(map(np.stack, zip(*begun, strict=True)))),
    head=head,
  )
  for one in range(2):
    want = _reference(x[one], label, order[one], *begun[one], head)
    # float32 against float64: 9 steps of rounding.
    np.testing.assert_allclose(w[one], want[0], atol=2e-6)
    np.testing.assert_allclose(b[one], want[1], atol=2e-6)


def test_separable_classes_are_told_apart_and_noise_is_not():
  some = test_few_shot.make(125)
  easy = dataclasses.replace(
    some, x_ND=8 * np.eye(12, dtype=np.float32)[some.label_N]
  )
  figures = episodes.evaluate(
    easy, num_classes=5, shots=(5, 50), num_episodes=6, head=FAST
  )
  assert figures[5] == episodes.Figure(1.0, 0.0, 6)
  assert "5 classes of 65 examples; got 0" in str(figures[50])
  rng = np.random.default_rng(1)
  noise = rng.normal(size=some.x_ND.shape).astype(np.float32)
  drawn = episodes.draw(some, 5, num_episodes=60, queries=15)
  accuracy = episodes.accuracies(
    dataclasses.replace(some, x_ND=noise), drawn, HEAD
  )
  one = episodes.figure(accuracy)
  low, high = one.interval
  assert one.std == np.std(accuracy)
  assert high - low == pytest.approx(2 * 1.96 * one.std / np.sqrt(60))
  # Chance is 0.2; shots that say nothing give figures around it.
  assert one.mean == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"ways": 1}, "ways"),
    ({"queries": 0}, "queries"),
    ({"shots": (0,)}, "shots"),
    ({"num_episodes": 0}, "num_episodes"),
    ({"head": dataclasses.replace(HEAD, momentum=1.5)}, "momentum"),
  ],
)
def test_bad_values_are_named(changes, message):
  with pytest.raises(ValueError, match=message):
    episodes.evaluate(test_few_shot.make(30), num_classes=5, **changes)
