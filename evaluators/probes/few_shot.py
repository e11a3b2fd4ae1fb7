"""Few-shot classification: ridge regression, SimpleShot and nearest mean.

Shots are the first examples of each class in the order of a hash of their UIDs
and a seed, so that they do not depend on the order of the examples, and a
number of shots holds those of every smaller number. A class with fewer examples
gives all it has.

Shape letters beside those of models/layers.py: here N counts shots, Q test
examples, D features, A classes.
"""

import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from evaluators.probes import examples as examples_lib
from runtime import checks

# Constants of big_vision's evaluators/fewshot_lsr.py and its configs: numbers
# of shots, seeds, strength of the penalty, and the constant feature that makes
# a bias almost free of it.
SHOTS = (1, 5, 10, 25)
NUM_SEEDS = 3
L2 = 2.0**10
_BIAS = 100.0
# Added to a standard deviation, ibid.
_EPSILON = 1e-5

METHODS = ("ridge", "simple_shot", "nearest_mean")


def choose(
  examples: examples_lib.Examples, num_shots: int, seed: int
) -> np.ndarray:
  """Return rows of the first `num_shots` of each class by hash, ascending."""
  rows = examples_lib.by_hash(examples, f"shots {seed}")
  return np.sort(np.concatenate([part[:num_shots] for part in rows]))


def ridge(
  x_ND: np.ndarray,
  label_N: np.ndarray,
  x_QD: np.ndarray,
  *,
  num_classes: int,
  l2: float = L2,
) -> np.ndarray:
  """Return scores of ridge regression, float64 [Q, A].

  Features have the mean and standard deviation of the shots removed; targets
  are 1 for the label and -1 for other classes. The closed form is that of the
  smaller of both Gram matrices, by its eigenvalues, in float64.

  >>> x = np.array([[0.0], [1.0]])
  >>> ridge(x, np.array([0, 1]), x, num_classes=2).argmax(axis=1)
  array([0, 1])
  """
  x_ND = x_ND.astype(np.float64)
  mean_D, std_D = x_ND.mean(axis=0), x_ND.std(axis=0) + _EPSILON

  def scaled(x):
    return np.pad((x - mean_D) / std_D, ((0, 0), (0, 1)), constant_values=_BIAS)

  x_NF = scaled(x_ND)
  target_NA = np.where(label_N[:, None] == np.arange(num_classes), 1.0, -1.0)
  if len(x_NF) >= x_NF.shape[1]:
    eigenvalues, q = np.linalg.eigh(x_NF.T @ x_NF)
    w_FA = (q / (eigenvalues + l2)) @ (q.T @ (x_NF.T @ target_NA))
  else:
    eigenvalues, q = np.linalg.eigh(x_NF @ x_NF.T)
    w_FA = x_NF.T @ ((q / (eigenvalues + l2)) @ (q.T @ target_NA))
  return scaled(x_QD.astype(np.float64)) @ w_FA


def nearest_mean(
  x_ND: np.ndarray, label_N: np.ndarray, x_QD: np.ndarray, *, num_classes: int
) -> np.ndarray:
  """Return minus squared distances to the means of classes, float64 [Q, A].

  The score of a class without shots is -inf.
  """
  x_ND, x_QD = x_ND.astype(np.float64), x_QD.astype(np.float64)
  count_A = np.bincount(label_N, minlength=num_classes)
  sum_AD = np.zeros((num_classes, x_ND.shape[1]))
  np.add.at(sum_AD, label_N, x_ND)
  mean_AD = sum_AD / np.maximum(count_A, 1)[:, None]
  score_QA = 2 * x_QD @ mean_AD.T - (mean_AD**2).sum(axis=1)
  score_QA -= (x_QD**2).sum(axis=1, keepdims=True)
  return np.where(count_A, score_QA, -np.inf)


def simple_shot(
  x_ND: np.ndarray, label_N: np.ndarray, x_QD: np.ndarray, *, num_classes: int
) -> np.ndarray:
  """Return scores of SimpleShot's CL2N (arXiv 1911.04623), float64 [Q, A].

  Features have the mean of the shots subtracted and are L2-normalised; a class
  is the mean of its shots, and its score minus the squared distance to it.
  """
  mean_D = x_ND.mean(axis=0, dtype=np.float64)

  def normalised(x):
    x = x - mean_D
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)

  return nearest_mean(
    normalised(x_ND), label_N, normalised(x_QD), num_classes=num_classes
  )


def evaluate(
  train: examples_lib.Examples,
  test: examples_lib.Examples,
  *,
  num_classes: int,
  shots: Sequence[int] = SHOTS,
  num_seeds: int = NUM_SEEDS,
  methods: Sequence[str] = METHODS,
  l2: float = L2,
) -> dict[str, dict[str, Mapping[str, object]]]:
  """Return the accuracy of each method and number of shots, over seeds.

  Of equal scores, the class of the lowest number is predicted.

  Returns:
    {method: {"5_shot": {"top_1": mean over seeds, "std": standard deviation
    over seeds (n - 1; 0 for one seed), "min", "max", "seeds": accuracies,
    "num_examples": shots of all classes, "short_classes": number of classes
    with fewer examples}}}
  """
  with checks.collected():
    for field, value in (("train", train), ("test", test)):
      value.check(field, num_classes)
    checks.at_least("num_seeds", num_seeds, 1)
    checks.above("l2", l2, 0)
    for number in shots:
      checks.at_least("shots", number, 1)
    for method in methods:
      checks.one_of("methods", method, METHODS)
  functions = {
    "ridge": lambda *args, **kwargs: ridge(*args, **kwargs, l2=l2),
    "simple_shot": simple_shot,
    "nearest_mean": nearest_mean,
  }
  results: dict[str, dict[str, Mapping[str, object]]] = {m: {} for m in methods}
  for number in shots:
    chosen = [
      train.take(choose(train, number, seed)) for seed in range(num_seeds)
    ]
    count_A = np.bincount(chosen[0].label_N, minlength=num_classes)
    for method in methods:
      tops = []
      for part in chosen:
        score_QA = functions[method](
          part.x_ND, part.label_N, test.x_ND, num_classes=num_classes
        )
        tops.append(float(np.mean(score_QA.argmax(axis=1) == test.label_N)))
      results[method][f"{number}_shot"] = {
        "top_1": statistics.fmean(tops),
        "std": statistics.stdev(tops) if num_seeds > 1 else 0.0,
        "min": min(tops),
        "max": max(tops),
        "seeds": tops,
        "num_examples": int(count_A.sum()),
        "short_classes": int((count_A < number).sum()),
      }
  return results
