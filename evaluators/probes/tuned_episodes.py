"""Few-shot episodes of CD-FSL in which the image tower learns with the head.

Source: Florence (arXiv 2111.11432), whose recipe of table 4 is: a linear head
on the image tower, both trained by SGD for 100 epochs in each episode, images
mirrored in training and in tests, dropout of 0.5. Episodes, and the head that
each begins with, are those of episodes.py, so that both kinds can be compared
episode by episode.

The tower begins each episode with the model's parameters. Its own dropout and
stochastic depth are off (ours), and batch norm normalises by the running
statistics, which are held: a step's few images say little about a domain.

Shape letters are those of episodes.py; R is the episodes of one call, one a
device, and Z both images of a shot or query, plain and mirrored.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import P

from evaluators.probes import episodes as episodes_lib
from evaluators.probes import examples as examples_lib
from models import batch_norm, dual_encoder
from runtime import checks, cluster, long_work
from runtime import mesh as mesh_lib

# Parameters of the tower among those of a model.
_TOWER = "img"
# Fields of Tuning whose defaults are not published.
OURS = ("flip", "batch_size", "weight_decay")
# Function of rows of examples to inputs of the tower, a tree of arrays
# [rows, ...]: images as they are, and the same mirrored.
ReadFn = Callable[[np.ndarray], tuple[Any, Any]]


@dataclasses.dataclass(frozen=True)
class Sgd:
  """Updates of some parameters by PyTorch's SGD, without dampening.

  Attributes:
    learning_rate: constant.
    momentum: factor of the gradients' running sum.
  """

  learning_rate: float
  momentum: float

  def check(self, field: str) -> None:
    """Raise ValueError, naming the field, where a value cannot be used."""
    checks.above(f"{field}.learning_rate", self.learning_rate, 0)
    checks.in_range(f"{field}.momentum", self.momentum, 0, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuning:
  """Training of the tower and of its head; defaults are Florence's, or ours.

  Attributes:
    epochs: passes over the shots (Florence).
    tower: updates of all parameters of the image tower (Florence).
    head: updates of the linear head (Florence).
    dropout: share of the features that a step hides from the head; the others
      are divided by 1 - dropout (Florence; its place before the head is ours).
    flip: chance of a shot in an epoch to be mirrored (ours: Florence mirrors,
      and does not say how often). In tests, the logits are the mean of those
      of an image and of its mirror (ours).
    batch_size: shots a step; the last one of an epoch may have fewer (ours:
      that of finetune.py, as Florence's is not published).
    weight_decay: added to the gradient, times the parameter (ours: none).
  """

  epochs: int = 100
  tower: Sgd = Sgd(2e-4, 0.9)
  head: Sgd = Sgd(0.01, 0.99)
  dropout: float = 0.5
  flip: float = 0.5
  batch_size: int = 4
  weight_decay: float = 0.0

  def check(self) -> None:
    """Raise ValueError, naming the field, where a value cannot be used."""
    checks.at_least("epochs", self.epochs, 1)
    checks.at_least("batch_size", self.batch_size, 1)
    self.tower.check("tower")
    self.head.check("head")
    checks.in_range("dropout", self.dropout, 0, 1)
    checks.between("flip", self.flip, 0, 1)
    checks.at_least("weight_decay", self.weight_decay, 0)


@dataclasses.dataclass(frozen=True)
class Tower:
  """A model's image tower, and the images that it learns from.

  Attributes:
    features_fn: pure function of the model's variables and images to float32
      features [b, D]. Programs are kept by it: equal functions, one program.
    variables: the model's variables on every device of the mesh.
    read: function that decodes examples.
    mesh: devices, each of which trains an episode.
  """

  features_fn: dual_encoder.EmbedFn
  variables: dual_encoder.Params
  read: ReadFn
  mesh: jax.sharding.Mesh


@dataclasses.dataclass(frozen=True)
class Tuned:
  """Figures of the episodes of one number of shots.

  Attributes:
    tuned: accuracy with a trained tower.
    above_frozen: accuracy less that of episodes.Head on the features of the
      model's own tower, in the same episodes.
  """

  tuned: episodes_lib.Figure
  above_frozen: episodes_lib.Figure


def tune(
  tower: tuple[dual_encoder.EmbedFn, dual_encoder.Params],
  image_ZS: Any,
  order_TB: jax.Array,
  head: tuple[jax.Array, jax.Array],
  *,
  key: jax.Array,
  tuning: Tuning,
) -> tuple[dual_encoder.Params, tuple[jax.Array, jax.Array]]:
  """Train a tower and its head on the shots of one episode.

  Args:
    tower: features_fn and variables of a Tower.
    image_ZS: inputs of all shots, those of each class together, then the same
      mirrored: leaves [2 S, ...].
    order_TB: rows of image_ZS of each step, of `orders`.
    head: weights [D, A] and biases [A] to begin with.
    key: random key of the dropout, folded with the number of a step.
    tuning: rates, momenta and dropout.

  Returns:
    The model's variables with the trained tower, and the trained head.
  """
  features_fn, variables = tower
  num_images, ways = len(jax.tree.leaves(image_ZS)[0]), len(head[1])
  label_Z = jnp.tile(jnp.repeat(jnp.arange(ways), num_images // 2 // ways), 2)
  params, stats = batch_norm.split(variables[_TOWER])
  trained: dict[str, Any] = {"tower": params, "head": head}
  groups = {"tower": tuning.tower, "head": tuning.head}

  def loss_fn(trained, row_B, key):
    x_BD = features_fn(
      _with_tower(variables, trained["tower"], stats),
      jax.tree.map(lambda x: x[row_B], image_ZS),
    )
    kept_BD = jax.random.bernoulli(key, 1 - tuning.dropout, x_BD.shape)
    x_BD = jnp.where(kept_BD, x_BD / (1 - tuning.dropout), 0)
    return episodes_lib.loss(
      trained["head"], x_BD, label_Z[row_B], jnp.float32(row_B >= 0)
    )

  def update(group: Sgd, params, sums, grads):
    grads = jax.tree.map(
      lambda g, p: g + tuning.weight_decay * p, grads, params
    )
    sums = jax.tree.map(lambda s, g: group.momentum * s + g, sums, grads)
    params = jax.tree.map(
      lambda p, s: p - group.learning_rate * s, params, sums
    )
    return params, sums

  def step(carry, step_inputs):
    trained, sums = carry
    row_B, number = step_inputs
    grads = jax.grad(loss_fn)(trained, row_B, jax.random.fold_in(key, number))
    updated = {
      name: update(group, trained[name], sums[name], grads[name])
      for name, group in groups.items()
    }
    return tuple({k: x[i] for k, x in updated.items()} for i in (0, 1)), None

  zeros = jax.tree.map(jnp.zeros_like, trained)
  (trained, _), _ = jax.lax.scan(
    step, (trained, zeros), (order_TB, jnp.arange(len(order_TB)))
  )
  return _with_tower(variables, trained["tower"], stats), trained["head"]


def scores(
  tower: tuple[dual_encoder.EmbedFn, dual_encoder.Params],
  image_AZQ: Any,
  head: tuple[jax.Array, jax.Array],
) -> jax.Array:
  """Return logits [A, Q, A] of queries, means of an image's and its mirror's.

  Args:
    tower: features_fn and variables of a Tower.
    image_AZQ: inputs of the queries of each class, then the same mirrored:
      leaves [A, 2 Q, ...]. One class is computed at a time.
    head: weights [D, A] and biases [A].
  """
  features_fn, variables = tower
  w_DA, b_A = head

  def of_class(image_Z):
    logits_ZA = features_fn(variables, image_Z) @ w_DA + b_A
    return jnp.mean(logits_ZA.reshape(2, -1, len(b_A)), axis=0)

  return jax.lax.map(of_class, image_AZQ)


def orders(
  num_shots: int, tuning: Tuning, rng: np.random.Generator
) -> np.ndarray:
  """Return rows of `tune`'s images of each step, int32 [T, batch_size].

  Rows of mirrored images are num_shots higher; -1 stands for none. Epochs
  have the order that episodes.orders draws first of `rng`.
  """
  order_TB = episodes_lib.orders(
    num_shots, tuning.epochs, tuning.batch_size, rng
  )
  flip_TB = (rng.random(order_TB.shape) < tuning.flip) & (order_TB >= 0)
  return order_TB + num_shots * flip_TB.astype(np.int32)


def accuracies(
  examples: examples_lib.Examples,
  episodes: episodes_lib.Episodes,
  tower: Tower,
  tuning: Tuning,
  seed: int = episodes_lib.SEED,
) -> np.ndarray:
  """Return the share of an episode's queries that is right, float64 [R].

  Of equal scores, the class of the lowest number is predicted. Every process
  calls this, and decodes the images of its devices' episodes.

  Raises:
    ValueError: training ended in scores that are not finite.
  """
  num_episodes, ways, num_shots = episodes.shot_RAK.shape
  num_features = examples.x_ND.shape[1]

  def inputs(number: int) -> Mapping[str, Any]:
    shot_AK, query_AQ = episodes.shot_RAK[number], episodes.query_RAQ[number]
    # One reading of all, so that threads decode them together.
    plain, mirrored = tower.read(np.append(shot_AK.ravel(), query_AQ.ravel()))
    rng = np.random.default_rng([seed, num_shots, number, 1])
    return {
      "start": episodes_lib.initial(num_features, ways, rng),
      "order": orders(shot_AK.size, tuning, rng),
      "seed": np.array([seed, num_shots, number], np.uint32),
      "shots": jax.tree.map(
        lambda x, y: np.concatenate([x[: shot_AK.size], y[: shot_AK.size]]),
        *(plain, mirrored),
      ),
      "queries": jax.tree.map(
        lambda *xs: np.concatenate(
          [
            x[shot_AK.size :].reshape(*query_AQ.shape, *x.shape[1:]) for x in xs
          ],
          axis=1,
        ),
        *(plain, mirrored),
      ),
    }

  size = mesh_lib.num_batch_shards(tower.mesh)
  local = mesh_lib.local_rows(size, tower.mesh)
  found: list[np.ndarray] = []
  ahead = None

  def fetch(logits_RAQA: jax.Array, numbers: range) -> None:
    logits = jax.device_get(logits_RAQA)[: len(numbers)]
    wrong = ~np.isfinite(logits).all(axis=(1, 2, 3))
    if wrong.any():
      raise ValueError(
        f"episode {numbers[int(wrong.argmax())]} of {num_shots} shots ended in "
        "scores that are not finite: its training diverged"
      )
    is_right = logits.argmax(axis=-1) == np.arange(ways)[:, None]
    found.append(is_right.mean(axis=(1, 2)))
    bar.advance(len(numbers))

  label = f"Training episodes of {num_shots} shots"
  with long_work.progress_line(label, num_episodes) as bar:
    for start in range(0, num_episodes, size):
      numbers = range(start, min(start + size, num_episodes))
      # The last call is filled up, so that one program serves all.
      mine = [min(start + x, num_episodes - 1) for x in local]
      work = cluster.together(
        lambda mine=mine: jax.tree.map(
          lambda *xs: np.stack(xs), *map(inputs, mine)
        )
      )
      logits_RAQA = _scores(
        tower.variables,
        mesh_lib.make_global(work, tower.mesh),
        features_fn=tower.features_fn,
        tuning=tuning,
        mesh=tower.mesh,
      )
      # Images of the next episodes are decoded while these are trained.
      if ahead is not None:
        fetch(*ahead)
      ahead = logits_RAQA, numbers
    if ahead is not None:
      fetch(*ahead)
  return np.concatenate(found)


def evaluate(
  examples: examples_lib.Examples,
  tower: Tower,
  *,
  num_classes: int,
  shots: Sequence[int] = episodes_lib.SHOTS,
  num_episodes: int = episodes_lib.NUM_EPISODES,
  ways: int = episodes_lib.WAYS,
  queries: int = episodes_lib.QUERIES,
  tuning: Tuning | None = None,
  seed: int = episodes_lib.SEED,
) -> dict[int, Tuned | str]:
  """Return the figures of each number of shots, or why there are none.

  Args:
    examples: features of the tower before it is trained.
    tower: the tower, which stays as it is.
    num_classes: number of classes of the labels.
    shots: shots of a class.
    num_episodes: episodes of each number of shots.
    ways: classes of an episode.
    queries: queries of a class.
    tuning: training of tower and head; None for Florence's.
    seed: seed of all draws.
  """
  tuning = tuning or Tuning()
  with checks.collected():
    tuning.check()
    drawn = episodes_lib.drawn(
      examples,
      num_classes=num_classes,
      shots=shots,
      num_episodes=num_episodes,
      ways=ways,
      queries=queries,
      seed=seed,
    )
  results: dict[int, Tuned | str] = {}
  for number, episodes in drawn.items():
    if isinstance(episodes, str):
      results[number] = episodes
      continue
    try:
      tuned_R = accuracies(examples, episodes, tower, tuning, seed)
    except ValueError as error:
      results[number] = str(error)
      continue
    frozen_R = episodes_lib.accuracies(
      examples, episodes, episodes_lib.Head(), seed
    )
    results[number] = Tuned(
      episodes_lib.figure(tuned_R), episodes_lib.figure(tuned_R - frozen_R)
    )
  return results


@jax.jit(static_argnames=("features_fn", "tuning", "mesh"))
def _scores(variables, work, *, features_fn, tuning, mesh):
  """Return logits [R, A, Q, A] of episodes, on every device."""
  axes = mesh_lib.BATCH_AXES

  def of_device(variables, work):
    episode = jax.tree.map(lambda x: x[0], work)
    key = jax.random.key(0)
    for part in episode["seed"]:
      key = jax.random.fold_in(key, part)
    tuned, head = tune(
      (features_fn, variables),
      *(episode["shots"], episode["order"], episode["start"]),
      key=key,
      tuning=tuning,
    )
    return scores((features_fn, tuned), episode["queries"], head)[None]

  logits_RAQA = jax.shard_map(
    of_device,
    mesh=mesh,
    in_specs=(P(), P(axes)),
    out_specs=P(axes),
    # The scan's carry mixes replicated parameters and a device's images.
    check_vma=False,
  )(variables, work)
  # Logits are replicated, so that each process can read all of them.
  return jax.lax.with_sharding_constraint(
    logits_RAQA, mesh_lib.replicated(mesh)
  )


def _with_tower(
  variables: dual_encoder.Params, params: Any, stats: batch_norm.Statistics
) -> dual_encoder.Params:
  """Return a model's variables with other parameters of the image tower."""
  return {**variables, _TOWER: batch_norm.join(params, stats)}
