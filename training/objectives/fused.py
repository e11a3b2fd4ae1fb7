"""Batches, drawn parts and losses that ClipBERT's and METER's training share.

Tasks (models/fusion/fusion_config.py):

  pretraining  masked words and matching, of images; half of the texts are those
               of other images, whose words are not predicted
  retrieval    matching of a video's own text and of random other ones
  answers      cross-entropy over answers
  choices      cross-entropy over texts "question option" of a video
  vqa          binary cross-entropy over answers, of soft scores

Masked words weigh alike: ClipBERT's released code averages their loss over all
tokens, of which about a seventh are masked, and weighs it the less.

Shape letters beside those of models/layers.py: P clips of a video, T frames of
a clip, Q texts of a row, A outputs, M answers of humans.
"""

import dataclasses
import functools
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from losses import answers, clips, masked_words
from models import batch_norm, layers
from models.fusion import fusion_config
from training import config as config_lib
from training.objectives import negatives
from training.objectives import objective as objective_lib

# Random streams of a row beside that of the model.
_MODEL, _NEGATIVES, _IS_NEGATIVE, _WORDS = range(4)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
  """Rows of images or videos with texts, split over the mesh's batch axes.

  Attributes:
    images: uint8 [B, P, T, Y, X, 3], P clips of T frames; 1 and 1 for images.
    tokens: int32 [B, L], or [B, Q, L]: choices, and a text with negatives.
    labels: int32 [B], the right answer or choice, -1 where the vocabulary lacks
      it; for vqa [B, M], answers of humans, -1 fills up; None for others.
    scores: float32 [B, M], soft accuracy of the answers of vqa; else None.
    groups: int32 [B], image or video of each row, never a negative of itself;
      None where all differ.
    words: int32 [B, L], labels of masked words, drawn; else None.
    matches: int32 [B, Q], whether a text is of its row, drawn; else None.
    weights: float32 [B, Q], 0 for a text that stands for none; else None.
    keys: random key of each row, [B]; None in evaluation.
  """

  images: Any
  tokens: Any
  labels: Any = None
  scores: Any = None
  groups: Any = None
  words: Any = None
  matches: Any = None
  weights: Any = None
  keys: Any = None

  @property
  def model_keys(self) -> Any:
    """Keys for the model's own draws, or None."""
    return None if self.keys is None else layers.fold_in(self.keys, _MODEL)

  @property
  def tokens_bQL(self) -> Any:
    """Tokens with an axis of texts."""
    return self.tokens if self.tokens.ndim == 3 else self.tokens[:, None]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pretraining:
  """Rows of pre-training, in place of embeddings.

  Attributes:
    loss_b: float32 sum of the losses of a row's masked words.
    num_words_b: float32, their number.
    matching_b2: float32 logits: of another image (0), of this image (1).
  """

  loss_b: jax.Array
  num_words_b: jax.Array
  matching_b2: jax.Array


def batch_of(arrays: Mapping[str, Any]) -> Batch:
  """Return the batch of arrays by name; images [B, Y, X, 3] are one clip."""
  images = arrays["images"]
  if len(images.shape) == 4:
    images = images.reshape(len(images), 1, 1, *images.shape[1:])
  return Batch(**{**arrays, "images": images})


def shapes(config: config_lib.Config) -> Batch:
  """Return the global batch as ShapeDtypeStructs."""
  fusion, size = config.fusion, config.data.image_size
  video = config.data.video
  clips_and_frames = (video.clips, video.frames) if video.is_on else (1, 1)
  length = config.data.num_tokens
  of_fields: dict[str, tuple[tuple[int, ...], Any]] = {
    "images": ((*clips_and_frames, size, size, 3), np.uint8),
    "tokens": ((length,), np.int32),
  }
  if fusion.has_matching:
    of_fields["groups"] = (), np.int32
  elif fusion.task == fusion_config.VQA:
    of_fields["labels"] = (fusion.num_labels,), np.int32
    of_fields["scores"] = (fusion.num_labels,), np.float32
  else:
    of_fields["labels"] = (), np.int32
  if fusion.task == fusion_config.CHOICES:
    of_fields["tokens"] = (fusion.num_choices, length), np.int32
  return Batch(
    **{
      name: jax.ShapeDtypeStruct((config.batch_size, *shape), dtype)
      for name, (shape, dtype) in of_fields.items()
    }
  )


def prepare(config: config_lib.Config, batch: Batch) -> Batch:
  """Draw the negatives and the masked words of a whole batch."""
  fusion = config.fusion
  stream = functools.partial(layers.fold_in, batch.keys)
  if fusion.task == fusion_config.RETRIEVAL:
    return _with_negatives(batch, stream(_NEGATIVES), fusion.num_negatives)
  if fusion.task != fusion_config.PRETRAINING:
    return batch
  assert config.model.text is not None  # training/config.py refuses None
  batch = _with_other_texts(
    batch,
    stream(_NEGATIVES),
    stream(_IS_NEGATIVE),
    share=fusion.negative_share,
  )
  tokens_BL, words_BL = masked_words.draw(
    batch.tokens,
    stream(_WORDS),
    probability=fusion.mask_share,
    mask_id=fusion.mask_id,
    kept_ids=fusion.kept_ids,
    vocab_size=config.model.text.vocab_size,
  )
  # Another image's text says nothing of this one: its words are masked, so that
  # masks do not tell of it, but not predicted.
  words_BL = jnp.where(batch.matches == 1, words_BL, masked_words.IGNORED)
  return dataclasses.replace(batch, tokens=tokens_BL, words=words_BL)


def _with_negatives(
  batch: Batch, keys_B: jax.Array, num_negatives: int
) -> Batch:
  """Add texts of other rows behind each row's own."""
  row_BQ, is_there_BQ = negatives.draw(keys_B, batch.groups, num_negatives)
  own_B1 = jnp.ones((len(row_BQ), 1))
  texts = [batch.tokens[:, None], batch.tokens[row_BQ]]
  matches_BQ = jnp.concatenate([own_B1, jnp.zeros(row_BQ.shape)], axis=1)
  return dataclasses.replace(
    batch,
    tokens=jnp.concatenate(texts, axis=1),
    matches=matches_BQ.astype(jnp.int32),
    weights=jnp.concatenate([own_B1, is_there_BQ], axis=1),
    groups=None,
  )


def _with_other_texts(
  batch: Batch, keys_B: jax.Array, choice_B: jax.Array, *, share: float
) -> Batch:
  """Replace the texts of a share of the rows by those of other rows."""
  row_B1, is_there_B1 = negatives.draw(keys_B, batch.groups, 1)
  is_other_B = jax.vmap(lambda key: jax.random.bernoulli(key, share))(choice_B)
  is_other_B &= is_there_B1[:, 0]
  other_BL = batch.tokens[row_B1[:, 0]]
  return dataclasses.replace(
    batch,
    tokens=jnp.where(is_other_B[:, None], other_BL, batch.tokens),
    matches=(~is_other_B).astype(jnp.int32)[:, None],
    groups=None,
  )


def pretrained(
  words_bLV: jax.Array, matching_b2: jax.Array, batch: Batch
) -> Pretraining:
  """Return what the loss needs of a row, smaller than the logits of words."""
  losses = masked_words.cross_entropy(words_bLV, batch.words)
  return Pretraining(*losses, matching_b2)


def answer_fn(config: config_lib.Config, objective: objective_lib.Objective):
  """Return (variables, batch) -> the logits of videos, float32.

  They are [b, A] for answers and vqa, [b, Q] for choices, and [b, Q, 2] for
  retrieval, aggregated over clips.

  Args:
    config: config of the objective, of another task than pre-training.
    objective: objective of the config.
  """
  fusion = config.fusion

  def answer(variables, batch: Batch):
    params, stats = batch_norm.split(variables)
    logits_bQPA = objective.embed_locked(params, stats, batch)
    b, num_texts = logits_bQPA.shape[:2]
    logits_RA = clips.aggregate(
      logits_bQPA.reshape(b * num_texts, *logits_bQPA.shape[2:]),
      fusion.aggregate,
    )
    logits_bQA = logits_RA.reshape(b, num_texts, -1)
    if fusion.task == fusion_config.RETRIEVAL:
      return logits_bQA
    if fusion.task == fusion_config.CHOICES:
      return logits_bQA[..., 0]
    return logits_bQA[:, 0]

  return answer


def pretraining_fn(
  config: config_lib.Config, objective: objective_lib.Objective, seed: int
):
  """Return (variables, batch) -> what pre-training is judged by, each [B].

  These are the sum of the losses of a row's masked words, their number, and
  bool: whether matching is recognised, and whether the text is the image's own.
  Negatives and masks are those of `seed` and of batch.groups, numbers of the
  rows; nothing is dropped.

  Args:
    config: config of the objective, of pre-training.
    objective: objective of the config.
    seed: seed of the draws, the same for each batch.
  """

  def judge(variables, batch: Batch):
    params, stats = batch_norm.split(variables)
    fold_in = functools.partial(jax.random.fold_in, jax.random.key(seed))
    keys_B = jax.vmap(fold_in)(batch.groups)
    drawn = prepare(config, dataclasses.replace(batch, keys=keys_B))
    drawn = dataclasses.replace(drawn, keys=None)
    outputs = objective.embed_locked(params, stats, drawn)
    match_B = drawn.matches[:, 0] == 1
    right_B = (jnp.argmax(outputs.matching_b2, axis=1) == 1) == match_B
    return outputs.loss_b, outputs.num_words_b, right_B, match_B

  return judge


def _pretraining_loss(outputs: Pretraining, batch: Batch, how: str):
  del how
  num_words = jnp.maximum(jnp.sum(outputs.num_words_b), 1)
  matching_b = optax.softmax_cross_entropy_with_integer_labels(
    outputs.matching_b2, batch.matches[:, 0]
  )
  return jnp.sum(outputs.loss_b) / num_words + jnp.mean(matching_b)


def _retrieval_loss(logits_bQPA: jax.Array, batch: Batch, how: str):
  rows = (-1, *logits_bQPA.shape[2:])
  loss_R = clips.cross_entropy(
    logits_bQPA.reshape(rows), batch.matches.reshape(-1), how
  )
  return answers.weighted_mean(loss_R, batch.weights.reshape(-1))


def _answers_loss(logits_bQPA: jax.Array, batch: Batch, how: str):
  return _labelled(logits_bQPA[:, 0], batch, how)


def _choices_loss(logits_bQPA: jax.Array, batch: Batch, how: str):
  # The choices of a clip are its outputs.
  return _labelled(jnp.swapaxes(logits_bQPA[..., 0], 1, 2), batch, how)


def _labelled(logits_bPA: jax.Array, batch: Batch, how: str):
  is_known_b = batch.labels >= 0
  loss_b = clips.cross_entropy(
    logits_bPA, jnp.where(is_known_b, batch.labels, 0), how
  )
  return answers.weighted_mean(loss_b, is_known_b.astype(jnp.float32))


def _vqa_loss(logits_bQPA: jax.Array, batch: Batch, how: str):
  logits_bA = clips.aggregate(logits_bQPA[:, 0], how)
  target_bA = answers.soft_targets(
    batch.labels, batch.scores, logits_bA.shape[1]
  )
  return jnp.mean(answers.soft_binary(logits_bA, target_bA))


# Task -> (outputs of rows, batch, aggregation of clips) -> float32 scalar.
# Outputs are logits [B, Q, P, A], or `Pretraining`.
LOSSES: Mapping[str, Callable[[Any, Batch, str], jax.Array]] = (
  types.MappingProxyType(
    {
      fusion_config.PRETRAINING: _pretraining_loss,
      fusion_config.RETRIEVAL: _retrieval_loss,
      fusion_config.ANSWERS: _answers_loss,
      fusion_config.CHOICES: _choices_loss,
      fusion_config.VQA: _vqa_loss,
    }
  )
)
