"""Batch normalisation whose statistics are those of small groups.

In PyTorch or with one program a device, a batch is the rows of one device.
Under jit it is the batch of all devices, which is another model: ALIGN's
statistics are those of 16 images (arXiv 2102.05918 trains 16 images a core). So
the group is a field of the config.

Running statistics are leaves of a model's variables, beside its parameters, so
that they are placed, exported and loaded with them. They are never trained: a
training state keeps them apart (`split`), and each step replaces them with the
new statistics that the forward pass returns.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from runtime import checks

# Nested dict of running statistics, with the paths that they have in a model.
Statistics = dict[str, Any]
NAMES = ("running_mean", "running_var")


class Statistic(nnx.Param):
  """A running statistic: stored like a parameter, changed by no gradient."""


class BatchNorm(nnx.Module):
  """Normalise each channel; mean and variance in float32."""

  def __init__(
    self,
    width: int,
    *,
    group: int,
    epsilon: float,
    momentum: float,
    dtype: str,
    scale_init: float = 1.0,
    frozen: bool = False,
  ):
    """Make the parameters.

    Args:
      width: channels.
      group: images that are normalised together in training, neighbours in the
        batch; 0 for the whole batch.
      epsilon: added to the variance.
      momentum: share of the running statistics kept in each step (0.99 is
        TensorFlow's default; PyTorch's default of 0.1 is 0.9 here).
      dtype: type of the result.
      scale_init: initial scale; 0 makes a residual branch begin as zero.
      frozen: whether training normalises by the running statistics and changes
        neither them nor scale and bias, as detectors do that start from a
        classifier's weights.
    """
    self.scale = nnx.Param(jnp.full((width,), scale_init))
    self.bias = nnx.Param(jnp.zeros((width,)))
    self.running_mean = Statistic(jnp.zeros((width,)))
    self.running_var = Statistic(jnp.ones((width,)))
    self.group = group
    self.epsilon = epsilon
    self.momentum = momentum
    self.dtype = dtype
    self.frozen = frozen

  def __call__(
    self, x_bYXC: jax.Array, stats: Statistics | None = None
  ) -> jax.Array:
    """Normalise by the running statistics, or by those of the batch.

    Args:
      x_bYXC: images.
      stats: None to evaluate. In training, a dict that receives the new running
        statistics: of the groups' means and unbiased variances, averaged over
        groups, as PyTorch and TensorFlow's fused kernel keep them.

    Raises:
      ValueError: `group` does not divide the batch.
    """
    if stats is None or self.frozen:
      mean_C, var_C = self.running_mean[...], self.running_var[...]
      x_bYXC = self._normalise(x_bYXC.astype(jnp.float32) - mean_C, var_C)
      return x_bYXC.astype(self.dtype)
    batch_size = len(x_bYXC)
    group = self.group or batch_size
    if batch_size % group:
      raise ValueError(
        f"model.image.batch_norm_group={group} must divide the number of"
        f" images that are embedded at a time; got {batch_size}"
      )
    # Rows of a group are neighbours, so they lie on one device.
    x_ggYXC = x_bYXC.reshape(-1, group, *x_bYXC.shape[1:]).astype(jnp.float32)
    axes = (1, 2, 3)
    mean_g111C = jnp.mean(x_ggYXC, axes, keepdims=True)
    centred = x_ggYXC - mean_g111C
    var_g111C = jnp.mean(jnp.square(centred), axes, keepdims=True)
    count = x_ggYXC[0, ..., 0].size
    unbiased = count / max(count - 1, 1)
    mean_C = jnp.mean(mean_g111C, (0, *axes))
    var_C = unbiased * jnp.mean(var_g111C, (0, *axes))
    for name, old, new in zip(
      NAMES,
      (self.running_mean[...], self.running_var[...]),
      (mean_C, var_C),
      strict=True,
    ):
      kept = self.momentum * old + (1 - self.momentum) * new
      stats[name] = jax.lax.stop_gradient(kept)
    y_ggYXC = self._normalise(centred, var_g111C)
    return y_ggYXC.reshape(x_bYXC.shape).astype(self.dtype)

  def _normalise(self, centred: jax.Array, var: jax.Array) -> jax.Array:
    scale_C, bias_C = self.scale[...], self.bias[...]
    if self.frozen:
      scale_C, bias_C = jax.lax.stop_gradient((scale_C, bias_C))
    return centred * (jax.lax.rsqrt(var + self.epsilon) * scale_C) + bias_C


def maker(config: Any, dtype: str) -> Callable[..., BatchNorm]:
  """Return the function from width to a BatchNorm of this tower."""
  return functools.partial(
    BatchNorm,
    group=config.batch_norm_group,
    epsilon=config.norm_epsilon,
    momentum=config.norm_momentum,
    dtype=dtype,
  )


def inside(stats: Statistics | None, name: str) -> Statistics | None:
  """Return a submodule's dict in `stats`, made if new; None for no `stats`."""
  return None if stats is None else stats.setdefault(name, {})


def split(variables: dict[str, Any]) -> tuple[dict[str, Any], Statistics]:
  """Return a model's variables as (parameters, running statistics).

  Args:
    variables: nested dict with any leaves, as dual_encoder.init_params returns.
  """
  params: dict[str, Any] = {}
  stats: Statistics = {}
  for name, x in variables.items():
    if isinstance(x, dict):
      inner_params, inner_stats = split(x)
      if inner_params:
        params[name] = inner_params
      if inner_stats:
        stats[name] = inner_stats
    elif name in NAMES:
      stats[name] = x
    else:
      params[name] = x
  return params, stats


def join(params: dict[str, Any], stats: Statistics) -> dict[str, Any]:
  """Return variables with the leaves of both; those of `stats` come first."""
  joined = dict(params)
  for name, x in stats.items():
    if isinstance(x, dict):
      joined[name] = join(joined.get(name, {}), x)
    else:
      joined[name] = x
  return joined


def check(section: str, config: Any) -> None:
  """Raise ValueError where the fields of batch normalisation cannot be used."""
  checks.at_least(f"{section}.batch_norm_group", config.batch_norm_group, 0)
  checks.in_range(f"{section}.norm_momentum", config.norm_momentum, 0, 1)
  checks.above(f"{section}.norm_epsilon", config.norm_epsilon, 0)
