"""Transformer over token ids as a text tower, causal (CLIP) or not (SigLIP)."""

import dataclasses
import typing

import jax
import jax.numpy as jnp
from flax import nnx

from models import layers, stack, tower
from runtime import checks, marks

POOLS = ("last", "first", "eot", "argmax", "mean", "map", "cls")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextTransformerConfig(tower.TransformerConfig):
  """Fields of `config.model.text`; configs/base.py explains them."""

  tower: marks.Fixed[typing.Literal["transformer"]]
  vocab_size: marks.Fixed[int]
  num_tokens: marks.Fixed[int]
  pad_id: marks.Fixed[int]
  eot_id: marks.Fixed[int]
  causal: marks.Fixed[bool]
  pool: marks.Fixed[str]
  mask_padding: marks.Fixed[bool]

  @property
  def ignores_padding(self) -> bool:
    """Whether an embedding is the same with less padding behind the caption."""
    if self.pool in ("last", "cls"):
      return False
    return self.mask_padding or (self.causal and self.pool == "eot")

  def check(self, embed_dim: int) -> None:
    """Raise ValueError where the fields do not fit together."""
    checks.one_of("model.text.pool", self.pool, POOLS)
    layers.check_transformer("model.text", self, embed_dim)
    for field in ("pad_id", "eot_id"):
      if not 0 <= getattr(self, field) < self.vocab_size:
        checks.refuse(
          f"model.text.{field} must be at least 0 and below"
          f" model.text.vocab_size={self.vocab_size}; got"
          f" {getattr(self, field)}"
        )
    if self.causal and self.pool == "first":
      checks.refuse(
        'model.text.pool="first" sees one token only with'
        " model.text.causal=True; expected last, eot, mean, map or cls"
      )


class TextTransformer(nnx.Module):
  """Captions to one embedding each."""

  def __init__(
    self,
    config: TextTransformerConfig,
    settings: tower.Settings,
    *,
    rngs: nnx.Rngs,
  ):
    width = config.width
    normal = jax.nn.initializers.normal
    self.token_embedding = nnx.Param(
      normal(0.02)(rngs.params(), (config.vocab_size, width))
    )
    self.cls = (
      nnx.Param(normal(0.01)(rngs.params(), (1, width)))
      if config.pool == "cls"
      else None
    )
    num_positions = config.num_tokens + (self.cls is not None)
    self.position = nnx.Param(
      normal(0.01)(rngs.params(), (num_positions, width))
    )
    self.blocks = tower.make_blocks(config, settings, rngs)
    self.norm = layers.LayerNorm(
      width, epsilon=config.norm_epsilon, dtype=settings.dtype
    )
    self.pool = (
      layers.MapHead(**tower.block_args(config, settings), rngs=rngs)
      if config.pool == "map"
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
      tokens_bL: int32 ids, padded at the end with pad_id, L at most num_tokens.
      keys_b: one random key an example, used in training; None draws nothing.

    Returns:
      [b, E], not L2-normalised.
    """
    one_token = self.config.pool in (
      "first",
      "last",
      "eot",
      "argmax",
      "cls",
    )
    return stack.encode(
      {"tokens": tokens_bL},
      keys_b,
      stem=self._stem,
      blocks=self.blocks,
      head=self._head,
      **self.settings.encode_args,
      mask_fn=self._mask,
      is_causal=self.config.causal,
      token_fn=self._token if one_token else None,
    )

  def embedding_and_tokens(
    self, tokens_bL: jax.Array, keys_b: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array]:
    """Return the embedding, as `__call__`, and the captions' tokens.

    Args:
      tokens_bL: as in `__call__`.
      keys_b: as in `__call__`.

    Returns:
      [b, E], not L2-normalised, and [b, L, D], each token of a caption before
      the last norm, without the cls token; a captioner's input.

    Raises:
      ValueError: the tower is not causal, or has no cls token behind captions.
    """
    check_captioning(self.config)

    def head(x_bLD: jax.Array, rows: stack.Rows) -> tuple[jax.Array, jax.Array]:
      return self._head(x_bLD[:, -1:], rows), x_bLD[:, :-1]

    return stack.encode(
      {"tokens": tokens_bL},
      keys_b,
      stem=self._stem,
      blocks=self.blocks,
      head=head,
      **self.settings.encode_args,
      mask_fn=self._mask,
      is_causal=self.config.causal,
    )

  def _stem(self, rows: stack.Rows) -> jax.Array:
    tokens_bL = rows["tokens"]
    x_bLD = jnp.take(self.token_embedding[...], tokens_bL, axis=0)
    if self.cls is not None:  # last: it sees the whole caption
      cls_b1D = jnp.broadcast_to(
        self.cls[...], (x_bLD.shape[0], 1, x_bLD.shape[2])
      )
      x_bLD = jnp.concatenate([x_bLD, cls_b1D], axis=1)
    x_bLD = x_bLD + self.position[: x_bLD.shape[1]]
    return x_bLD.astype(self.settings.dtype)

  def _mask(self, rows: stack.Rows) -> jax.Array | None:
    return self.key_mask(rows["tokens"])

  def key_mask(self, tokens_bL: jax.Array) -> jax.Array | None:
    """Return which keys may be read, bool [b, 1, 1, L], L + 1 with a cls token.

    Beside it a causal tower reads no later key. None if all may be.
    """
    if not self.config.mask_padding:
      return None
    real_bL = tokens_bL != self.config.pad_id
    if self.cls is not None:
      # As open_clip's CoCa weights were trained: the mask counts the cls token
      # at the front, so it leaves in the first padding token, and the cls token
      # itself only behind a caption of full length.
      real_bL = jnp.pad(real_bL, ((0, 0), (1, 0)), constant_values=True)
    return real_bL[:, None, None, :]

  def _token(self, rows: stack.Rows) -> jax.Array:
    """Return the position of the one token that is pooled, int32 [b]."""
    config, tokens_bL = self.config, rows["tokens"]
    b, length = tokens_bL.shape
    if config.pool == "eot":
      # Not the last token before the padding: CLIP pads with 0, which is also
      # its token "!". The last token is pooled only in captions without
      # `eot_id`, whose tokenizer ends them otherwise.
      is_eot_bL = tokens_bL == config.eot_id
      last_b = lengths(tokens_bL, config.pad_id, config.eot_id) - 1
      return jnp.where(
        jnp.any(is_eot_bL, axis=1),
        jnp.argmax(is_eot_bL, axis=1),
        jnp.maximum(last_b, 0),
      )
    if config.pool == "argmax":  # padding counts, as in OpenAI's code
      return jnp.argmax(tokens_bL, axis=1).astype(jnp.int32)
    position = {"first": 0, "last": length - 1, "cls": length}[config.pool]
    return jnp.zeros((b,), jnp.int32) + position

  def _head(self, x_bLD: jax.Array, rows: stack.Rows) -> jax.Array:
    x_bD = self._pool(self.norm(x_bLD), self._mask(rows))
    return x_bD if self.projection is None else self.projection(x_bD)

  def _pool(self, x_bLD: jax.Array, mask_b11L: jax.Array | None) -> jax.Array:
    if self.pool is not None:
      return self.pool(x_bLD, mask_bHSS=mask_b11L)
    if self.config.pool != "mean":
      return x_bLD[:, 0]  # the one token that the last layer computed
    if mask_b11L is None:
      return jnp.mean(x_bLD, axis=1)
    return layers.mean_of(x_bLD, mask_b11L)


def check_captioning(config: TextTransformerConfig) -> None:
  """Raise ValueError where a tower's tokens cannot feed a captioner."""
  if not config.causal or config.pool != "cls":
    raise ValueError(
      "tokens for a captioner need model.text.causal=True and"
      f' model.text.pool="cls"; got {config.causal} and "{config.pool}"'
    )


def lengths(tokens_bL: jax.Array, pad_id: int, eot_id: int | None) -> jax.Array:
  """Return the number of tokens before the padding, int32 [b].

  Tokens equal to `pad_id` inside a caption count as well, and so does the first
  padding token if it is the end of text too.
  """
  count_L = jnp.arange(1, tokens_bL.shape[1] + 1)
  last_b = jnp.max(jnp.where(tokens_bL != pad_id, count_L, 0), axis=1)
  return jnp.minimum(last_b + (pad_id == eot_id), tokens_bL.shape[1])
