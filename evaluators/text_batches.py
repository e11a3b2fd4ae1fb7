"""Embedding of many texts, the short ones with little padding.

Shape letters as in evaluators/embedding.py; L tokens of the context.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from evaluators import embedding
from models import dual_encoder, text_transformer

# Tokens that texts are cut to, where their tower ignores padding: the prompts
# of ImageNet have 8 to 33. Each length is a program of its own.
_LENGTHS = (8, 12, 16, 24, 32, 48)
# Batches between two calls of `advance`.
_NUM_BATCHES = 16


def embed(
  embedder: embedding.Embedder,
  params: Any,
  tokens_NL: np.ndarray,
  text: dual_encoder.TextConfig | None,
  *,
  advance: Callable[[int], None] = lambda num: None,
) -> np.ndarray:
  """Return float32 ztxt [N, E] on every host, as `embedder.texts` does.

  Texts go through the tower by length, in whole batches of one length, and the
  rest with longer ones: a program is compiled only where it has much to do.

  Args:
    embedder: functions of the model.
    params: parameters of the model.
    tokens_NL: int32 ids padded at the end.
    text: config of the text tower; None for one of which nothing is known.
    advance: called with the number of texts that were embedded.
  """
  step = _NUM_BATCHES * embedder.batch_size

  def embedded(rows_N: np.ndarray, length: int) -> Iterator[np.ndarray]:
    # Whole batches, so that the parts are embedded as all at once would be.
    for first in range(0, len(rows_N), step):
      rows = rows_N[first : first + step]
      yield embedder.texts(params, tokens_NL[rows, :length])
      advance(len(rows))

  if text is None or not text.ignores_padding:
    every = np.arange(len(tokens_NL))
    return np.concatenate([*embedded(every, tokens_NL.shape[1])])
  eot_id = getattr(text, "eot_id", None)
  # A training loop guards against transfers; this one is intended.
  with jax.transfer_guard("allow"):
    length_N = np.asarray(
      text_transformer.lengths(jnp.asarray(tokens_NL), text.pad_id, eot_id)
    )
  order_N = np.argsort(length_N, kind="stable")
  choices = [*(x for x in _LENGTHS if x < tokens_NL.shape[1])]
  choices.append(tokens_NL.shape[1])
  last = int(np.searchsorted(choices, length_N.max()))
  parts, start = [], 0
  for length in choices[: last + 1]:
    end = int(np.searchsorted(length_N[order_N], length, side="right"))
    if length < choices[last]:
      end -= (end - start) % embedder.batch_size
    if end > start:
      parts += embedded(order_N[start:end], length)
      start = end
  z_NE = np.concatenate(parts)
  return z_NE[np.argsort(order_N, kind="stable")]
