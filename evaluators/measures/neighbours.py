"""Retrieval of images by an image: whether the nearest ones have its class."""

from typing import Any

import numpy as np

from evaluators.figures import outcomes
from evaluators.measures import measure
from evaluators.metrics import intervals
from evaluators.probes import nearest

# Numbers of nearest images that figures are of.
KS = (1, 5, 10)


def image_to_image(context: measure.Context) -> measure.Measured:
  """Take each image of a labelled set as a query among all others."""
  from scipy import stats

  part = context.test()
  examples = part.labelled()
  same_QK, others_Q = same_class(examples.x_ND, examples.label_N, max(KS))
  is_query_Q = np.asarray(others_Q > 0)
  if not is_query_Q.any() or len(is_query_Q) <= max(KS):
    raise measure.NotTaken(
      f"it needs more than {max(KS)} images, and a class of two or more; got "
      f"{len(is_query_Q)} images, {int(is_query_Q.sum())} of such classes"
    )
  same_qK, others_q = same_QK[is_query_Q], others_Q[is_query_Q]
  num, num_gallery = len(same_qK), len(is_query_Q) - 1
  record: dict[str, Any] = {"num_examples": num, "intervals": {}}
  chance = {}
  for k in KS:
    hit_q, precision_q = same_qK[:, :k].any(axis=1), same_qK[:, :k].mean(axis=1)
    record |= {
      f"hit@{k}": float(hit_q.mean()),
      f"precision@{k}": float(precision_q.mean()),
    }
    record["intervals"] |= {
      f"hit@{k}": intervals.wilson(int(hit_q.sum()), num).tolist(),
      f"precision@{k}": intervals.clustered(precision_q).tolist(),
    }
    missed_q = stats.hypergeom.pmf(0, num_gallery, others_q, k)
    chance |= {
      f"hit@{k}": float(1 - missed_q.mean()),
      f"precision@{k}": float(others_q.mean() / num_gallery),
    }
  record |= {
    "chance": chance,
    "protocol": {
      "metric_version": outcomes.METRIC_VERSION,
      "features": context.features,
      "gallery": "all other images of the set, by cosine similarity; of equal "
      "ones the first",
      "queries": "images whose class has another one",
      "num_without_another": int((~is_query_Q).sum()),
    },
  }
  return measure.Measured(record)


def same_class(
  x_ND: np.ndarray, label_N: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
  """Return which of the k nearest others have an image's class, bool [N, K].

  Also returns the number of others that have it, int [N].

  >>> x, label = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), [0, 0, 1]
  >>> same_class(x, np.array(label), 1)[0].tolist()
  [[True], [True], [False]]
  """
  num = len(x_ND)
  _, row_NK = nearest.neighbours(x_ND, x_ND, min(k + 1, num))
  # The image itself goes last; where more than k are equal to it, it may not
  # be among them.
  order = np.argsort(row_NK == np.arange(num)[:, None], axis=1, kind="stable")
  row_NK = np.take_along_axis(row_NK, order, axis=1)[:, :k]
  _, index_N, count_A = np.unique(
    label_N, return_inverse=True, return_counts=True
  )
  return label_N[row_NK] == label_N[:, None], count_A[index_N] - 1
