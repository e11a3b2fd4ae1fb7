"""Embeddings, meshes and gradients that the tests of the losses share."""

import jax
import jax.numpy as jnp
import numpy as np

# (name, label smoothing)
CASES = (
  ("sigmoid", 0.0),
  ("softmax", 0.0),
  ("softmax", 0.1),
  ("unicl", 0.0),
  ("unicl", 0.1),
)
SCALE, BIAS = 10.0, -3.0
BATCH_AXES = ("data", "fsdp")


def embeddings(seed: int, size: int = 16, dim: int = 24):
  """Return zimg_BE and ztxt_BE that resemble each other row by row."""
  rng = np.random.default_rng(seed)
  shared = rng.normal(size=(size, dim))
  noisy = [shared + rng.normal(size=(size, dim)) for _ in range(2)]
  unit = [z / np.linalg.norm(z, axis=1, keepdims=True) for z in noisy]
  return tuple(z.astype(np.float32) for z in unit)


def labels(seed: int, size: int = 16):
  """Return int32 labels, of which some are equal and some are not."""
  rng = np.random.default_rng(seed)
  return rng.integers(0, size // 2, size).astype(np.int32)


def make_mesh(data: int, fsdp: int = 1, tensor: int = 1):
  """Make a mesh of the first data x fsdp x tensor devices."""
  return jax.make_mesh(
    (data, fsdp, tensor),
    (*BATCH_AXES, "tensor"),
    axis_types=(jax.sharding.AxisType.Auto,) * 3,
    devices=jax.devices()[: data * fsdp * tensor],
  )


def reference_grads(reference, zimg, ztxt, labels_B, **kwargs):
  """Return value and gradients of zimg, ztxt, scale and bias."""

  def call(zimg, ztxt, scale, bias):
    return reference(
      zimg, ztxt, scale=scale, bias=bias, labels_B=labels_B, **kwargs
    )

  return jax.jit(jax.value_and_grad(call, argnums=(0, 1, 2, 3)))(
    zimg, ztxt, jnp.float32(SCALE), jnp.float32(BIAS)
  )


def sharded_grads(sharded, mesh, zimg, ztxt, labels_B, **kwargs):
  """Return the same of `sharded` on a mesh."""

  def call(zimg, ztxt, scale, bias, labels_B):
    return sharded(
      zimg,
      ztxt,
      scale=scale,
      bias=bias,
      labels_B=labels_B,
      axis_names=BATCH_AXES,
      **kwargs,
    )

  rows = jax.NamedSharding(mesh, jax.P(BATCH_AXES))
  with jax.set_mesh(mesh):
    return jax.jit(jax.value_and_grad(call, argnums=(0, 1, 2, 3)))(
      jax.device_put(zimg, rows),
      jax.device_put(ztxt, rows),
      jnp.float32(SCALE),
      jnp.float32(BIAS),
      jax.device_put(labels_B, rows),
    )


def assert_close(got, want, rtol=1e-5, atol=2e-6):
  """Compare values and gradients.

  rtol: float32 has 24 bits of mantissa, and sums of hundreds of terms are
  rounded in another order. atol: entries of a gradient that cancel to nearly 0
  (a softmax's bias to exactly 0) keep the rounding of terms, which are below
  10.
  """
  jax.tree.map(
    lambda g, w: np.testing.assert_allclose(
      np.float32(g), np.float32(w), rtol=rtol, atol=atol
    ),
    tuple(got),
    tuple(want),
  )
