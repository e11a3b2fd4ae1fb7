"""ClipBERT (arXiv 2102.06183): clips of a video and texts in one BERT.

Frames are encoded by a ResNet; its cells are averaged over the frames of a
clip, get positions and stand behind the text's tokens. BERT fuses both, and a
head reads its pooled first token. Each clip is fused by itself; losses/clips.py
aggregates their logits.

Differences from the released code, where the paper is silent: the cells that
pre-training keeps are drawn for each example, not for a batch, and attention
weights are not dropped, as in models/bert.py.

Shape letters beside those of models/layers.py: P clips of a video, T frames of
a clip, Q texts of a video, R rows (one a video, text and clip), A outputs.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from models import (
  batch_norm,
  bert,
  convolution,
  dual_encoder,
  layers,
  stack,
  tower,
)
from models.fusion import grid as grid_lib
from models.fusion import heads
from runtime import checks, marks

# Ratio of image side to the cells that BERT sees: those of the ResNet, pooled.
STRIDE = 2 * grid_lib.STRIDE
# Hidden width of the head, in widths of BERT.
_HIDDEN = 2
# Random streams of a row beside those of BERT's layers.
_TEXT, _VISUAL, _CELLS, _HEAD = range(4)


@dataclasses.dataclass(frozen=True)
class ClipBertConfig:
  """Fields of `config.fusion.clipbert`; configs/parts/fusion.py explains them.

  Text, type of the arithmetic and rematerialisation are those of config.model.
  """

  num_rows: marks.Fixed[int] = 100
  num_columns: marks.Fixed[int] = 100
  sampled_cells: marks.Training[int] = 0

  def check(self, image_size: int) -> None:
    """Raise ValueError where the fields do not fit images of this size."""
    side = image_size // STRIDE
    if side < 1:
      checks.refuse(
        f"data.image_size must be at least {STRIDE} with"
        f' fusion.kind="clipbert"; got {image_size}'
      )
    for field in ("num_rows", "num_columns"):
      checks.at_least(f"fusion.clipbert.{field}", getattr(self, field), side)
    checks.at_least("fusion.clipbert.sampled_cells", self.sampled_cells, 0)


class VisualTokens(nnx.Module):
  """Feature maps of a clip's frames to tokens of BERT."""

  def __init__(
    self,
    config: ClipBertConfig,
    num_in: int,
    text: bert.BertConfig,
    *,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    width = text.width
    normal = jax.nn.initializers.normal(0.02)  # as the tables of models/bert.py
    self.encoder = convolution.Conv(num_in, width, 3, dtype=dtype, rngs=rngs)
    self.row = nnx.Param(normal(rngs.params(), (config.num_rows, width)))
    self.column = nnx.Param(normal(rngs.params(), (config.num_columns, width)))
    self.type_embedding = nnx.Param(normal(rngs.params(), (1, width)))
    self.norm = layers.LayerNorm(width, epsilon=text.norm_epsilon, dtype=dtype)
    self.sampled_cells = config.sampled_cells
    self.dropout = text.dropout

  def encode(self, x_bYXC: jax.Array) -> jax.Array:
    """Return cells of 64 pixels of frames, [b, Y / 2, X / 2, D]."""
    x_bYXD = convolution.max_pool(self.encoder(x_bYXC), 2, stride=2, padding=0)
    return jax.nn.relu(x_bYXD)

  def __call__(
    self,
    x_bYXD: jax.Array,
    keys_b: jax.Array | None = None,
    sampling_keys_b: jax.Array | None = None,
  ) -> jax.Array:
    """Return tokens [b, N, D] of cells, averaged over frames before.

    Args:
      x_bYXD: cells of clips.
      keys_b: one key a row, for dropout; None in evaluation.
      sampling_keys_b: one key a row, for the cells that training keeps.
    """
    b, height, width, dim = x_bYXD.shape
    position_YXD = self.row[:height, None] + self.column[None, :width]
    x_bYXD = x_bYXD + position_YXD.astype(x_bYXD.dtype)
    x_bND = x_bYXD.reshape(b, height * width, dim)
    if sampling_keys_b is not None and self.sampled_cells:
      cell_bN1 = draw_cells(
        sampling_keys_b, height * width, self.sampled_cells
      )[:, :, None]
      x_bND = jnp.take_along_axis(x_bND, cell_bN1, axis=1)
    x_bND = self.norm(x_bND + self.type_embedding[...].astype(x_bND.dtype))
    return drop(x_bND, keys_b, self.dropout)


class ClipBert(nnx.Module):
  """ResNet, BERT and the heads of one task."""

  def __init__(
    self,
    config: ClipBertConfig,
    cnn: grid_lib.GridConfig,
    model: dual_encoder.ModelConfig,
    *,
    num_out: int,
    rngs: nnx.Rngs,
    batch_axes: tuple[str, ...] = (),
  ):
    """Make the parameters.

    Args:
      config: checked.
      cnn: checked.
      model: model whose text tower, a BERT with pool="pooler", and whose
        arithmetic are used; its image tower is not made.
      num_out: outputs of the head; 0 makes the heads of pre-training, of masked
        words and of matching, instead.
      rngs: random stream "params".
      batch_axes: as in stack.encode.
    """
    text = model.text
    assert isinstance(text, bert.BertConfig)  # checked with the config
    dtype = model.dtype
    self.cnn = grid_lib.GridResNet(cnn, dtype=dtype, rngs=rngs)
    self.visual = VisualTokens(
      config, cnn.out_width, text, dtype=dtype, rngs=rngs
    )
    self.settings = tower.Settings(
      embed_dim=text.width,
      mean=model.image_mean,
      std=model.image_std,
      dtype=dtype,
      remat=model.remat,
      remat_chunks=model.remat_chunks,
      batch_axes=batch_axes,
    )
    self.txt = bert.Bert(text, self.settings, rngs=rngs)
    self.answers = (
      heads.AnswerHead(
        text.width, _HIDDEN * text.width, num_out, dtype=dtype, rngs=rngs
      )
      if num_out
      else None
    )
    self.words = (
      heads.WordHead(
        text.width,
        text.vocab_size,
        activation=text.activation,
        norm_epsilon=text.norm_epsilon,
        dtype=dtype,
        rngs=rngs,
      )
      if not num_out
      else None
    )
    self.matching = (
      layers.Dense(text.width, 2, dtype=dtype, rngs=rngs)
      if not num_out
      else None
    )
    self.config = config

  def cells(
    self,
    clips_bPTYXC: jax.Array,
    stats: batch_norm.Statistics | None = None,
  ) -> jax.Array:
    """Return the cells of clips, averaged over their frames: [b, P, Y, X, D].

    Args:
      clips_bPTYXC: uint8 RGB frames.
      stats: dict that receives new running statistics of the ResNet, in
        training; None otherwise.
    """
    b, num_clips, num_frames = clips_bPTYXC.shape[:3]
    x_fYXC = clips_bPTYXC.reshape(-1, *clips_bPTYXC.shape[3:])
    x_fYXC = self.cnn(x_fYXC, stats, **self.settings.block_args)
    x_fYXD = self.visual.encode(x_fYXC)
    x_bPTYXD = x_fYXD.reshape(b, num_clips, num_frames, *x_fYXD.shape[1:])
    return jnp.mean(x_bPTYXD, axis=2)

  def logits(
    self,
    cells_bPYXD: jax.Array,
    tokens_bQL: jax.Array,
    keys_b: jax.Array | None = None,
  ) -> jax.Array:
    """Return the answer head's logits of each text and clip, [b, Q, P, A].

    Args:
      cells_bPYXD: result of `cells`.
      tokens_bQL: int32 ids, each text padded.
      keys_b: one key a video, for dropout; None in evaluation.
    """
    assert self.answers is not None
    rows = self._rows(cells_bPYXD, tokens_bQL, keys_b)
    keys_R = rows.pop("keys", None)
    pooled_RD = self._encode(rows, keys_R, self._pool, stack.first_token)
    pooled_RD = drop(pooled_RD, _stream(self, keys_R, _HEAD), self._dropout)
    logits_RA = self.answers(pooled_RD)
    sizes = (*tokens_bQL.shape[:2], cells_bPYXD.shape[1])
    return logits_RA.reshape(*sizes, -1)

  def pretraining(
    self,
    cells_bPYXD: jax.Array,
    tokens_bL: jax.Array,
    keys_b: jax.Array | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """Return logits of words and of matching, of one clip: images.

    Args:
      cells_bPYXD: result of `cells`, P = 1.
      tokens_bL: int32 ids with masks.
      keys_b: one key a row, for dropout and the cells kept; None in evaluation.

    Returns:
      float32 [b, L, V], and [b, 2]: not of the image (0), of the image (1).
    """
    assert self.words is not None
    assert self.matching is not None
    rows = self._rows(cells_bPYXD, tokens_bL[:, None], keys_b)
    keys_R = rows.pop("keys", None)
    x_bLD = self._encode(
      rows, keys_R, lambda x_RSD, rows: x_RSD[:, : rows["tokens"].shape[1]]
    )
    words_bLV = self.words(x_bLD, self.txt.token_embedding[...])
    matching_b2 = self.matching(self._pool(x_bLD, {}))
    return words_bLV, matching_b2.astype(jnp.float32)

  @property
  def _dropout(self) -> float:
    return self.txt.config.dropout

  def _rows(
    self,
    cells_bPYXD: jax.Array,
    tokens_bQL: jax.Array,
    keys_b: jax.Array | None,
  ) -> stack.Rows:
    """Return a row of each text and clip of a video, in this order."""
    (b, num_texts, _), num_clips = tokens_bQL.shape, cells_bPYXD.shape[1]
    sizes = (b, num_texts, num_clips)

    def joined(x: jax.Array, rest: int) -> jax.Array:
      shape = x.shape[x.ndim - rest :]
      return jnp.broadcast_to(x, (*sizes, *shape)).reshape(-1, *shape)

    rows = {
      "tokens": joined(tokens_bQL[:, :, None], 1),
      "cells": joined(cells_bPYXD[:, None], 3),
    }
    if keys_b is not None:
      split = lambda key: jax.random.split(key, num_texts * num_clips)  # noqa: E731
      rows["keys"] = jax.vmap(split)(keys_b).reshape(-1)
    return rows

  def _encode(self, rows, keys_R, head, token_fn=None) -> jax.Array:
    def stem(rows: stack.Rows) -> jax.Array:
      keys = rows.get("keys")
      text_RLD = self.txt.embed_tokens(rows["tokens"])
      text_RLD = drop(text_RLD, _stream(self, keys, _TEXT), self._dropout)
      visual_RND = self.visual(
        rows["cells"],
        _stream(self, keys, _VISUAL),
        _stream(self, keys, _CELLS),
      )
      return jnp.concatenate([text_RLD, visual_RND], axis=1)

    num_cells = rows["cells"].shape[1] * rows["cells"].shape[2]
    if keys_R is not None and self.config.sampled_cells:
      num_cells = min(num_cells, self.config.sampled_cells)

    def mask(rows: stack.Rows) -> jax.Array:
      mask_R11L = self.txt.mask(rows["tokens"])
      pads = ((0, 0), (0, 0), (0, 0), (0, num_cells))
      return jnp.pad(mask_R11L, pads, constant_values=True)

    return stack.encode(
      rows,
      keys_R,
      stem=stem,
      blocks=self.txt.blocks,
      head=head,
      mask_fn=mask,
      token_fn=token_fn,
      **self.settings.encode_args,
    )

  def _pool(self, x_RSD: jax.Array, rows: stack.Rows) -> jax.Array:
    del rows
    assert self.txt.pooler is not None
    return jnp.tanh(self.txt.pooler(x_RSD[:, 0]))


def draw_cells(keys_b: jax.Array, num_cells: int, num_kept: int) -> jax.Array:
  """Draw cells that are kept, without replacement: int32 [b, kept], sorted.

  All are kept where there are no more than `num_kept`.
  """
  noise_bN = jax.vmap(lambda key: jax.random.uniform(key, (num_cells,)))(keys_b)
  return jnp.sort(jnp.argsort(noise_bN, axis=1)[:, :num_kept], axis=1)


def drop(x: jax.Array, keys_b: jax.Array | None, rate: float) -> jax.Array:
  """Return layers.dropout of rows, or `x` without keys or rate."""
  if keys_b is None or not rate:
    return x
  return layers.dropout(x, keys_b, rate)


def _stream(
  model: ClipBert, keys_b: jax.Array | None, index: int
) -> jax.Array | None:
  """Return keys that no layer of BERT uses."""
  if keys_b is None:
    return None
  return layers.fold_in(keys_b, model.txt.config.depth + index)
