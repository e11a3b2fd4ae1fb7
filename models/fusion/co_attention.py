"""METER's fusion (arXiv 2111.02387), Florence's adapter of vision and language.

Tokens of an image and of a text go through two stacks of layers of the same
depth. A layer attends to its own tokens, then to the other stack's as they came
into this depth, then applies an MLP; each residual is normalised after it. The
first token of the text and, of an image tower without a class token, the mean
of the image's tokens are pooled.

Shape letters beside those of models/layers.py: A answers.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx

from models import layers, stack
from models.fusion import heads
from runtime import checks, marks

IMAGE_POOLS = ("cls", "mean")
# Epsilon of the norm in METER's head of answers: PyTorch's default.
_HEAD_EPSILON = 1e-5
# Types of tokens: rows of the table of type embeddings.
_TEXT, _IMAGE = range(2)


@dataclasses.dataclass(frozen=True)
class CoAttentionConfig:
  """Fields of `config.fusion.meter`; configs/parts/fusion.py explains them."""

  depth: marks.Fixed[int] = 6
  width: marks.Fixed[int] = 768
  num_heads: marks.Fixed[int] = 12
  mlp_ratio: marks.Fixed[int] = 4
  dropout: marks.Training[float] = 0.1
  norm_epsilon: marks.Fixed[float] = 1e-12
  image_pool: marks.Fixed[str] = "mean"

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError where a field's value cannot be used."""
    section = "fusion.meter"
    for field in ("depth", "width", "num_heads", "mlp_ratio"):
      checks.at_least(f"{section}.{field}", getattr(self, field), 1)
    if self.width % max(self.num_heads, 1):
      checks.refuse(
        f"{section}.width must be a multiple of {section}.num_heads; got"
        f" {self.width} and {self.num_heads}"
      )
    checks.in_range(f"{section}.dropout", self.dropout, 0, 1)
    checks.above(f"{section}.norm_epsilon", self.norm_epsilon, 0)
    checks.one_of(f"{section}.image_pool", self.image_pool, IMAGE_POOLS)


class CrossBlock(nnx.Module):
  """Layer of one stack: own attention, attention to the other, MLP."""

  def __init__(self, config: CoAttentionConfig, *, dtype: str, rngs: nnx.Rngs):
    width = config.width
    norm = functools.partial(
      layers.LayerNorm, width, epsilon=config.norm_epsilon, dtype=dtype
    )
    attention = functools.partial(
      layers.Attention, width, config.num_heads, dtype=dtype, rngs=rngs
    )
    self.attn = attention()
    self.attn_norm = norm()
    self.cross = nnx.Dict({"attn": attention()})
    self.cross_norm = norm()
    self.mlp = layers.Mlp(
      width,
      config.mlp_ratio * width,
      activation="gelu",
      dtype=dtype,
      rngs=rngs,
    )
    self.mlp_norm = norm()
    self.dropout = config.dropout

  def __call__(
    self,
    x_bSD: jax.Array,
    other_bSD: jax.Array,
    *,
    mask_b11S: jax.Array | None,
    other_mask_b11S: jax.Array | None,
    keys_b: jax.Array | None = None,
  ) -> jax.Array:
    """Return the tokens after this layer.

    Args:
      x_bSD: tokens of this stack.
      other_bSD: tokens of the other stack, before its layer of this depth.
      mask_b11S: bool, False for padding of this stack; None without any.
      other_mask_b11S: the same of the other stack.
      keys_b: one key a row; None leaves dropout out.
    """

    def drop(y_bSD: jax.Array, index: int) -> jax.Array:
      if keys_b is None or not self.dropout:
        return y_bSD
      return layers.dropout(y_bSD, layers.fold_in(keys_b, index), self.dropout)

    y_bSD = self.attn(x_bSD, mask_bHSS=mask_b11S)
    x_bSD = self.attn_norm(x_bSD + drop(y_bSD, 0))
    y_bSD = self.cross["attn"](x_bSD, other_bSD, mask_bHSS=other_mask_b11S)
    x_bSD = self.cross_norm(x_bSD + drop(y_bSD, 1))
    return self.mlp_norm(x_bSD + drop(self.mlp(x_bSD), 2))


class CoAttention(nnx.Module):
  """Maps of both towers' tokens to one width, both stacks and both pools."""

  def __init__(
    self,
    config: CoAttentionConfig,
    *,
    text_width: int,
    image_width: int,
    dtype: str,
    rngs: nnx.Rngs,
    remat: str = "none",
  ):
    """Make the parameters.

    Args:
      config: checked.
      text_width: width of the text tower's tokens.
      image_width: width of the image tower's tokens.
      dtype: type of the arithmetic.
      rngs: random stream "params".
      remat: a key of stack.REMATS, for a pair of layers.
    """
    width = config.width
    dense = functools.partial(layers.Dense, dtype=dtype, rngs=rngs)
    self.text = dense(text_width, width)
    self.image = dense(image_width, width)
    self.type_embedding = nnx.Param(
      jax.nn.initializers.normal(0.02)(rngs.params(), (2, width))
    )
    make_block = lambda rngs: CrossBlock(config, dtype=dtype, rngs=rngs)  # noqa: E731
    self.blocks = nnx.Dict(
      {
        name: stack.make_stack(make_block, config.depth, rngs)
        for name in ("text", "image")
      }
    )
    self.text_pooler = dense(width, width)
    self.image_pooler = dense(width, width)
    self.config = config
    self.remat = remat

  def __call__(
    self,
    text_bLD: jax.Array,
    image_bND: jax.Array,
    mask_b11L: jax.Array,
    keys_b: jax.Array | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """Fuse the tokens of texts and images.

    Args:
      text_bLD: tokens of the text tower.
      image_bND: tokens of the image tower, none of them padding.
      mask_b11L: bool, False for padding of the text.
      keys_b: one key a row, for dropout; None in evaluation.

    Returns:
      The text's tokens, [b, L, width], and the pooled features of text and
      image side by side, [b, 2 * width].
    """
    type_2D = self.type_embedding[...]
    x_bLD = self.text(text_bLD)
    x_bLD = x_bLD + type_2D[_TEXT].astype(x_bLD.dtype)
    y_bND = self.image(image_bND)
    y_bND = y_bND + type_2D[_IMAGE].astype(y_bND.dtype)

    def pair(x_bLD, y_bND, text, image, index):
      def keys(stream: int) -> jax.Array | None:
        if keys_b is None:
          return None
        return layers.fold_in(keys_b, 2 * index + stream)

      masks = {"mask_b11S": mask_b11L, "other_mask_b11S": None}
      swapped = {"mask_b11S": None, "other_mask_b11S": mask_b11L}
      return (
        text(x_bLD, y_bND, **masks, keys_b=keys(_TEXT)),
        image(y_bND, x_bLD, **swapped, keys_b=keys(_IMAGE)),
      )

    policy = stack.REMATS[self.remat]
    if policy is not None:
      pair = jax.checkpoint(pair, prevent_cse=False, policy=policy)
    (x_bLD, y_bND), _ = jax.lax.scan(
      lambda tokens, stacked: (pair(*tokens, *stacked), None),
      (x_bLD, y_bND),
      (
        self.blocks["text"],
        self.blocks["image"],
        jnp.arange(self.config.depth),
      ),
    )
    if self.config.image_pool == "mean":
      y_bD = jnp.mean(y_bND, axis=1)
    else:
      y_bD = y_bND[:, 0]
    pooled = [self.text_pooler(x_bLD[:, 0]), self.image_pooler(y_bD)]
    return x_bLD, jnp.tanh(jnp.concatenate(pooled, axis=-1))


class Heads(nnx.Module):
  """Heads of pre-training, or of answers to questions about images."""

  def __init__(
    self,
    config: CoAttentionConfig,
    *,
    vocab_size: int,
    num_answers: int,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    """Make the parameters.

    Args:
      config: checked.
      vocab_size: words that are predicted.
      num_answers: answers; 0 makes the heads of masked words and of matching
        instead.
      dtype: type of the arithmetic.
      rngs: random stream "params".
    """
    width = config.width
    # METER's vectors of predicted words are its own, not the text tower's.
    normal = jax.nn.initializers.normal(0.02)
    pretrains = not num_answers
    self.answers = (
      heads.AnswerHead(
        2 * width,
        2 * width,
        num_answers,
        norm_epsilon=_HEAD_EPSILON,
        dtype=dtype,
        rngs=rngs,
      )
      if not pretrains
      else None
    )
    self.words = (
      heads.WordHead(
        width,
        vocab_size,
        activation="gelu",
        norm_epsilon=config.norm_epsilon,
        dtype=dtype,
        rngs=rngs,
      )
      if pretrains
      else None
    )
    self.table = (
      nnx.Param(normal(rngs.params(), (vocab_size, width)))
      if pretrains
      else None
    )
    self.matching = (
      layers.Dense(2 * width, 2, dtype=dtype, rngs=rngs) if pretrains else None
    )

  def pretraining(
    self, text_bLD: jax.Array, pooled_bD: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Return logits of words [b, L, V] and of matching [b, 2], float32."""
    assert self.words is not None
    assert self.matching is not None
    assert self.table is not None
    words_bLV = self.words(text_bLD, self.table[...])
    return words_bLV, self.matching(pooled_bD).astype(jnp.float32)

  def answer(self, pooled_bD: jax.Array) -> jax.Array:
    """Return logits of answers, [b, A] float32."""
    assert self.answers is not None
    return self.answers(pooled_bD)
