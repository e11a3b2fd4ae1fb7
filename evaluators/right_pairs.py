"""Pairs of queries and candidates that are right for each other, from labels.

Labels are integers [Q] or [Q, K] of queries and [M] or [M, K] of candidates; a
query and a candidate that share one are a right pair.
"""

import numpy as np


def columns(labels: np.ndarray) -> np.ndarray:
  """Return labels as [N, K]."""
  return labels if labels.ndim == 2 else labels[:, None]


def check(label_Q: np.ndarray, label_M: np.ndarray) -> None:
  """Raise ValueError where a query has no right candidate."""
  orphans = np.flatnonzero(~np.isin(columns(label_Q), label_M).any(axis=1))
  if orphans.size:
    raise ValueError(
      f"{orphans.size} of {len(label_Q)} queries have no right candidate, the "
      f"first is query {orphans[0]}"
    )


def num_right(label_Q: np.ndarray, label_M: np.ndarray) -> np.ndarray:
  """Return the number of right candidates of each query, [Q].

  Either the queries or the candidates have one label each.

  >>> num_right(np.array([5, 7]), np.array([7, 5, 7]))
  array([1., 2.])
  """
  queries, cands = _distinct(label_Q), _distinct(label_M)
  count = np.bincount(cands[:, 1], minlength=int(label_Q.max()) + 1)
  return np.bincount(queries[:, 0], weights=count[queries[:, 1]])


def pairs(
  label_Q: np.ndarray, label_M: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Return the query and the candidate of each right pair, in order.

  >>> pairs(np.array([[5, 7], [7, 7]]), np.array([7, 5, 7]))
  (array([0, 0, 0, 1, 1]), array([0, 1, 2, 0, 2]))
  """
  queries, cands = _distinct(label_Q), _distinct(label_M)
  cands = cands[np.argsort(cands[:, 1], kind="stable")]
  first, end = (
    np.searchsorted(cands[:, 1], queries[:, 1], side)
    for side in ("left", "right")
  )
  num = end - first
  within = np.arange(num.sum()) - np.repeat(np.cumsum(num) - num, num)
  rows = cands[np.repeat(first, num) + within, 0]
  query_P, cand_P = np.unique(
    np.stack([np.repeat(queries[:, 0], num), rows]), axis=1
  )
  return query_P, cand_P


def _distinct(labels: np.ndarray) -> np.ndarray:
  """Return the distinct pairs of row and label, [N, 2]."""
  labels = columns(labels)
  rows = np.repeat(np.arange(len(labels)), labels.shape[1])
  return np.unique(np.stack([rows, labels.ravel()], axis=1), axis=0)
