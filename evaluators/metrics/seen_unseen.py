"""Generalised zero-shot: accuracy on seen and on unseen classes, and its mean.

Every image is classified among the union of both, so that a model that always
answers with a class it was trained on has no accuracy on the others. The
harmonic mean 2 S U / (S + U) is low where one of the two is.

Accuracy is the share of images that are right. Where classes differ in size,
the mean over classes that some papers report is another figure.
"""

import numpy as np
import numpy.typing as npt

from evaluators.metrics import classification, intervals, resampling

SEEN, UNSEEN, HARMONIC_MEAN = "seen", "unseen", "harmonic_mean"


def harmonic_mean(seen: npt.ArrayLike, unseen: npt.ArrayLike) -> np.ndarray:
  """Return 2 S U / (S + U), and 0 where both are 0: [...].

  >>> harmonic_mean(0.9, 0.3)
  array(0.45)
  """
  seen, unseen = np.asarray(seen, float), np.asarray(unseen, float)
  total = seen + unseen
  return np.asarray(2 * seen * unseen / np.where(total > 0, total, 1.0))


def figures(
  answers: classification.Answers, is_unseen_A: np.ndarray
) -> dict[str, object]:
  """Return the two accuracies, their harmonic mean, intervals and chance.

  The interval of the harmonic mean is that of two accuracies drawn from
  Jeffreys' posterior of each.

  Args:
    answers: answers among all classes.
    is_unseen_A: bool, the classes that training had no image of.

  Raises:
    ValueError: there is no image of a seen, or of an unseen class.
  """
  right_N, is_unseen_N = answers.right(), is_unseen_A[answers.label_N]
  parts = {SEEN: right_N[~is_unseen_N], UNSEEN: right_N[is_unseen_N]}
  for name, right_n in parts.items():
    if not len(right_n):
      raise ValueError(f"no example has one of the {name} classes")
  shares = {name: float(right_n.mean()) for name, right_n in parts.items()}
  counts = [(int(x.sum()), len(x)) for x in parts.values()]
  rng = resampling.generator(np.array(counts))
  drawn = [
    rng.beta(right + 0.5, num - right + 0.5, intervals.NUM_RESAMPLES)
    for right, num in counts
  ]
  tail = (1 - intervals.LEVEL) / 2
  bound = np.quantile(harmonic_mean(*drawn), [tail, 1 - tail])
  mean = float(harmonic_mean(*shares.values()))
  return {
    "num_seen_classes": int((~is_unseen_A).sum()),
    "num_unseen_classes": int(is_unseen_A.sum()),
    **shares,
    HARMONIC_MEAN: mean,
    "intervals": {
      name: intervals.wilson(*count).tolist()
      for name, count in zip(parts, counts, strict=True)
    }
    # A mean of exactly 0 or 1 lies outside of every drawn pair.
    | {HARMONIC_MEAN: [min(float(bound[0]), mean), max(float(bound[1]), mean)]},
    "chance": dict.fromkeys(
      (SEEN, UNSEEN, HARMONIC_MEAN), 1 / answers.num_classes
    ),
  }
