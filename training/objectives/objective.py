"""Objective: one kind of training, as functions of parameters and a batch."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

# Pytrees; each objective's file gives their types.
Params = Any
Stats = Any
Batch = Any
Embeddings = Any


@dataclasses.dataclass(frozen=True)
class Objective:
  """Batch, model and loss of a kind of training, for the mesh in use.

  The forward pass is cut in two: a batch may be embedded in parts
  (gradient_cache.py), but its loss needs the embeddings of all rows.

  Attributes:
    batch: global batch as a dataclass of ShapeDtypeStructs [B, ...]. Its field
      `tokens` is int32 [B, L], its field `keys` holds a random key a row, or
      None.
    batch_of: arrays by name, as the loader yields them -> batch.
    embed: (params, stats, batch) -> (embeddings, new running statistics).
    embed_locked: (params, stats, batch) -> embeddings, normalised by the
      running statistics, as locked towers are.
    loss: (params, embeddings, batch) -> float32 scalar.
    metrics: params -> {name: float32 scalar}, logged with each step.
  """

  batch: Batch
  batch_of: Callable[[dict[str, Any]], Batch]
  embed: Callable[[Params, Stats, Batch], tuple[Embeddings, Stats]]
  embed_locked: Callable[[Params, Stats, Batch], Embeddings]
  loss: Callable[[Params, Embeddings, Batch], jax.Array]
  metrics: Callable[[Params], dict[str, jax.Array]]

  def forward(
    self, params: Params, stats: Stats, batch: Batch
  ) -> tuple[jax.Array, Stats]:
    """Return the loss of a whole batch, and the new running statistics."""
    embeddings, new_stats = self.embed(params, stats, batch)
    return self.loss(params, embeddings, batch), new_stats
