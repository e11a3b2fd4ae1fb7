"""Convolutional denoising autoencoder of grey images (CDAE).

Source: MEVF (arXiv 1909.11867), released code: its encoder's output gives 64
visual features, and its reconstruction a part of the loss. Encoder and decoder
are trained beforehand on noisy images alone; the map to features is not.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from models import convolution, layers
from models.vqa import weight_norm

NUM_FEATURES = 64
# Weights of red, green and blue in a grey level (ITU-R BT.601, as Pillow's).
_LUMA = (0.299, 0.587, 0.114)
# Pixels of a side that become one: two poolings by 2.
STRIDE = 4
_CHANNELS = 16  # of the encoder's output: 16 x 32 x 32 for 128 pixels


class Autoencoder(nnx.Module):
  """Encoder to [b, side / 4, side / 4, 16], and decoder back to pixels."""

  def __init__(self, side: int | None, *, rngs: nnx.Rngs):
    """Make the parameters.

    Args:
      side: of the images in pixels; None makes no map to features, without
        which images may have any side that is a multiple of STRIDE.
      rngs: random stream "params".
    """
    conv = functools.partial(
      convolution.Conv, size=3, use_bias=True, dtype="float32", rngs=rngs
    )
    self.down1 = conv(1, 64)
    self.down2 = conv(64, 32)
    self.down3 = conv(32, _CHANNELS)
    self.up1 = conv(_CHANNELS, 32)
    self.up2 = conv(32, 32)
    self.up3 = conv(32, 64)
    self.up4 = conv(64, 1)
    self.features = None if side is None else _features(side, rngs)

  def encode(self, x_bYX1: jax.Array) -> jax.Array:
    """Return the code of images in [0, 1], [b, Y / 4, X / 4, 16]."""
    x = _pooled(jax.nn.relu(self.down1(x_bYX1)))
    x = _pooled(jax.nn.relu(self.down2(x)))
    return jax.nn.relu(self.down3(x))

  def decode(self, code_bYXC: jax.Array) -> jax.Array:
    """Return images in [0, 1], [b, Y, X, 1]."""
    x = jax.nn.relu(_transposed(self.up1, code_bYXC))
    x = jax.nn.relu(self.up2(x))
    x = jax.nn.relu(_transposed(self.up3, x))
    return jax.nn.sigmoid(self.up4(x))

  def __call__(self, grey_bYX: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return features [b, 64] and each image's mean squared error, [b].

    Args:
      grey_bYX: uint8 images of the side that the module was made for.
    """
    assert self.features is not None  # the module was made for a side
    x_bYX1 = grey_bYX[..., None].astype(jnp.float32) / 255
    code = self.encode(x_bYX1)
    error_b = squared_error(self.decode(code), x_bYX1)
    return self.features(code.reshape(len(code), -1)), error_b


def grey(images_bYXC: jax.Array) -> jax.Array:
  """Return grey levels in [0, 1], [b, Y, X, 1], of uint8 RGB images."""
  levels = images_bYXC.astype(jnp.float32) @ jnp.array(_LUMA, jnp.float32)
  return levels[..., None] / 255


def noisy(x_bYX1: jax.Array, keys_b: jax.Array, sigma: float) -> jax.Array:
  """Return images with Gaussian noise, not limited to [0, 1].

  Args:
    x_bYX1: images in [0, 1].
    keys_b: random key of each image.
    sigma: standard deviation of the noise.
  """
  draw = functools.partial(jax.random.normal, shape=x_bYX1.shape[1:])
  return x_bYX1 + sigma * jax.vmap(draw)(keys_b)


def squared_error(x_bYX1: jax.Array, y_bYX1: jax.Array) -> jax.Array:
  """Return the mean over pixels of the squared difference, [b]."""
  return jnp.mean(jnp.square(x_bYX1 - y_bYX1), axis=(1, 2, 3))


def _features(side: int, rngs: nnx.Rngs) -> layers.Dense:
  """Return the map of a code to features, drawn as PyTorch draws it."""
  num_codes = _CHANNELS * (side // STRIDE) ** 2
  made = layers.Dense(num_codes, NUM_FEATURES, dtype="float32", rngs=rngs)
  shape = (num_codes, NUM_FEATURES)
  made.kernel = nnx.Param(
    weight_norm.torch_uniform(rngs.params(), shape, num_codes)
  )
  return made


def _pooled(x_bYXC: jax.Array) -> jax.Array:
  """Return the largest of each 2 x 2 pixels."""
  b, height, width, channels = x_bYXC.shape
  x = x_bYXC.reshape(b, height // 2, 2, width // 2, 2, channels)
  return jnp.max(x, axis=(2, 4))


def _transposed(conv: convolution.Conv, x_bYXC: jax.Array) -> jax.Array:
  """Return PyTorch's transposed convolution: stride 2, padding and extra 1.

  The kernel is that of a convolution of the image with zeros between pixels.
  """
  assert conv.bias is not None  # all of them have one
  y = jax.lax.conv_general_dilated(
    x_bYXC,
    conv.kernel[...],
    window_strides=(1, 1),
    padding=((1, 2), (1, 2)),
    lhs_dilation=(2, 2),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  return y + conv.bias[...]
