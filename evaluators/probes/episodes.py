"""Few-shot episodes of CD-FSL: classes are drawn, and a linear head trained.

Source: A Broader Study of Cross-Domain Few-Shot Learning (arXiv 1912.07200) and
finetune.py of IBM/cdfsl-benchmark, with its option that freezes the backbone:
600 episodes of 5 classes, with 5, 20 or 50 shots and 15 queries each; a linear
head by SGD; figures are the mean over episodes and 1.96 standard errors.

Shape letters beside those of models/layers.py: here R counts episodes, S shots
of all classes of an episode, Q its queries, D features, A its classes, T steps.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from evaluators.probes import examples as examples_lib
from runtime import checks

WAYS, QUERIES = 5, 15
SHOTS = (5, 20, 50)
NUM_EPISODES = 600
# Seed that finetune.py sets; its draws are NumPy's and PyTorch's, not these.
SEED = 10
# Episodes whose heads are trained at once: memory of their features.
_CHUNK = 50
# 97.5 % quantile of the normal distribution, as finetune.py rounds it.
_QUANTILE = 1.96


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
  """Training of a linear head; defaults are those of finetune.py.

  Attributes:
    epochs: passes over the shots.
    batch_size: shots a step; the last one of an epoch may have fewer.
    learning_rate: constant.
    momentum: factor of the gradients' running sum.
    dampening: share of a gradient that this sum leaves out, but for the first.
    weight_decay: added to the gradient, times the parameter.
  """

  epochs: int = 100
  batch_size: int = 4
  learning_rate: float = 0.01
  momentum: float = 0.9
  dampening: float = 0.9
  weight_decay: float = 0.001

  def check(self) -> None:
    """Raise ValueError where a value cannot be used."""
    checks.at_least("epochs", self.epochs, 1)
    checks.at_least("batch_size", self.batch_size, 1)
    checks.above("learning_rate", self.learning_rate, 0)
    checks.in_range("momentum", self.momentum, 0, 1)
    checks.in_range("dampening", self.dampening, 0, 1)
    checks.at_least("weight_decay", self.weight_decay, 0)


@dataclasses.dataclass(frozen=True)
class Episodes:
  """Rows of examples, by episode; position a of A is class a there.

  Attributes:
    shot_RAK: rows of the shots of each class.
    query_RAQ: rows of the queries of each class, none of them a shot.
  """

  shot_RAK: np.ndarray
  query_RAQ: np.ndarray


def draw(
  examples: examples_lib.Examples,
  num_shots: int,
  *,
  num_episodes: int = NUM_EPISODES,
  ways: int = WAYS,
  queries: int = QUERIES,
  seed: int = SEED,
) -> Episodes:
  """Draw episodes; they do not depend on the order of the examples.

  Raises:
    ValueError: fewer than `ways` classes have num_shots + queries examples.
  """
  need = num_shots + queries
  rows = [
    part
    for part in examples_lib.by_hash(examples, "episodes")
    if len(part) >= need
  ]
  if len(rows) < ways:
    raise ValueError(
      f"episodes of {num_shots} shots and {queries} queries need {ways} classes"
      f" of {need} examples; got {len(rows)}"
    )
  drawn_RAN = np.empty((num_episodes, ways, need), np.int64)
  for number in range(num_episodes):
    rng = np.random.default_rng([seed, num_shots, number])
    for way, one in enumerate(rng.choice(len(rows), ways, replace=False)):
      drawn_RAN[number, way] = rng.choice(rows[one], need, replace=False)
  return Episodes(drawn_RAN[..., :num_shots], drawn_RAN[..., num_shots:])


def orders(
  num_shots: int, epochs: int, batch_size: int, rng: np.random.Generator
) -> np.ndarray:
  """Return the shots of each step, int32 [T, batch_size]; -1 for none.

  Args:
    num_shots: number of shots of all classes.
    epochs: passes over the shots.
    batch_size: shots a step; the last one of an epoch may have fewer.
    rng: generator of the order of each epoch.
  """
  steps = math.ceil(num_shots / batch_size)
  order = np.full((epochs, steps * batch_size), -1, np.int32)
  for epoch in range(epochs):
    order[epoch, :num_shots] = rng.permutation(num_shots)
  return order.reshape(-1, batch_size)


def initial(
  num_features: int, ways: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
  """Return weights [D, A] and biases [A] as PyTorch's Linear draws them."""
  limit = 1 / math.sqrt(num_features)
  return (
    rng.uniform(-limit, limit, (num_features, ways)).astype(np.float32),
    rng.uniform(-limit, limit, ways).astype(np.float32),
  )


def loss(
  head: tuple[jax.Array, jax.Array],
  x_BD: jax.Array,
  label_B: jax.Array,
  weight_B: jax.Array,
) -> jax.Array:
  """Return the cross-entropy of a head, a mean of rows by their weights."""
  w_DA, b_A = head
  log_p_BA = jax.nn.log_softmax(x_BD @ w_DA + b_A)
  own_B = jnp.take_along_axis(log_p_BA, label_B[:, None], 1)[:, 0]
  return -jnp.sum(weight_B * own_B) / jnp.sum(weight_B)


@functools.partial(jax.jit, static_argnames="head")
def fit(
  x_RSD: jax.Array,
  label_S: jax.Array,
  order_RTB: jax.Array,
  start: tuple[jax.Array, jax.Array],
  *,
  head: Head,
) -> tuple[jax.Array, jax.Array]:
  """Train a head for each episode by PyTorch's SGD, in float32.

  Args:
    x_RSD: features of the shots.
    label_S: their classes, the same in all episodes.
    order_RTB: shots of each step, of `orders`.
    start: weights [R, D, A] and biases [R, A] to begin with.
    head: training.

  Returns:
    Weights and biases after the last step.
  """

  def one(x_SD, order_TB, params):
    def step(carry, row_B):
      params, sums, taken = carry
      grads = jax.grad(loss)(
        params, x_SD[row_B], label_S[row_B], jnp.float32(row_B >= 0)
      )
      grads = jax.tree.map(
        lambda g, p: g + head.weight_decay * p, grads, params
      )
      sums = jax.tree.map(
        lambda s, g: jnp.where(
          taken, head.momentum * s + (1 - head.dampening) * g, g
        ),
        sums,
        grads,
      )
      params = jax.tree.map(
        lambda p, s: p - head.learning_rate * s, params, sums
      )
      return (params, sums, True), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    (params, _, _), _ = jax.lax.scan(step, (params, zeros, False), order_TB)
    return params

  return jax.vmap(one)(x_RSD, order_RTB, start)


def accuracies(
  examples: examples_lib.Examples,
  episodes: Episodes,
  head: Head,
  seed: int = SEED,
) -> np.ndarray:
  """Return the share of an episode's queries that is right, float64 [R].

  Of equal scores, the class of the lowest number is predicted.
  """
  num_episodes, ways, num_shots = episodes.shot_RAK.shape
  x_ND = np.asarray(examples.x_ND, np.float32)
  label_S = np.repeat(np.arange(ways), num_shots)
  right = []
  for start in range(0, num_episodes, _CHUNK):
    # The last chunk is filled up, so that one program serves all.
    numbers = np.minimum(np.arange(start, start + _CHUNK), num_episodes - 1)
    rngs = [np.random.default_rng([seed, num_shots, n, 1]) for n in numbers]
    begun = [initial(x_ND.shape[1], ways, rng) for rng in rngs]
    order_RTB = [
      orders(len(label_S), head.epochs, head.batch_size, rng) for rng in rngs
    ]
    shot_RS = episodes.shot_RAK[numbers].reshape(len(numbers), -1)
    w_RDA, b_RA = fit(
      x_ND[shot_RS],
      label_S,
      np.stack(order_RTB),
      tuple(np.stack(some) for some in zip(*begun, strict=True)),
      head=head,
    )
    x_RAQD = x_ND[episodes.query_RAQ[numbers]]
    score = np.einsum("raqd,rdc->raqc", x_RAQD, np.asarray(w_RDA))
    score += np.asarray(b_RA)[:, None, None]
    is_right = score.argmax(axis=-1) == np.arange(ways)[:, None]
    right.append(is_right.mean(axis=(1, 2)))
  return np.concatenate(right)[:num_episodes]


@dataclasses.dataclass(frozen=True)
class Figure:
  """Accuracy over episodes.

  Attributes:
    mean: mean over episodes.
    std: standard deviation over episodes, of n as in finetune.py.
    num_episodes: n.
  """

  mean: float
  std: float
  num_episodes: int

  @property
  def interval(self) -> tuple[float, float]:
    """Return the mean less and plus 1.96 std / sqrt(n)."""
    half = _QUANTILE * self.std / math.sqrt(self.num_episodes)
    return self.mean - half, self.mean + half


def figure(accuracy_R: np.ndarray) -> Figure:
  """Return the figure of episodes.

  >>> one = figure(np.array([0.5, 0.7]))
  >>> print(f"{one.mean:.2f} {one.std:.2f} {one.interval[0]:.4f}")
  0.60 0.10 0.4614
  """
  return Figure(
    float(np.mean(accuracy_R)), float(np.std(accuracy_R)), len(accuracy_R)
  )


def drawn(
  examples: examples_lib.Examples,
  *,
  num_classes: int,
  shots: Sequence[int],
  num_episodes: int,
  ways: int,
  queries: int,
  seed: int,
) -> dict[int, Episodes | str]:
  """Return the episodes of each number of shots, or why there are none.

  Arguments are those of `evaluate`; ValueError where one cannot be used.
  """
  with checks.collected():
    examples.check("examples", num_classes)
    checks.at_least("num_episodes", num_episodes, 1)
    checks.at_least("ways", ways, 2)
    checks.at_least("queries", queries, 1)
    for number in shots:
      checks.at_least("shots", number, 1)
  results: dict[int, Episodes | str] = {}
  for number in shots:
    try:
      results[number] = draw(
        examples,
        number,
        num_episodes=num_episodes,
        ways=ways,
        queries=queries,
        seed=seed,
      )
    except ValueError as error:
      results[number] = str(error)
  return results


def evaluate(
  examples: examples_lib.Examples,
  *,
  num_classes: int,
  shots: Sequence[int] = SHOTS,
  num_episodes: int = NUM_EPISODES,
  ways: int = WAYS,
  queries: int = QUERIES,
  head: Head | None = None,
  seed: int = SEED,
) -> dict[int, Figure | str]:
  """Return the figure of each number of shots, or why there is none.

  Args:
    examples: features that are not trained.
    num_classes: number of classes of the labels.
    shots: shots of a class.
    num_episodes: episodes of each number of shots.
    ways: classes of an episode.
    queries: queries of a class.
    head: training of the head; None for finetune.py's.
    seed: seed of all draws.
  """
  head = head or Head()
  with checks.collected():
    head.check()
    episodes = drawn(
      examples,
      num_classes=num_classes,
      shots=shots,
      num_episodes=num_episodes,
      ways=ways,
      queries=queries,
      seed=seed,
    )
  return {
    number: one
    if isinstance(one, str)
    else figure(accuracies(examples, one, head, seed))
    for number, one in episodes.items()
  }
