"""Layer of a decoder: of all places at once, or of one after another.

Shape letters beside those of models/layers.py: r rows of generated texts, one
or several for each image.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from models import layers
from models.decoding import decoder_config

# Keys and values of the tokens so far: float [depth, r, H, L, K] each.
Cache = dict[str, jax.Array]


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
    config: decoder_config.DecoderConfig,
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
