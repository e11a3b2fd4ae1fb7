"""Tower and head learn as PyTorch's SGD in NumPy; figures come of both."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from evaluators.probes import episodes, tuned_episodes
from evaluators.probes import examples as examples_lib
from models import batch_norm
from tests.evaluators import meshes

WAYS, SHOTS, QUERIES, PIXELS, FEATURES = 3, 2, 4, 12, 5
# Rates that change much in a few steps.
QUICK = tuned_episodes.Tuning(
  epochs=3,
  tower=tuned_episodes.Sgd(0.03, 0.8),
  head=tuned_episodes.Sgd(0.1, 0.95),
)


def _features(variables, images):
  """Return the features of a tower that is a matrix and a held mean."""
  x = images.reshape(len(images), -1) / 255 - variables["img"]["running_mean"]
  return x @ variables["img"]["kernel"]


def _variables(seed=0):
  rng = np.random.default_rng(seed)
  kernel = rng.normal(size=(PIXELS, FEATURES)).astype(np.float32)
  mean = np.full(PIXELS, 0.5, np.float32)
  return {
    "img": {"kernel": kernel, "running_mean": mean},
    "txt": {"kernel": np.ones(3, np.float32)},
  }


def _images(num, seed=1):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (num, 2, 2, 3), np.uint8)


def _doubled(images):
  """Return images, and after them the same mirrored."""
  return np.concatenate([images, images[:, :, ::-1]])


def _start(seed=2):
  return episodes.initial(FEATURES, WAYS, np.random.default_rng(seed))


def _tune(tuning, variables=None, seed=3):
  order = tuned_episodes.orders(
    WAYS * SHOTS, tuning, np.random.default_rng(seed)
  )
  images = _doubled(_images(WAYS * SHOTS))
  tuned = jax.jit(
    lambda variables, images: tuned_episodes.tune(
      (_features, variables),
      *(images, order, _start()),
      key=jax.random.key(7),
      tuning=tuning,
    )
  )(variables or _variables(), images)
  return tuned, order, images


def _reference(order, images, tuning):
  """Return kernel and head after the steps, one after the other, in float64."""
  variables = _variables()
  x = images.reshape(len(images), -1) / 255 - 0.5
  label = np.tile(np.repeat(np.arange(WAYS), SHOTS), 2)
  params = [np.float64(p) for p in (variables["img"]["kernel"], *_start())]
  groups = [tuning.tower, tuning.head, tuning.head]
  sums = [np.zeros_like(p) for p in params]
  for number, row in enumerate(order):
    key = jax.random.fold_in(jax.random.key(7), number)
    shape = (len(row), FEATURES)
    kept = np.asarray(jax.random.bernoulli(key, 1 - tuning.dropout, shape))
    kept = kept[row >= 0] / (1 - tuning.dropout)
    row = row[row >= 0]
    kernel, w, b = params
    features = x[row] @ kernel * kept
    logits = features @ w + b
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(row)), label[row]] -= 1
    p /= len(row)
    grads = [x[row].T @ (p @ w.T * kept), features.T @ p, p.sum(axis=0)]
    for at, group in enumerate(groups):
      grad = grads[at] + tuning.weight_decay * params[at]
      sums[at] = group.momentum * sums[at] + grad
      params[at] = params[at] - group.learning_rate * sums[at]
  return params


@pytest.mark.parametrize(
  "changes", [{}, {"weight_decay": 0.1, "dropout": 0.0}], ids=["ours", "others"]
)
def test_both_groups_are_pytorchs_sgd(changes):
  tuning = dataclasses.replace(QUICK, **changes)
  (variables, (w, b)), order, images = _tune(tuning)
  kernel = variables["img"]["kernel"]
  # float32 against float64: 6 steps of rounding.
  for got, want in zip(
    (kernel, w, b), _reference(order, images, tuning), strict=True
  ):
    np.testing.assert_allclose(got, want, atol=1e-5)
  # Rates and momenta are those of their groups: others would be seen.
  swapped = dataclasses.replace(tuning, tower=tuning.head, head=tuning.tower)
  other = _reference(order, images, swapped)
  assert np.abs(kernel - other[0]).max() > 0.01
  assert np.abs(w - other[1]).max() > 0.01
  for at, group in (("tower", kernel), ("head", w)):
    slower = dataclasses.replace(getattr(tuning, at), momentum=0.5)
    other = _reference(
      order, images, dataclasses.replace(tuning, **{at: slower})
    )
    assert np.abs(group - other[at == "head"]).max() > 1e-3


def test_defaults_are_florences():
  tuning = tuned_episodes.Tuning()
  assert tuning.epochs == 100
  assert tuning.tower == tuned_episodes.Sgd(2e-4, 0.9)
  assert tuning.head == tuned_episodes.Sgd(0.01, 0.99)
  assert tuning.dropout == 0.5


def test_orders_mirror_shots_at_random():
  order = tuned_episodes.orders(
    10, dataclasses.replace(QUICK, epochs=100), np.random.default_rng(0)
  )
  plain = episodes.orders(10, 100, 4, np.random.default_rng(0))
  np.testing.assert_array_equal(np.where(order >= 0, order % 10, -1), plain)
  share = np.mean(order[order >= 0] >= 10)
  assert share == pytest.approx(0.5, abs=0.06)  # 4 standard errors of 1,000
  for flip, rows in ((0.0, range(10)), (1.0, range(10, 20))):
    some = tuned_episodes.orders(
      10, dataclasses.replace(QUICK, flip=flip), np.random.default_rng(0)
    )
    assert {*some.ravel()} == {-1, *rows}


def test_tests_mirror_and_drop_nothing():
  images = _images(WAYS * QUERIES).reshape(WAYS, QUERIES, 2, 2, 3)
  both = images, images[:, :, :, ::-1]
  variables, (w, b) = _variables(), _start()
  tower = _features, variables
  got = tuned_episodes.scores(tower, np.concatenate(both, axis=1), (w, b))
  again = tuned_episodes.scores(
    tower, np.concatenate(both[::-1], axis=1), (w, b)
  )
  # A sum of two does not depend on their order: equal to the bit.
  np.testing.assert_array_equal(got, again)
  logits = [
    np.asarray(_features(variables, x.reshape(-1, 2, 2, 3))) @ w + b
    for x in both
  ]
  want = np.mean(logits, axis=0).reshape(WAYS, QUERIES, WAYS)
  np.testing.assert_allclose(got, want, atol=1e-5)  # float32, other order
  assert np.abs(want - logits[0].reshape(want.shape)).max() > 0.01


def _set(*, is_hidden, num=60):
  """Return examples of three classes, and a tower that reads them.

  Two pixels tell the classes; of a hidden set, the tower sees noise alone.
  """
  rng = np.random.default_rng(0)
  label = np.arange(num) % WAYS
  images = rng.integers(0, 256, (num, 2, 2, 3), np.uint8)
  images[:, 0, :, 0] = (20 + 100 * label)[:, None]
  variables = _variables()
  if is_hidden:
    variables["img"]["kernel"].reshape(2, 2, 3, -1)[0, :, 0] = 0
  x = np.asarray(_features(variables, images))
  uids = rng.integers(0, 256, (num, 16), np.uint8)
  read = []

  def read_fn(rows):
    read.append(rows)
    return images[rows], images[rows][:, :, ::-1]

  tower = tuned_episodes.Tower(
    _features, variables, read_fn, meshes.make_mesh()
  )
  return examples_lib.Examples(x, label, uids), tower, read


# 60 epochs of few shots learn what a hundred with Florence's rates would not.
LEARNING = dataclasses.replace(
  QUICK, epochs=60, tower=tuned_episodes.Sgd(0.02, 0.9)
)
DRAWN = {"num_classes": 3, "ways": WAYS, "queries": QUERIES, "shots": (5, 50)}


def test_a_tower_learns_what_its_features_hid():
  examples, tower, read = _set(is_hidden=True)
  before = jax.tree.map(np.copy, tower.variables)
  figures = tuned_episodes.evaluate(
    examples, tower, num_episodes=6, tuning=LEARNING, **DRAWN
  )
  assert "3 classes of 54 examples; got 0" in str(figures[50])
  one = figures[5]
  assert one.tuned.num_episodes == 6
  assert one.tuned.mean > 0.8
  assert one.above_frozen.mean > 0.25
  frozen = episodes.evaluate(examples, num_episodes=6, **DRAWN)[5]
  assert one.tuned.mean - one.above_frozen.mean == pytest.approx(frozen.mean)
  # Images of an episode are read once, and no query is a shot.
  assert len(read) == 6
  assert all(len({*rows}) == WAYS * (5 + QUERIES) for rows in read)
  # The model is as before.
  jax.tree.map(np.testing.assert_array_equal, before, tower.variables)


def test_episodes_do_not_depend_on_those_before_or_on_devices():
  examples, tower, _ = _set(is_hidden=False)
  tuning = dataclasses.replace(LEARNING, epochs=4)
  drawn = episodes.draw(examples, 2, num_episodes=5, ways=WAYS, queries=QUERIES)
  want = tuned_episodes.accuracies(examples, drawn, tower, tuning)
  assert len({*want.tolist()}) > 1
  first = episodes.Episodes(drawn.shot_RAK[:2], drawn.query_RAQ[:2])
  again = tuned_episodes.accuracies(examples, first, tower, tuning)
  np.testing.assert_array_equal(again, want[:2])
  # Four devices take four episodes at once; the last call is filled up.
  tower = dataclasses.replace(tower, mesh=meshes.make_mesh((2, 2, 2)))
  got = tuned_episodes.accuracies(examples, drawn, tower, tuning)
  np.testing.assert_array_equal(got, want)


def test_a_training_that_diverges_has_no_figure():
  examples, tower, _ = _set(is_hidden=False)
  tuning = dataclasses.replace(QUICK, tower=tuned_episodes.Sgd(1e30, 0.9))
  figures = tuned_episodes.evaluate(
    examples, tower, num_episodes=2, tuning=tuning, **DRAWN
  )
  assert "episode 0 of 5 shots ended in scores that are not" in str(figures[5])


class _Normed(nnx.Module):
  """A matrix, and batch norm of its products."""

  def __init__(self):
    self.kernel = nnx.Param(_variables()["img"]["kernel"])
    self.norm = batch_norm.BatchNorm(
      FEATURES, group=0, epsilon=1e-5, momentum=0.9, dtype="float32"
    )

  def __call__(self, images):
    x = images.reshape(len(images), -1) / 255 @ self.kernel[...]
    return self.norm(x[:, None, None])[:, 0, 0]


def test_batch_norm_is_held_and_other_towers_stay():
  graph, state = nnx.split(_Normed())
  img = nnx.to_pure_dict(state)
  img["norm"]["running_mean"] += 0.3
  img["norm"]["running_var"] *= 4.0
  given = {"img": img, "txt": {"kernel": np.ones(3)}}
  order = tuned_episodes.orders(6, QUICK, np.random.default_rng(0))
  images = jnp.asarray(_doubled(_images(WAYS * SHOTS)))

  def features_fn(variables, x):
    return nnx.merge(graph, variables["img"])(x)

  variables, _ = tuned_episodes.tune(
    (features_fn, given),
    *(images, order, _start()),
    key=jax.random.key(0),
    tuning=QUICK,
  )
  assert variables["txt"] is given["txt"]
  for name in batch_norm.NAMES:
    np.testing.assert_array_equal(
      variables["img"]["norm"][name], img["norm"][name]
    )
  for name in ("scale", "bias"):
    change = variables["img"]["norm"][name] - img["norm"][name]
    assert np.abs(change).max() > 1e-3
  # An image's features do not depend on those beside it.
  alone, whole = (features_fn(variables, images[:n]) for n in (1, 6))
  np.testing.assert_allclose(alone[0], whole[0], atol=1e-6)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"epochs": 0}, "epochs must be at least 1"),
    ({"batch_size": 0}, "batch_size must be at least 1"),
    ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
    ({"flip": 1.5}, "flip must be between 0 and 1"),
    ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
    ({"tower": tuned_episodes.Sgd(0.0, 0.9)}, "tower.learning_rate must be"),
    ({"tower": tuned_episodes.Sgd(0.1, 1.0)}, "tower.momentum must be"),
    ({"head": tuned_episodes.Sgd(0.1, -0.1)}, "head.momentum must be"),
  ],
)
def test_bad_values_are_named(changes, message):
  examples, tower, _ = _set(is_hidden=False)
  with pytest.raises(ValueError, match=message):
    tuned_episodes.evaluate(
      *(examples, tower),
      tuning=dataclasses.replace(QUICK, **changes),
      **DRAWN,
    )
