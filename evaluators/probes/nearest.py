"""Classification by the k nearest neighbours, in blocks of bounded memory.

Features are L2-normalised, so that the nearest have the highest cosine
similarity, in float32. Of equally near neighbours, those of the lowest row come
first; of classes with equal votes, the one of the nearest neighbour is
predicted, and among equally near ones that of the lowest row.

Shape letters beside those of models/layers.py: here N counts training examples,
Q test examples, q those of one block, D features, K neighbours, A classes.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from runtime import checks

# Number of neighbours and temperature of the votes of DINO (arXiv 2104.14294,
# eval_knn.py): 20 "is usually working the best".
K = 20
TEMPERATURE = 0.07

# Test and training examples of a block: 64 MiB of similarities in float32.
_QUERIES = 256
_CANDIDATES = 2**16


def neighbours(
  x_ND: np.ndarray, x_QD: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
  """Return similarities float32 [Q, K], descending, and rows int64 [Q, K].

  Memory beside the features does not grow with N or Q.

  >>> x = np.eye(3, dtype=np.float32)
  >>> neighbours(x, x[:1] + x[1:2] / 2, k=2)[1]
  array([[0, 1]])
  """
  checks.between("k", k, 1, len(x_ND))
  columns = min(len(x_ND), max(k, _CANDIDATES))
  best_sim = np.empty((len(x_QD), 0), np.float32)
  best_row = np.empty((len(x_QD), 0), np.int64)
  # Blocks of candidates in the outer loop, so that each is normalised once.
  for first in range(0, len(x_ND), columns):
    # The last block overlaps, so that all have one shape; what it repeats is
    # masked.
    start = max(0, min(first, len(x_ND) - columns))
    block_ND = _normalised(x_ND[start : start + columns])
    sims, rows = [], []
    for begin in range(0, len(x_QD), _QUERIES):
      part = _normalised(x_QD[begin : begin + _QUERIES])
      short = _QUERIES - len(part)
      sim, row = jax.device_get(
        _top(np.pad(part, ((0, short), (0, 0))), block_ND, first - start, k=k)
      )
      sims.append(sim[: len(part)])
      rows.append(row[: len(part)].astype(np.int64) + start)
    sim = np.concatenate([best_sim, np.concatenate(sims)], axis=1)
    row = np.concatenate([best_row, np.concatenate(rows)], axis=1)
    # Earlier blocks have lower rows, and a stable sort keeps them first.
    order = np.argsort(-sim, axis=1, kind="stable")[:, :k]
    best_sim = np.take_along_axis(sim, order, axis=1)
    best_row = np.take_along_axis(row, order, axis=1)
  return best_sim, best_row


def predict(
  sim_QK: np.ndarray,
  label_QK: np.ndarray,
  *,
  num_classes: int,
  temperature: float | None = TEMPERATURE,
) -> np.ndarray:
  """Return the class with most votes, int64 [Q].

  Args:
    sim_QK: similarities of the neighbours, descending.
    label_QK: their labels.
    num_classes: A.
    temperature: T of a neighbour's vote exp(similarity / T), as DINO's; None
      for one vote each.

  >>> sim = np.array([[0.9, 0.1, 0.1]])
  >>> labels = np.array([[1, 0, 0]])
  >>> predict(sim, labels, num_classes=2).tolist()
  [1]
  >>> predict(sim, labels, num_classes=2, temperature=None).tolist()
  [0]
  """
  if temperature is None:
    vote_QK = np.ones(sim_QK.shape)
  else:
    checks.above("temperature", temperature, 0)
    # Relative to the nearest: no temperature overflows, and no order changes.
    vote_QK = np.exp((sim_QK - sim_QK[:, :1].astype(np.float64)) / temperature)
  # Votes of each neighbour's class, which needs no [Q, A].
  same_QKK = label_QK[:, :, None] == label_QK[:, None, :]
  total_QK = (same_QKK * vote_QK[:, None, :]).sum(axis=2)
  # Equal votes go to the first neighbour's class: argmax returns the first.
  # Sums of floats in another order differ by rounding.
  most_Q1 = total_QK.max(axis=1, keepdims=True)
  first_Q = (total_QK >= most_Q1 * (1 - 1e-9)).argmax(axis=1)
  return np.take_along_axis(label_QK, first_Q[:, None], axis=1)[:, 0]


def classify(
  x_ND: np.ndarray,
  label_N: np.ndarray,
  x_QD: np.ndarray,
  *,
  num_classes: int,
  k: int = K,
  temperature: float | None = TEMPERATURE,
) -> np.ndarray:
  """Return the class of each test example by its `k` neighbours, int64 [Q]."""
  sim_QK, row_QK = neighbours(x_ND, x_QD, k)
  return np.concatenate(
    [
      predict(
        sim_QK[i : i + _QUERIES],
        np.asarray(label_N, np.int64)[row_QK[i : i + _QUERIES]],
        num_classes=num_classes,
        temperature=temperature,
      )
      for i in range(0, len(x_QD), _QUERIES)
    ]
  )


def _normalised(x: np.ndarray) -> np.ndarray:
  x = np.asarray(x, np.float32)
  norm = np.linalg.norm(x, axis=1, keepdims=True)
  return x / np.maximum(norm, np.finfo(np.float32).tiny)


@functools.partial(jax.jit, static_argnames="k")
def _top(x_qD, x_nD, num_masked, *, k):
  """Return the `k` highest similarities and their rows, of equal ones first."""
  sim_qn = jnp.matmul(x_qD, x_nD.T, precision=jax.lax.Precision.HIGHEST)
  is_new_n = jnp.arange(len(x_nD)) >= num_masked
  return jax.lax.top_k(jnp.where(is_new_n, sim_qn, -jnp.inf), k)
