"""Decoder of texts with cross-attention to an image's tokens.

Its layers normalise first: attention to the text, attention to the image's
tokens before pooling, MLP. Training runs all places at once (`states`);
generation runs one place after another with keys and values kept (`step`).

Sources: SigLIP 2 (arXiv 2502.14786, section 2.2) has a decoder of the text
tower's shape with half of its layers, after LocCa (arXiv 2403.19596). Its code
is not public; other fields are those of CapPa's public code (arXiv 2306.07915,
big_vision).

Shape letters beside those of models/layers.py: r rows of generated texts, one
or several for each image.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from models import layers, stack, tower
from models.decoding import inputs as inputs_lib
from runtime import checks, marks

# Keys and values of the tokens so far: float [depth, r, H, L, K] each.
Cache = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecoderConfig:
  """Fields of a decoder; the defaults are SigLIP 2's of size B.

  Attributes:
    depth: layers; SigLIP 2 has half of the text tower's.
    width: width of a token; the text tower's.
    num_heads: heads of each attention; the text tower's.
    mlp_width: hidden width of the MLP; the text tower's.
    activation: key of layers.ACTIVATIONS; CapPa's.
    norm_epsilon: epsilon of the norms; CapPa's.
    use_bias: whether MLPs and norms have biases; CapPa's config has none.
      Attention never has any.
    dropout: rate on the outputs of attention and MLP; CapPa's.
    vocab_size: words that are read and predicted; Gemma's.
    num_tokens: most tokens of a text; SigLIP 2's.
    begin_id: input of the first place; CapPa's.
    tied: whether words are predicted with the vectors that they are read with;
      CapPa's are apart.
    parallel_share: probability of parallel prediction; SigLIP 2's for captions
      (CapPa has 0.75). With 0 the decoder has no mask token.
  """

  depth: marks.Fixed[int] = 6
  width: marks.Fixed[int] = 768
  num_heads: marks.Fixed[int] = 12
  mlp_width: marks.Fixed[int] = 3072
  activation: marks.Fixed[str] = "gelu_tanh"
  norm_epsilon: marks.Fixed[float] = 1e-6
  use_bias: marks.Fixed[bool] = False
  dropout: marks.Training[float] = 0.0
  vocab_size: marks.Fixed[int] = 256_000
  num_tokens: marks.Fixed[int] = 64
  begin_id: marks.Fixed[int] = 0
  tied: marks.Fixed[bool] = False
  parallel_share: marks.Training[float] = 0.5

  @property
  def draws(self) -> bool:
    """Whether training draws random numbers."""
    return bool(self.dropout or self.parallel_share)

  @checks.collected()
  def check(self, section: str) -> None:
    """Raise ValueError, naming the field, where a value cannot be used.

    Args:
      section: section of the config that has these fields.
    """
    for field in ("depth", "width", "num_heads", "mlp_width", "num_tokens"):
      checks.at_least(f"{section}.{field}", getattr(self, field), 1)
    if self.width % max(self.num_heads, 1):
      checks.refuse(
        f"{section}.width must be a multiple of {section}.num_heads; got"
        f" {self.width} and {self.num_heads}"
      )
    checks.one_of(f"{section}.activation", self.activation, layers.ACTIVATIONS)
    checks.above(f"{section}.norm_epsilon", self.norm_epsilon, 0)
    checks.in_range(f"{section}.dropout", self.dropout, 0, 1)
    checks.at_least(f"{section}.vocab_size", self.vocab_size, 2)
    checks.in_range(f"{section}.begin_id", self.begin_id, 0, self.vocab_size)
    checks.between(f"{section}.parallel_share", self.parallel_share, 0, 1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Images:
  """Images as all steps of a generation read them.

  Attributes:
    key: keys of the image's tokens, [depth, b, H, N, K].
    value: their values, likewise.
    mask_b11N: bool, False for padding; None without any.
  """

  key: jax.Array
  value: jax.Array
  mask_b11N: jax.Array | None


class DecoderBlock(nnx.Module):
  """Layer: attention to the text, attention to the image, MLP."""

  def __init__(
    self,
    config: DecoderConfig,
    *,
    image_width: int,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    width = config.width
    norm = functools.partial(
      layers.LayerNorm,
      width,
      epsilon=config.norm_epsilon,
      dtype=dtype,
      use_bias=config.use_bias,
    )
    attention = functools.partial(
      layers.Attention,
      width,
      config.num_heads,
      dtype=dtype,
      rngs=rngs,
      use_bias=False,
    )
    self.attn_norm = norm()
    self.attn = attention()
    self.cross_norm = norm()
    self.cross = nnx.Dict({"attn": attention(key_width=image_width)})
    self.mlp_norm = norm()
    self.mlp = layers.Mlp(
      width,
      config.mlp_width,
      activation=config.activation,
      dtype=dtype,
      rngs=rngs,
      use_bias=config.use_bias,
    )
    self.dropout = config.dropout

  def __call__(
    self,
    x_bLD: jax.Array,
    *,
    image_bND: jax.Array,
    image_mask_b11N: jax.Array | None,
    mask_bHSS: jax.Array | None = None,
    is_causal: bool = False,
    token_b: jax.Array | None = None,
    keys_b: jax.Array | None = None,
  ) -> jax.Array:
    """Return the text's tokens after this layer, as stack.encode calls it.

    Args:
      x_bLD: tokens of the text.
      image_bND: tokens of the image.
      image_mask_b11N: bool, False for padding of the image; None without any.
      mask_bHSS: as in layers.Attention, for the text.
      is_causal: as in layers.Attention, for the text.
      token_b: None; each token is computed.
      keys_b: one key a row; None leaves dropout out.
    """
    assert token_b is None

    def drop(y_bLD: jax.Array, index: int) -> jax.Array:
      if keys_b is None or not self.dropout:
        return y_bLD
      return layers.dropout(y_bLD, layers.fold_in(keys_b, index), self.dropout)

    return self._run(
      x_bLD,
      lambda y_bLD: self.attn(y_bLD, mask_bHSS=mask_bHSS, is_causal=is_causal),
      lambda y_bLD: self.cross["attn"](
        y_bLD, image_bND, mask_bHSS=image_mask_b11N
      ),
      drop,
    )

  def step(
    self,
    x_r1D: jax.Array,
    cache: Cache,
    images: Images,
    index: int | jax.Array,
    position: jax.Array,
  ) -> tuple[jax.Array, Cache]:
    """Return one token of each text after this layer, and the cache with it.

    Args:
      x_r1D: token of each text before this layer.
      cache: cache of all layers.
      images: images of the texts.
      index: number of this layer.
      position: place of the token.
    """

    def attend(y_r1D: jax.Array) -> jax.Array:
      nonlocal cache
      new = zip(("key", "value"), self.attn.keys_values(y_r1D), strict=True)
      cache = cache | {
        name: jax.lax.dynamic_update_slice(
          cache[name], x_rH1K[None], (index, 0, 0, position, 0)
        )
        for name, x_rH1K in new
      }
      is_past_L = jnp.arange(cache["key"].shape[3]) <= position
      return self.attn.attend_to(
        y_r1D,
        cache["key"][index],
        cache["value"][index],
        mask_bHSS=is_past_L[None, None, None],
      )

    def attend_to_image(y_r1D: jax.Array) -> jax.Array:
      # Texts of one image are queries of one attention: its keys are not
      # repeated.
      b = images.key.shape[1]
      y_bLD = y_r1D.reshape(b, -1, y_r1D.shape[2])
      y_bLD = self.cross["attn"].attend_to(
        y_bLD,
        images.key[index],
        images.value[index],
        mask_bHSS=images.mask_b11N,
      )
      return y_bLD.reshape(y_r1D.shape)

    x_r1D = self._run(x_r1D, attend, attend_to_image, lambda y, index: y)
    return x_r1D, cache

  def _run(
    self,
    x_bLD: jax.Array,
    attend: Callable[[jax.Array], jax.Array],
    attend_to_image: Callable[[jax.Array], jax.Array],
    drop: Callable[[jax.Array, int], jax.Array],
  ) -> jax.Array:
    x_bLD = x_bLD + drop(attend(self.attn_norm(x_bLD)), 0)
    x_bLD = x_bLD + drop(attend_to_image(self.cross_norm(x_bLD)), 1)
    return x_bLD + drop(self.mlp(self.mlp_norm(x_bLD)), 2)


class Decoder(nnx.Module):
  """Images' tokens and texts to features of which words are predicted."""

  def __init__(
    self,
    config: DecoderConfig,
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
      lambda rngs: DecoderBlock(
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
  ) -> Images:
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
    return Images(key, value, _image_mask(image_mask_bN))

  def empty_cache(self, num_rows: int, length: int) -> Cache:
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
    images: Images,
    cache: Cache,
    token_r: jax.Array,
    position: jax.Array,
  ) -> tuple[jax.Array, Cache]:
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
