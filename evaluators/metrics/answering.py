"""Answers to closed and open questions: exact match, routing, a baseline.

A question is right where its answer is the annotated one, word by word, by the
head that the router chose: a wrong route is a wrong answer. Whether a question
is closed or open is the annotation's; the released code of QCR divides by the
number of questions that were routed so.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluators.metrics import intervals

# Type of a question -> its name.
TYPES = ("closed", "open")
KIND = "answers"
# Kind of a router alone.
ROUTING = "routing"


def record(
  right_N: np.ndarray,
  type_N: np.ndarray,
  guessed_N: np.ndarray,
  routed_N: np.ndarray | None = None,
) -> dict[str, Any]:
  """Return figures, Wilson's intervals and chance, for results.json.

  Args:
    right_N: bool, whether each question is answered right.
    type_N: index in TYPES.
    guessed_N: bool, whether `guesses` answers it right.
    routed_N: bool, whether the router chose the head of its type; None without
      a router.

  >>> made = record(*np.array([[1, 0, 1], [0, 0, 1], [1, 0, 0]]))
  >>> made["overall"], made["closed"], made["open"], made["chance"]["closed"]
  (0.6666666666666666, 0.5, 1.0, 0.5)
  """
  figures, chance, bounds, sizes = {}, {}, {}, {}

  def add(name: str, value_N: np.ndarray, rows_N: np.ndarray) -> None:
    num_rows = int(rows_N.sum())
    if not num_rows:
      return
    num_right = int(value_N[rows_N].sum())
    figures[name] = num_right / num_rows
    bounds[name] = intervals.wilson(num_right, num_rows).tolist()

  rows = {"overall": np.ones(len(type_N), bool)}
  rows |= {name: type_N == i for i, name in enumerate(TYPES)}
  for name, rows_N in rows.items():
    add(name, right_N, rows_N)
    if name in figures:
      chance[name] = float(np.mean(guessed_N[rows_N]))
      sizes[name] = int(rows_N.sum())
  if routed_N is not None:
    add("routing", routed_N, rows["overall"])
    chance["routing"] = _most_frequent(type_N)
    sizes["routing"] = len(type_N)
  return {
    "kind": KIND,
    **figures,
    "num_questions": sizes,
    "chance": chance,
    "intervals": bounds,
  }


def routing_record(routed_N: np.ndarray, type_N: np.ndarray) -> dict[str, Any]:
  """Return the figures of a router alone, for results.json.

  Chance is the share of the most frequent type.

  Args:
    routed_N: bool, whether the router says the type of each question.
    type_N: index in TYPES.

  >>> made = routing_record(np.array([1, 1, 1, 0]), np.array([0, 0, 0, 1]))
  >>> made["routing"], made["chance"]["routing"], made["num_questions"]
  (0.75, 0.75, {'routing': 4})
  """
  num_right = int(np.sum(routed_N))
  return {
    "kind": ROUTING,
    "routing": num_right / len(type_N),
    "num_questions": {"routing": len(type_N)},
    "chance": {"routing": _most_frequent(type_N)},
    "intervals": {"routing": intervals.wilson(num_right, len(type_N)).tolist()},
  }


def _most_frequent(type_N: np.ndarray) -> float:
  return max(float(np.mean(type_N == i)) for i in range(len(TYPES)))


def guesses(answers: Sequence[str], types: Sequence[int]) -> Mapping[int, str]:
  """Return the most frequent answer of each type, the first of several.

  Args:
    answers: answers of training.
    types: index in TYPES of each.

  >>> guesses(["yes", "no", "no", "left"], [0, 0, 0, 1])
  {0: 'no', 1: 'left'}
  """
  made = {}
  for kind in sorted(set(types)):
    listed, count = np.unique(
      [a for a, t in zip(answers, types, strict=True) if t == kind],
      return_counts=True,
    )
    made[kind] = str(listed[count.argmax()])
  return made
