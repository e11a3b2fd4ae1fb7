"""Probe of a dense set: its learning rate chosen, its head fitted and judged.

Training images are read once, before any step: each map is checked, and kept at
the side of the tower's images (nearest neighbour). Of them, a part that is
chosen by a hash of the paths judges the learning rates; the head is then
trained on all at the best one. Test images are read twice: before training,
when their maps are checked, and to be judged at the size of their maps, to
which predictions are bilinearly enlarged.
"""

import dataclasses
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import jax
import numpy as np

from evaluators.dense import (
  checked_maps,
  dense_set,
  features,
  heads,
  maps,
  probe_config,
  protocol,
  training_features,
)
from evaluators.metrics import dense as dense_metrics
from runtime import progress

# Steps between two looks at the loss, which wait for the devices.
_LOOK_STEPS = 100


@dataclasses.dataclass(frozen=True)
class Prediction:
  """A test image as it was judged.

  Attributes:
    item: its files.
    truth_YX: labels, or metres; VOID, or 0, for none.
    predicted_YX: labels, or metres, of all pixels.
  """

  item: dense_set.Item
  truth_YX: np.ndarray
  predicted_YX: np.ndarray


def run(
  opened: dense_set.DenseSet,
  extractor: features.Extractor,
  config: probe_config.ProbeConfig,
  *,
  keep: Callable[[int, Prediction], None] = lambda index, prediction: None,
) -> dict[str, Any]:
  """Return the record of a set, for results.json; writes progress to stderr.

  Args:
    opened: accepted by its `check`.
    extractor: features of the frozen tower.
    config: training of the head.
    keep: called with the position and the prediction of each test image.

  Raises:
    ValueError: a file cannot be used, training diverged at each rate, or no
      test pixel can be judged; the message names the file or the set.
  """
  config.check()
  side = config.target_side or extractor.image_side
  checked = checked_maps.read(
    opened,
    side,
    memory_gib=config.memory_gib,
    num_threads=extractor.num_threads,
  )
  source = training_features.make(opened, extractor, config, checked)
  everything = np.arange(len(opened.train))
  held_I = checked.held_out(config.held_out)
  fitted_I = everything[~np.isin(everything, held_I)]
  scores = {}
  for rate in dict.fromkeys(config.learning_rates):
    state = _fit(source, checked.target_ITT, fitted_I, config, rate)
    if state is not None:
      scores[rate] = _score(source, checked.target_ITT, held_I, state)
  if not scores:
    raise ValueError(
      f"{opened.name}: training diverged at each of the learning rates"
      f" {', '.join(f'{x:g}' for x in config.learning_rates)}; expected lower"
      " ones"
    )
  best = min if source.head.is_depth else max
  # The lowest rate wins among equal scores.
  rate = best(sorted(scores), key=scores.__getitem__)
  state = _fit(source, checked.target_ITT, everything, config, rate)
  if state is None:
    raise ValueError(
      f"{opened.name}: training on all images diverged at the learning rate"
      f" {rate:g}, which was the best on a part of them; expected lower ones"
    )
  record = _judge(opened, source, checked, state, keep)
  return record | {
    "num_train_images": len(opened.train),
    "learning_rate": rate,
    "scores": {f"{x:g}": value for x, value in scores.items()},
    "protocol": protocol.facts(opened, source, config, checked)
    | {"target_side": side, "num_held_out": len(held_I)},
  }


def _order(
  index_I: np.ndarray, batch_size: int, config: probe_config.ProbeConfig
) -> Iterator[np.ndarray]:
  """Yield the images of each step, in another random order in each epoch."""
  rng = np.random.default_rng(config.seed)
  waiting = np.zeros(0, index_I.dtype)
  for _ in range(config.num_steps):
    while len(waiting) < batch_size:
      waiting = np.concatenate([waiting, rng.permutation(index_I)])
    yield waiting[:batch_size]
    waiting = waiting[batch_size:]


def _fit(
  source: training_features.TrainingFeatures,
  target_ITT: np.ndarray,
  index_I: np.ndarray,
  config: probe_config.ProbeConfig,
  rate: float,
) -> dict[str, Any] | None:
  """Return the state of a head that was trained; None where it diverged."""
  head = source.head
  state = heads.init(head, source.width, jax.random.key(config.seed))
  batch_size = min(config.batch_size, len(index_I))
  label = f"{source.name}: rate {rate:g}, {len(index_I)} images, steps"
  order = _order(index_I, batch_size, config)
  by_step = probe_config.rates(config, rate)
  with progress.Progress(label, config.num_steps) as line:
    for step, (index_b, one) in enumerate(zip(order, by_step, strict=True)):
      state, loss = heads.train_step(
        *(state, source.grid(index_b), target_ITT[index_b], one), head=head
      )
      is_last = step == config.num_steps - 1
      note = ""
      if is_last or step % _LOOK_STEPS == 0:
        value = float(loss)
        if not np.isfinite(value):
          return None
        note = f"loss {value:.3f}"
      line.advance(note=note)
  # The last update may be what is not finite.
  leaves = jax.tree.leaves(state["params"])
  return state if all(np.isfinite(x).all() for x in leaves) else None


def _score(
  source: training_features.TrainingFeatures,
  target_ITT: np.ndarray,
  index_I: np.ndarray,
  state: dict[str, Any],
) -> float:
  """Return mIoU, or the mean RMSE, of training images at the targets' side."""
  outcomes = []
  size = source.extractor.batch_size
  for start in range(0, len(index_I), size):
    some = index_I[start : start + size]
    for index, found_YX in zip(
      some, _predicted(source, source.grid(some), state), strict=True
    ):
      truth_YX = target_ITT[index]
      outcomes.append(_outcome(source.head, truth_YX, found_YX(truth_YX.shape)))
  if source.head.is_depth:
    return dense_metrics.mean_rmse(np.stack(outcomes))
  return dense_metrics.mean_iou(dense_metrics.counts(outcomes))


def _predicted(
  source: training_features.TrainingFeatures,
  grid: features.Grid,
  state: dict[str, Any],
) -> Iterator[Callable[[tuple[int, int]], np.ndarray]]:
  """Yield, for each image, a function of a size to its prediction there."""
  head = source.head
  number = len(grid.tokens_bND)
  missing = source.extractor.batch_size - number
  # One compiled program serves the last batch too.
  padded = features.Grid(
    *(np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]) for x in grid)
  )
  made = np.asarray(heads.predict(state, padded, head=head))
  factor = head.upsample if head.is_depth else 1
  for one, (rows, columns) in zip(made[:number], grid.shapes_b2, strict=True):
    place = one[: rows * factor, : columns * factor]
    enlarge = enlarged if head.is_depth else enlarged_labels
    yield lambda shape, place=place, enlarge=enlarge: enlarge(place, *shape)


def enlarged(metres_YX: np.ndarray, height: int, width: int) -> np.ndarray:
  """Return a map at another size, bilinearly: float32 [height, width]."""
  down = maps.bilinear(height, metres_YX.shape[0])
  across = maps.bilinear(width, metres_YX.shape[1])
  return down @ metres_YX @ across.T


def enlarged_labels(
  logits_YXA: np.ndarray, height: int, width: int
) -> np.ndarray:
  """Return the class of the highest logit at another size: int16 [Y, X].

  Logits are enlarged bilinearly; of equal ones, the first class is taken.
  """
  rows, columns, num_classes = logits_YXA.shape
  down, across = maps.bilinear(height, rows), maps.bilinear(width, columns)
  found_YX = np.zeros((height, width), np.int16)
  best_YX = np.full((height, width), -np.inf, np.float32)
  # Class by class: NumPy's argmax over short rows takes several times as long,
  # and the logits of all classes more memory.
  for label in range(num_classes):
    one_YX = down @ logits_YXA[..., label] @ across.T
    np.copyto(found_YX, label, where=one_YX > best_YX)
    np.maximum(best_YX, one_YX, out=best_YX)
  return found_YX


def _outcome(
  head: heads.Head, truth_YX: np.ndarray, predicted_YX: np.ndarray
) -> np.ndarray:
  if head.is_depth:
    return dense_metrics.errors(truth_YX, predicted_YX)
  return dense_metrics.count(truth_YX, predicted_YX, head.num_out)


def _judge(
  opened: dense_set.DenseSet,
  source: training_features.TrainingFeatures,
  checked: checked_maps.CheckedMaps,
  state: dict[str, Any],
  keep: Callable[[int, Prediction], None],
) -> dict[str, Any]:
  """Return the figures of the test images at the sizes of their maps."""
  head, extractor = source.head, source.extractor
  outcomes, constant = [], []
  mean = checked.mean_metres if head.is_depth else 0.0
  with (
    progress.Progress(f"{opened.name}: test images", len(opened.test)) as line,
    futures.ThreadPoolExecutor(max(1, extractor.num_threads)) as pool,
  ):
    done = 0
    for grid in extractor.stream(opened.test):
      some = opened.test[done : done + len(grid.tokens_bND)]
      truths = pool.map(
        lambda item: checked_maps.read_one(item, opened.rule, is_test=True),
        some,
      )
      for item, one, found_fn in zip(
        some, truths, _predicted(source, grid, state), strict=True
      ):
        truth_YX = one.map_YX
        found_YX = found_fn(truth_YX.shape)
        outcomes.append(_outcome(head, truth_YX, found_YX))
        if head.is_depth:
          same_YX = np.full(truth_YX.shape, mean, np.float32)
          constant.append(dense_metrics.errors(truth_YX, same_YX))
        keep(done, Prediction(item, truth_YX, found_YX))
        done += 1
        line.advance()
  if isinstance(opened.rule, dense_set.Classes):
    return dense_metrics.segmentation(
      dense_metrics.counts(outcomes),
      opened.rule.names,
      int(checked.total_A.argmax()),
    )
  return dense_metrics.depth(np.stack(outcomes), np.stack(constant))
