"""Figures of pre-training: masked words, and whether a text is of its image."""

import math
from typing import Any

import numpy as np

from evaluators.metrics import intervals

KIND = "pretraining"
FIGURES = ("words_loss", "matching_accuracy")


def record(
  loss_N: np.ndarray,
  num_words_N: np.ndarray,
  right_N: np.ndarray,
  match_N: np.ndarray,
  *,
  vocab_size: int,
) -> dict[str, Any]:
  """Return the figures of held-out rows, for results.json.

  Args:
    loss_N: sum of the cross-entropies of a row's masked words, in nats.
    num_words_N: number of these words.
    right_N: bool, whether it is recognised that a row's text is of its image,
      or of another one.
    match_N: bool, whether it is of its image.
    vocab_size: entries of the vocabulary, of which chance takes any.

  Raises:
    ValueError: there is no row, or no masked word.

  >>> ones = np.ones(2)
  >>> made = record(ones, ones, np.array([1, 0]), ones, vocab_size=8)
  >>> made["words_loss"], made["matching_accuracy"]
  (1.0, 0.5)
  """
  num_words = int(np.sum(num_words_N))
  if not num_words:
    raise ValueError(
      "rows of pre-training must have masked words to be judged by; got"
      f" {len(loss_N)} rows without any"
    )
  share = float(np.mean(match_N))
  right = np.asarray(right_N, bool)
  return {
    "kind": KIND,
    "words_loss": float(np.sum(loss_N)) / num_words,
    "matching_accuracy": float(right.mean()),
    "num_rows": len(right),
    "num_words": num_words,
    "chance": {
      "words_loss": math.log(vocab_size),
      # The more frequent of the two is always said.
      "matching_accuracy": max(share, 1 - share),
    },
    "intervals": {
      "matching_accuracy": intervals.wilson(
        int(right.sum()), len(right)
      ).tolist()
    },
  }
