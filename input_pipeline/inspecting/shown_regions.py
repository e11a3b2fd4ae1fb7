"""Regions and targets of a batch's row, for people."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from input_pipeline import pipeline, tokenizers
from input_pipeline.regions import box_tokens


@dataclasses.dataclass(frozen=True)
class Region:
  """A region that the crop shows.

  Attributes:
    box: (left, top, right, bottom) in shares of the image.
    text: caption of it.
    is_chosen: whether the target is about it.
  """

  box: tuple[float, float, float, float]
  text: str
  is_chosen: bool


@dataclasses.dataclass(frozen=True)
class Piece:
  """One id of a target; `kind` is "text", "box" or "mark" (the end)."""

  id: int
  text: str
  kind: str
  weight: float


@dataclasses.dataclass(frozen=True)
class Target:
  """Target of a decoder, without its padding.

  Attributes:
    task: one of box_tokens.TASKS.
    task_id: its id, the first that the decoder reads.
    pieces: ids that follow; those of weight 0 are given.
  """

  task: str
  task_id: int
  pieces: tuple[Piece, ...]


def regions(batch: Mapping[str, Any], row: int) -> tuple[Region, ...]:
  """Return the regions of a row of a batch that has metadata."""
  if "regions" not in batch:
    return ()
  shown = json.loads(str(batch["regions"][row]))
  return tuple(
    Region(tuple(box), text, number == shown["chosen"])
    for number, (box, text) in enumerate(
      zip(shown["boxes"], shown["texts"], strict=True)
    )
  )


def targets(
  config: pipeline.DataConfig,
  tokenizer: tokenizers.Tokenizer,
  batch: Mapping[str, Any],
  row: int,
) -> tuple[Target, ...]:
  """Return the targets of a row; () without data.regions."""
  if not config.regions.is_on:
    return ()
  vocabulary = config.regions.vocabulary(config.vocab_size)
  length = config.regions.num_tokens
  tokens, ids, weights = (
    batch[f"decoder_{name}"][row].reshape(-1, length)
    for name in ("tokens", "targets", "weights")
  )
  made = []
  for first, own, own_weights in zip(tokens[:, 0], ids, weights, strict=True):
    predicted = own_weights.nonzero()[0]
    # Behind the last predicted id is padding.
    end = int(predicted[-1]) + 1 if len(predicted) else 0
    pieces = [
      _piece(vocabulary, tokenizer, int(id), float(weight))
      for id, weight in zip(own[:end], own_weights[:end], strict=True)
    ]
    task = vocabulary.name(int(first))
    made.append(Target(task, int(first), tuple(pieces)))
  return tuple(made)


def _piece(
  vocabulary: box_tokens.Vocabulary,
  tokenizer: tokenizers.Tokenizer,
  id: int,
  weight: float,
) -> Piece:
  if name := vocabulary.name(id):
    return Piece(id, name, "box", weight)
  if id == tokenizer.eos_id:
    return Piece(id, "end", "mark", weight)
  return Piece(id, tokenizer.codec.decode([id]), "text", weight)
