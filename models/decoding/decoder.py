"""Decoder of texts with cross-attention to an image's tokens.

Its layers normalise first: attention to the text, attention to the image's
tokens before pooling, MLP. Training runs all places at once (`states`);
generation runs one place after another with keys and values kept (`step`).

Shape letters beside those of models/layers.py: r rows of generated texts, one
or several for each image.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models import layers, stack, tower
from models.decoding import block as block_lib
from models.decoding import decoder_config
from models.decoding import inputs as inputs_lib


class Decoder(nnx.Module):
  """Images' tokens and texts to features of which words are predicted."""

  def __init__(
    self,
    config: decoder_config.DecoderConfig,
    settings: tower.Settings,
    *,
    image_width: int,
    rngs: nnx.Rngs,
  ):
    """Make the parameters.

    Args:
      config: checked.
      settings: dtype, remat, remat_chunks and batch_axes are used.
      image_width: width of the image's tokens.
      rngs: random stream "params".
    """
    width, vocab_size = config.width, config.vocab_size

    def normal(num_rows: int, std: float) -> nnx.Param:
      init = jax.nn.initializers.normal(std)
      return nnx.Param(init(rngs.params(), (num_rows, width)))

    # Deviation 1 is CapPa's; ours for tied vectors, whose logits it would make
    # as large as the root of the width.
    std = width**-0.5 if config.tied else 1.0
    self.token_embedding = normal(vocab_size, std)
    # Apart from the table, so that its rows can be split over a mesh.
    self.mask_token = normal(1, std) if config.parallel_share else None
    self.position = normal(config.num_tokens, width**-0.5)
    self.blocks = stack.make_stack(
      lambda rngs: block_lib.DecoderBlock(
        config, image_width=image_width, dtype=settings.dtype, rngs=rngs
      ),
      config.depth,
      rngs,
    )
    self.norm = layers.LayerNorm(
      width, epsilon=config.norm_epsilon, dtype=settings.dtype
    )
    self.words = (
      None if config.tied else nnx.Param(jnp.zeros((vocab_size, width)))
    )
    self.word_bias = nnx.Param(jnp.zeros((vocab_size,)))
    self.config = config
    self.settings = settings

  def states(
    self,
    inputs: inputs_lib.Inputs,
    image_bND: jax.Array,
    image_mask_bN: jax.Array | None = None,
    keys_b: jax.Array | None = None,
  ) -> jax.Array:
    """Return the features of each place, [b, L, D], of which words follow.

    Args:
      inputs: inputs of the texts, L at most num_tokens.
      image_bND: tokens of the images before pooling, of width image_width.
      image_mask_bN: bool, False for padding of an image; None without any.
      keys_b: one random key a row, used in training; None draws nothing.

    Raises:
      ValueError: a text is longer than num_tokens.
    """
    length = inputs.tokens_bL.shape[1]
    if length > self.config.num_tokens:
      raise ValueError(
        f"texts must have at most num_tokens={self.config.num_tokens} tokens;"
        f" got {length}"
      )
    rows = {
      "tokens": inputs.tokens_bL,
      "parallel": inputs.parallel_b,
      "image": image_bND,
      "image_mask": image_mask_bN,
    }
    return stack.encode(
      {name: x for name, x in rows.items() if x is not None},
      keys_b,
      stem=self._stem,
      blocks=self.blocks,
      head=lambda x_bLD, rows: self.norm(x_bLD),
      **self.settings.encode_args,
      mask_fn=_text_mask,
      is_causal=inputs.parallel_b is None,
      extras_fn=_image_of,
    )

  def vectors(self) -> tuple[jax.Array, jax.Array]:
    """Return the vectors [V, D] and biases [V] that predict words, float32."""
    table = self.token_embedding if self.words is None else self.words
    return table[...], self.word_bias[...]

  def logits(self, x_bLD: jax.Array) -> jax.Array:
    """Return the logits of all words, [b, L, V] float32.

    A loss needs losses/vocabulary.py instead, which never holds all of them.
    """
    table_VD, bias_V = self.vectors()
    logits_bLV = jnp.einsum(
      "bld,vd->blv",
      x_bLD,
      table_VD.astype(x_bLD.dtype),
      preferred_element_type=jnp.float32,
    )
    return logits_bLV + bias_V

  def images(
    self, image_bND: jax.Array, image_mask_bN: jax.Array | None = None
  ) -> block_lib.Images:
    """Return images for `step`; arguments as in `states`."""
    image_bND = image_bND.astype(self.settings.dtype)

    def of_layer(block: Any) -> tuple[jax.Array, jax.Array]:
      return block.cross["attn"].keys_values(image_bND)

    apart = stack.apart_of(self.blocks)
    if apart is None:
      key, value = jax.lax.map(of_layer, self.blocks)
    else:
      pairs = [of_layer(block) for block in apart]
      key, value = (jnp.stack(xs) for xs in zip(*pairs, strict=True))
    return block_lib.Images(key, value, _image_mask(image_mask_bN))

  def empty_cache(self, num_rows: int, length: int) -> block_lib.Cache:
    """Return a cache of texts without tokens.

    Args:
      num_rows: number of texts.
      length: most tokens of a text, at most num_tokens.

    Raises:
      ValueError: a text would be longer than num_tokens.
    """
    config = self.config
    if length > config.num_tokens:
      raise ValueError(
        f"texts must have at most num_tokens={config.num_tokens} tokens; got"
        f" {length}"
      )
    heads = config.num_heads
    shape = (config.depth, num_rows, heads, length, config.width // heads)
    zeros = jnp.zeros(shape, self.settings.dtype)
    return {"key": zeros, "value": zeros}

  def step(
    self,
    images: block_lib.Images,
    cache: block_lib.Cache,
    token_r: jax.Array,
    position: jax.Array,
  ) -> tuple[jax.Array, block_lib.Cache]:
    """Return the logits of the next tokens, float32 [r, V], and the cache.

    With `images` bound it is a step of models/decoding/generation.py.

    Args:
      images: b images; texts of an image stand side by side, as many for each.
      cache: keys and values of the tokens before.
      token_r: int32 input of each text.
      position: place of the input, the same for all texts.
    """
    x_r1D = self._embed(token_r[:, None]) + self.position[...][position]
    x_r1D = x_r1D.astype(self.settings.dtype)
    apart = stack.apart_of(self.blocks)
    if apart is None:

      def layer(state, stacked):
        block, index = stacked
        return block.step(*state, images, index, position), None

      indices = jnp.arange(self.config.depth)
      (x_r1D, cache), _ = jax.lax.scan(
        layer, (x_r1D, cache), (self.blocks, indices)
      )
    else:
      for index, block in enumerate(apart):
        x_r1D, cache = block.step(x_r1D, cache, images, index, position)
    return self.logits(self.norm(x_r1D))[:, 0], cache

  def _stem(self, rows: stack.Rows) -> jax.Array:
    x_bLD = (
      self._embed(rows["tokens"]) + self.position[: rows["tokens"].shape[1]]
    )
    return x_bLD.astype(self.settings.dtype)

  def _embed(self, tokens_bL: jax.Array) -> jax.Array:
    """Return the vectors of ids and masks, [b, L, D]."""
    if self.mask_token is None:
      return jnp.take(self.token_embedding[...], tokens_bL, axis=0)
    is_mask_bL1 = (tokens_bL == inputs_lib.MASK)[..., None]
    ids_bL = jnp.maximum(tokens_bL, 0)
    x_bLD = jnp.take(self.token_embedding[...], ids_bL, axis=0)
    return jnp.where(is_mask_bL1, self.mask_token[...], x_bLD)


def _text_mask(rows: stack.Rows) -> jax.Array | None:
  """Return which places a place may read, [b, 1, L, L]; None: those before."""
  if "parallel" not in rows:
    return None
  length = rows["tokens"].shape[1]
  past_LL = jnp.tri(length, dtype=bool)
  return past_LL | rows["parallel"][:, None, None, None]


def _image_of(rows: stack.Rows) -> dict[str, jax.Array | None]:
  """Return the arguments of a layer that are of the image."""
  return {
    "image_bND": rows["image"],
    "image_mask_b11N": _image_mask(rows.get("image_mask")),
  }


def _image_mask(image_mask_bN: jax.Array | None) -> jax.Array | None:
  return None if image_mask_bN is None else image_mask_bN[:, None, None, :]
