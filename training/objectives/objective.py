"""Objective: one kind of training, as functions of parameters and a batch."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

# Pytrees; each objective's file gives their types.
Params = Any
Stats = Any
Batch = Any
Embeddings = Any
# ((float32 scalar loss, new running statistics), gradient like the parameters)
LossAndGrads = tuple[tuple[jax.Array, Stats], Params]
# (objective, params, stats, batch) -> LossAndGrads
GradientFn = Callable[["Objective", Params, Stats, Batch], LossAndGrads]


@dataclasses.dataclass(frozen=True)
class Objective:
  """Batch, model and loss of a kind of training, for the mesh in use.

  Attributes:
    batch: global batch as a dataclass of ShapeDtypeStructs [B, ...]. Its field
      `tokens` is int32 [B, L], its field `keys` holds a random key a row, or
      None.
    batch_of: arrays by name, as the loader yields them -> batch.
    embed: (params, stats, batch) -> (embeddings, new running statistics), of
      any part of the batch.
    embed_locked: (params, stats, batch) -> embeddings, normalised by the
      running statistics, as locked towers are.
    loss: (params, embeddings, batch) -> float32 scalar; needs the embeddings of
      all rows.
    parts: name -> one of the losses that `loss` sums, with its weight; {} for
      a single loss.
    gradient: plain case, the whole batch at once. It calls `embed` and `loss`
      of the objective that it is called with: gradients.py wraps it.
    metrics: params -> {name: float32 scalar}, logged with each step.
    init_params: key -> new variables, parameters and running statistics.
    draws: whether training draws random numbers: the batch gets keys.
    averaged: params -> the part of them that TrainState.ema averages; None for
      an objective without a teacher.
    bind: averages -> the objective whose `embed` reads them as its teacher.
    measured: what `embed` returns as new statistics -> these alone, and
      {name: float32 scalar} of the batch, logged with each step.
    prepare: draws that need the whole batch, such as negatives from other rows:
      batch with keys -> batch, before `gradient` and all that wraps it.
  """

  batch: Batch
  batch_of: Callable[[dict[str, Any]], Batch]
  embed: Callable[[Params, Stats, Batch], tuple[Embeddings, Stats]]
  embed_locked: Callable[[Params, Stats, Batch], Embeddings]
  loss: Callable[[Params, Embeddings, Batch], jax.Array]
  gradient: GradientFn
  metrics: Callable[[Params], dict[str, jax.Array]]
  init_params: Callable[[jax.Array], Any]
  draws: bool
  parts: Mapping[str, Callable[[Params, Embeddings, Batch], jax.Array]] = (
    dataclasses.field(default_factory=dict)
  )
  prepare: Callable[[Batch], Batch] = lambda batch: batch
  averaged: Callable[[Params], Params] | None = None
  bind: Callable[[Params], "Objective"] | None = None
  measured: Callable[[Stats], tuple[Stats, dict[str, jax.Array]]] = (
    lambda stats: (stats, {})
  )
