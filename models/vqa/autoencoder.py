"""Convolutional denoising autoencoder of grey images (CDAE).

Source: MEVF (arXiv 1909.11867), released code: its encoder's output gives 64
visual features, and its reconstruction a part of the loss.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from models import convolution, layers
from models.vqa import weight_norm

NUM_FEATURES = 64
# Pixels of a side that become one: two poolings by 2.
STRIDE = 4
_CHANNELS = 16  # of the encoder's output: 16 x 32 x 32 for 128 pixels


class Autoencoder(nnx.Module):
  """Encoder to [b, side / 4, side / 4, 16], and decoder back to pixels."""

  def __init__(self, side: int, *, rngs: nnx.Rngs):
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
    num_codes = _CHANNELS * (side // STRIDE) ** 2
    self.features = layers.Dense(
      num_codes, NUM_FEATURES, dtype="float32", rngs=rngs
    )
    self.features.kernel = nnx.Param(
      weight_norm.torch_uniform(
        rngs.params(), (num_codes, NUM_FEATURES), num_codes
      )
    )

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
    x_bYX1 = grey_bYX[..., None].astype(jnp.float32) / 255
    code = self.encode(x_bYX1)
    error_b = jnp.mean(jnp.square(self.decode(code) - x_bYX1), axis=(1, 2, 3))
    return self.features(code.reshape(len(code), -1)), error_b


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
