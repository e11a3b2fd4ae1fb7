"""Layers that the towers share.

Shape letters, as suffixes of array names here and in the rest of `models` and
`losses`:

  B global batch     N image tokens   H heads       V vocabulary
  b batch as given   L text tokens    K head dim    Y X C height, width,
    (per device in   D width          E embedding         channels
    shard_map)       F MLP width      S any token axis (N or L)

Modules hold float32 parameters; `dtype` is the type of the arithmetic.
"""

import functools
import types
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from runtime import checks

# Modules are plain pytrees: only JAX's own transforms are used on them.
nnx.set_graph_mode(False)
nnx.set_graph_updates(False)

Activation = Callable[[jax.Array], jax.Array]


def quick_gelu(x: jax.Array) -> jax.Array:
  """Approximate GELU as OpenAI's CLIP does: x * sigmoid(1.702 x)."""
  return x * jax.nn.sigmoid(1.702 * x)


ACTIVATIONS: Mapping[str, Activation] = types.MappingProxyType(
  {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "quick_gelu": quick_gelu,
    "relu6": jax.nn.relu6,
    "swish": jax.nn.silu,
  }
)


class Dense(nnx.Module):
  """Affine map of the last axis, with the low-rank update of lora.py if any."""

  def __init__(
    self,
    num_in: int,
    num_out: int,
    *,
    dtype: str,
    rngs: nnx.Rngs,
    use_bias: bool = True,
  ):
    init = jax.nn.initializers.xavier_uniform()
    self.kernel = nnx.Param(init(rngs.params(), (num_in, num_out)))
    self.bias = nnx.Param(jnp.zeros((num_out,))) if use_bias else None
    self.dtype = dtype
    self.lora_a: nnx.Param | None = None
    self.lora_b: nnx.Param | None = None
    self.lora_scale = 1.0

  def __call__(self, x: jax.Array) -> jax.Array:
    # Rows are merged: on a CPU the gradient of a product of two matrices is
    # up to a sixth faster than that of a product with more axes.
    rows = x.reshape(-1, x.shape[-1]).astype(self.dtype)
    y = jnp.dot(rows, self.kernel[...].astype(self.dtype))
    if self.lora_a is not None and self.lora_b is not None:
      low = jnp.dot(rows, self.lora_a[...].astype(self.dtype))
      update = jnp.dot(low, self.lora_b[...].astype(self.dtype))
      y = y + self.lora_scale * update
    if self.bias is not None:
      y = y + self.bias[...].astype(self.dtype)
    return y.reshape(*x.shape[:-1], y.shape[-1])


class LayerNorm(nnx.Module):
  """Layer normalisation; mean and variance in float32."""

  def __init__(
    self, width: int, *, epsilon: float, dtype: str, use_bias: bool = True
  ):
    self.scale = nnx.Param(jnp.ones((width,)))
    self.bias = nnx.Param(jnp.zeros((width,))) if use_bias else None
    self.epsilon = epsilon
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    x = x.astype(jnp.float32)
    mean = jnp.mean(x, axis=-1, keepdims=True)
    centred = x - mean
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    factor = jax.lax.rsqrt(variance + self.epsilon) * self.scale[...]
    y = centred * factor
    if self.bias is not None:
      y = y + self.bias[...]
    return y.astype(self.dtype)


class Attention(nnx.Module):
  """Multi-head attention with separate query, key and value kernels.

  The kernels are not fused, [D, H * K] each, so that one partitioning rule
  splits heads over the `tensor` axis without a reshard.
  """

  def __init__(
    self,
    width: int,
    num_heads: int,
    *,
    dtype: str,
    rngs: nnx.Rngs,
    key_width: int | None = None,
    num_out: int | None = None,
    use_bias: bool = True,
  ):
    dense = functools.partial(Dense, dtype=dtype, rngs=rngs, use_bias=use_bias)
    self.query = dense(width, width)
    self.key = dense(key_width or width, width)
    self.value = dense(key_width or width, width)
    self.out = dense(width, num_out or width)
    self.num_heads = num_heads

  def __call__(
    self,
    x_bSD: jax.Array,
    keys_bSD: jax.Array | None = None,
    *,
    mask_bHSS: jax.Array | None = None,
    is_causal: bool = False,
  ) -> jax.Array:
    """Attend from x to keys (to x itself if keys_bSD is None).

    Args:
      x_bSD: tokens that make the queries.
      keys_bSD: tokens that make keys and values, of width key_width.
      mask_bHSS: bool, True where a query may attend to a key; axes of size 1
        broadcast.
      is_causal: whether a token attends only to itself and earlier tokens.

    Returns:
      [b, S, D] with the S of x; D is `num_out` if that is set.
    """
    keys_bSD = x_bSD if keys_bSD is None else keys_bSD
    return self.attend_to(
      x_bSD,
      *self.keys_values(keys_bSD),
      mask_bHSS=mask_bHSS,
      is_causal=is_causal,
    )

  def keys_values(self, keys_bSD: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the keys and values of tokens, [b, H, S, K] each."""
    key_bSD, value_bSD = self.key(keys_bSD), self.value(keys_bSD)
    return self._split_heads(key_bSD), self._split_heads(value_bSD)

  def attend_to(
    self,
    x_bSD: jax.Array,
    key_bHSK: jax.Array,
    value_bHSK: jax.Array,
    *,
    mask_bHSS: jax.Array | None = None,
    is_causal: bool = False,
  ) -> jax.Array:
    """Return the same as a call, from the result of `keys_values`."""
    y_bHSK = attend(
      self._split_heads(self.query(x_bSD)),
      key_bHSK,
      value_bHSK,
      mask_bHSS=mask_bHSS,
      is_causal=is_causal,
    )
    return self.out(y_bHSK.swapaxes(1, 2).reshape(x_bSD.shape))

  def _split_heads(self, x_bSD: jax.Array) -> jax.Array:
    x_bSHK = x_bSD.reshape(*x_bSD.shape[:2], self.num_heads, -1)
    return x_bSHK.swapaxes(1, 2)


def attend(
  query_bHSK: jax.Array,
  key_bHSK: jax.Array,
  value_bHSK: jax.Array,
  *,
  mask_bHSS: jax.Array | None = None,
  is_causal: bool = False,
) -> jax.Array:
  """Return softmax(query key^T / sqrt(K)) value, softmax in float32.

  jax.nn.dot_product_attention has the heads' axis inside: on a CPU its products
  then take three times as long, and a TPU chooses its own layouts either way.

  Args:
    query_bHSK: queries.
    key_bHSK: keys.
    value_bHSK: values, averaged with the softmax as weights.
    mask_bHSS: bool, True where a query may attend to a key; axes of size 1
      broadcast.
    is_causal: whether a token attends only to itself and earlier tokens.

  Returns:
    [b, H, S, K] with the S of the query.
  """
  logits_bHSS = jnp.einsum(
    "bhqk,bhsk->bhqs",
    query_bHSK,
    key_bHSK,
    preferred_element_type=jnp.float32,
  )
  logits_bHSS *= query_bHSK.shape[-1] ** -0.5
  if is_causal:
    past_SS = jnp.tri(*logits_bHSS.shape[2:], dtype=bool)
    mask_bHSS = past_SS if mask_bHSS is None else mask_bHSS & past_SS
  if mask_bHSS is not None:
    # Not -inf: a query that may attend to no key stays finite.
    lowest = jnp.finfo(jnp.float32).min
    logits_bHSS = jnp.where(mask_bHSS, logits_bHSS, lowest)
  weights_bHSS = jax.nn.softmax(logits_bHSS, axis=-1)
  return jnp.einsum(
    "bhqs,bhsk->bhqk", weights_bHSS.astype(value_bHSK.dtype), value_bHSK
  )


def mean_of(x_bSD: jax.Array, mask_b11S: jax.Array) -> jax.Array:
  """Return the mean of the tokens where the mask is True, [b, D].

  The mean of no tokens, as in a row that fills up a batch, is 0.
  """
  weight_bS1 = mask_b11S[:, 0, 0, :, None].astype(jnp.float32)
  count_b1 = jnp.maximum(jnp.sum(weight_bS1, axis=1), 1)
  return (jnp.sum(x_bSD * weight_bS1, axis=1) / count_b1).astype(x_bSD.dtype)


class Mlp(nnx.Module):
  """Two affine maps with an activation between them."""

  def __init__(
    self,
    width: int,
    mlp_width: int,
    *,
    activation: str,
    dtype: str,
    rngs: nnx.Rngs,
    use_bias: bool = True,
  ):
    dense = functools.partial(Dense, dtype=dtype, rngs=rngs, use_bias=use_bias)
    self.up = dense(width, mlp_width)
    self.down = dense(mlp_width, width)
    self.activation = activation

  def __call__(self, x_bSD: jax.Array) -> jax.Array:
    return self.down(ACTIVATIONS[self.activation](self.up(x_bSD)))


class MapHead(nnx.Module):
  """Pool tokens by multi-head attention from one learned query.

  Source: "Scaling Vision Transformers" (arXiv 2106.04560), section 3.3.
  """

  def __init__(
    self,
    width: int,
    num_heads: int,
    mlp_width: int,
    *,
    activation: str,
    norm_epsilon: float,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    init = jax.nn.initializers.xavier_uniform()
    self.probe = nnx.Param(init(rngs.params(), (1, width)))
    self.attn = Attention(width, num_heads, dtype=dtype, rngs=rngs)
    self.mlp_norm = LayerNorm(width, epsilon=norm_epsilon, dtype=dtype)
    self.mlp = Mlp(
      width, mlp_width, activation=activation, dtype=dtype, rngs=rngs
    )

  def __call__(
    self, x_bSD: jax.Array, *, mask_bHSS: jax.Array | None = None
  ) -> jax.Array:
    """Return [b, D]; `mask_bHSS` as in `Attention`, its query axis 1."""
    probe_b1D = jnp.broadcast_to(
      self.probe[...].astype(x_bSD.dtype),
      (x_bSD.shape[0], 1, x_bSD.shape[-1]),
    )
    y_b1D = self.attn(probe_b1D, x_bSD, mask_bHSS=mask_bHSS)
    return (y_b1D + self.mlp(self.mlp_norm(y_b1D)))[:, 0]


class QueryPool(nnx.Module):
  """Pool tokens by attention from the first of several learned queries.

  Source: CoCa (arXiv 2205.01917), section 3.2, in the form of open_clip's
  models: one set of queries, the first for the embedding. The others serve the
  captioner (models/decoding/captioner.py) and are computed by `all` alone.
  """

  def __init__(
    self,
    width: int,
    num_heads: int,
    num_queries: int,
    *,
    key_width: int,
    norm_epsilon: float,
    dtype: str,
    rngs: nnx.Rngs,
  ):
    init = jax.nn.initializers.normal(1.0)
    self.queries = nnx.Param(init(rngs.params(), (num_queries, width)))
    self.query_norm = LayerNorm(width, epsilon=norm_epsilon, dtype=dtype)
    self.key_norm = LayerNorm(key_width, epsilon=norm_epsilon, dtype=dtype)
    self.attn = Attention(
      width, num_heads, key_width=key_width, dtype=dtype, rngs=rngs
    )

  def __call__(self, x_bSD: jax.Array) -> jax.Array:
    """Return [b, width] of tokens of width `key_width`."""
    return self._pool(x_bSD, 1)[:, 0]

  def all(self, x_bSD: jax.Array) -> jax.Array:
    """Return [b, num_queries, width], all that the queries found."""
    return self._pool(x_bSD, self.queries.shape[0])

  def _pool(self, x_bSD: jax.Array, num_queries: int) -> jax.Array:
    query_SE = self.query_norm(self.queries[:num_queries])
    query_bSE = jnp.broadcast_to(query_SE, (x_bSD.shape[0], *query_SE.shape))
    return self.attn(query_bSE, self.key_norm(x_bSD))


def sincos2d(height: int, width: int, dim: int) -> jax.Array:
  """Fixed 2-D positions, [height * width, dim] float32, row by row.

  Source: MoCo v3 (arXiv 2104.02057), temperature 10,000.

  Raises:
    ValueError: `dim` is not a multiple of 4, or below 8.
  """
  if dim % 4 or dim < 8:
    raise ValueError(
      "sincos2d positions need a width that is a multiple of 4 and at least"
      f" 8; got {dim}"
    )
  y, x = jnp.mgrid[:height, :width].astype(jnp.float32)
  frequencies = 10_000.0 ** -(jnp.arange(dim // 4) / (dim // 4 - 1))
  waves = [
    wave(jnp.outer(axis.ravel(), frequencies))
    for axis in (x, y)
    for wave in (jnp.sin, jnp.cos)
  ]
  return jnp.concatenate(waves, axis=1)


def dropout(x_bSD: jax.Array, keys_b: jax.Array, rate: float) -> jax.Array:
  """Zero values with probability `rate`, scale the others up to the same mean.

  One key an example: its draws do not depend on the rest of the batch.
  """
  keep_bSD = jax.vmap(
    lambda key: jax.random.bernoulli(key, 1 - rate, x_bSD.shape[1:])
  )(keys_b)
  return jnp.where(keep_bSD, x_bSD / (1 - rate), 0)


def fold_in(keys_b: jax.Array, value: int | jax.Array) -> jax.Array:
  """Return one new key an example, by folding `value` into each."""
  return jax.vmap(lambda key: jax.random.fold_in(key, value))(keys_b)


def normalise_pixels(
  images_bYXC: jax.Array,
  mean: tuple[float, ...],
  std: tuple[float, ...],
  dtype: str,
) -> jax.Array:
  """Return uint8 images as (images / 255 - mean) / std."""
  x_bYXC = images_bYXC.astype(jnp.float32) / 255.0
  x_bYXC = (x_bYXC - jnp.asarray(mean)) / jnp.asarray(std)
  return x_bYXC.astype(dtype)


def check_transformer(section: str, config, embed_dim: int) -> None:
  """Raise ValueError where a transformer tower's fields do not fit."""
  checks.one_of(f"{section}.activation", config.activation, ACTIVATIONS)
  checks.in_range(f"{section}.dropout", config.dropout, 0, 1)
  if config.num_heads < 1 or config.width % config.num_heads:
    checks.refuse(
      f"{section}.width must be a multiple of {section}.num_heads;"
      f" got {config.width} and {config.num_heads}"
    )
  if not config.projection and config.width != embed_dim:
    checks.refuse(
      f"{section}.width must equal model.embed_dim where"
      f" {section}.projection=False; got {config.width} and {embed_dim}"
    )
