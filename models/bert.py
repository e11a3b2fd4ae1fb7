"""BERT (arXiv 1810.04805) as a text tower: layers that normalise last."""

import dataclasses
import typing

import jax
import jax.numpy as jnp
from flax import nnx

from models import layers, stack, tower
from runtime import checks, marks

POOLS = ("cls", "pooler", "mean")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BertConfig(tower.TransformerConfig):
  """Fields of `config.model.text`; configs/parts/towers.py explains them."""

  tower: marks.Fixed[typing.Literal["bert"]]
  vocab_size: marks.Fixed[int]
  num_tokens: marks.Fixed[int]
  num_types: marks.Fixed[int]
  pool: marks.Fixed[str]
  pad_id: marks.Fixed[int]

  @property
  def ignores_padding(self) -> bool:
    """Whether an embedding is the same with less padding behind the caption."""
    return True

  @property
  def eot_id(self) -> int:
    """No id: the end of a caption is a token like the others."""
    return -1

  def check(self, embed_dim: int) -> None:
    """Raise ValueError where the fields do not fit together."""
    checks.one_of("model.text.pool", self.pool, POOLS)
    layers.check_transformer("model.text", self, embed_dim)


class Bert(nnx.Module):
  """Captions to one embedding each."""

  def __init__(
    self,
    config: BertConfig,
    settings: tower.Settings,
    *,
    rngs: nnx.Rngs,
  ):
    width = config.width
    # Initial values of all tables, as in the paper: normal, 0.02.
    normal = jax.nn.initializers.normal(0.02)
    self.token_embedding = nnx.Param(
      normal(rngs.params(), (config.vocab_size, width))
    )
    self.position = nnx.Param(normal(rngs.params(), (config.num_tokens, width)))
    # A caption is one sentence: its tokens are all of type 0. The other types
    # are kept so that published weights are exported unchanged.
    self.type_embedding = nnx.Param(
      normal(rngs.params(), (config.num_types, width))
    )
    self.embedding_norm = layers.LayerNorm(
      width, epsilon=config.norm_epsilon, dtype=settings.dtype
    )
    self.blocks = tower.make_blocks(config, settings, rngs, norm_last=True)
    self.pooler = (
      layers.Dense(width, width, dtype=settings.dtype, rngs=rngs)
      if config.pool == "pooler"
      else None
    )
    self.projection = tower.make_projection(config, width, settings, rngs)
    self.config = config
    self.settings = settings

  def __call__(
    self, tokens_bL: jax.Array, keys_b: jax.Array | None = None
  ) -> jax.Array:
    """Embed captions.

    Args:
      tokens_bL: int32 ids, padded with `pad_id`, L at most num_tokens.
      keys_b: one random key an example, used in training; None draws nothing.

    Returns:
      [b, E], not L2-normalised.
    """
    return stack.encode(
      {"tokens": tokens_bL},
      keys_b,
      stem=self._stem,
      blocks=self.blocks,
      head=self._head,
      **self.settings.encode_args,
      mask_fn=self._mask,
      token_fn=None if self.config.pool == "mean" else stack.first_token,
    )

  def states(
    self, tokens_bL: jax.Array, keys_b: jax.Array | None = None
  ) -> jax.Array:
    """Return all tokens after the last layer, [b, L, D], not pooled."""
    return stack.encode(
      {"tokens": tokens_bL},
      keys_b,
      stem=self._stem,
      blocks=self.blocks,
      head=lambda x_bLD, rows: x_bLD,
      **self.settings.encode_args,
      mask_fn=self._mask,
    )

  def embed_tokens(self, tokens_bL: jax.Array) -> jax.Array:
    """Return the input of the first layer, [b, L, D]."""
    x_bLD = jnp.take(self.token_embedding[...], tokens_bL, axis=0)
    x_bLD = x_bLD + (
      self.position[: tokens_bL.shape[1]] + self.type_embedding[:1]
    )
    return self.embedding_norm(x_bLD)

  def mask(self, tokens_bL: jax.Array) -> jax.Array:
    """Return bool [b, 1, 1, L], False for padding."""
    return (tokens_bL != self.config.pad_id)[:, None, None, :]

  def _stem(self, rows: stack.Rows) -> jax.Array:
    return self.embed_tokens(rows["tokens"])

  def _mask(self, rows: stack.Rows) -> jax.Array:
    return self.mask(rows["tokens"])

  def _head(self, x_bLD: jax.Array, rows: stack.Rows) -> jax.Array:
    if self.config.pool == "mean":
      x_bD = layers.mean_of(x_bLD, self._mask(rows))
    else:
      x_bD = x_bLD[:, 0]  # the one token that the last layer computed
    if self.pooler is not None:
      x_bD = jnp.tanh(self.pooler(x_bD))
    return x_bD if self.projection is None else self.projection(x_bD)
