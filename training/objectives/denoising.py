"""Denoising of images: MEVF's autoencoder, trained before any question.

The loss is the mean squared difference between an image in grey and what the
autoencoder makes of it with Gaussian noise. The script of MEVF's training was
not read; its released code has the noise and the loss.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from models.vqa import autoencoder
from training import config as config_lib
from training.objectives import objective as objective_lib
from training.objectives import pairs

# Name of the parameters, as in models/vqa/answering.py.
NAME = "autoencoder"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
  """Images, split over the mesh's batch axes.

  Attributes:
    images: uint8 [B, Y, X, 3].
    keys: random key of each image, [B].
  """

  images: Any
  keys: Any = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Errors:
  """Mean squared errors of images in [0, 1], each [b] float32.

  Attributes:
    rebuilt_b: error of the autoencoder's image.
    noisy_b: error of the image that it was given, limited to [0, 1].
  """

  rebuilt_b: jax.Array
  noisy_b: jax.Array


def batch_of(arrays: Mapping[str, Any]) -> Batch:
  """Return the batch of a loader's arrays; their texts are not used."""
  return Batch(arrays["images"])


def make(config: config_lib.Config) -> objective_lib.Objective:
  """Return the objective of a checked config."""

  def build(key: jax.Array) -> autoencoder.Autoencoder:
    return autoencoder.Autoencoder(None, rngs=nnx.Rngs(params=key))

  def init_params(key: jax.Array) -> Any:
    return {NAME: nnx.to_pure_dict(nnx.state(build(key), nnx.Param))}

  graph = nnx.split(jax.eval_shape(build, jax.random.key(0)))[0]

  def errors(params, stats, batch: Batch) -> Errors:
    del stats
    model = nnx.merge(graph, params[NAME])
    x = autoencoder.grey(batch.images)
    noisy = autoencoder.noisy(x, batch.keys, config.vqa.noise_sigma)
    rebuilt = model.decode(model.encode(noisy))
    return Errors(
      autoencoder.squared_error(rebuilt, x),
      autoencoder.squared_error(jnp.clip(noisy, 0, 1), x),
    )

  size = config.data.image_size
  images = jax.ShapeDtypeStruct((config.batch_size, size, size, 3), np.uint8)
  return objective_lib.Objective(
    batch=Batch(images),
    batch_of=batch_of,
    embed=lambda *args: (errors(*args), {}),
    embed_locked=errors,
    loss=lambda params, found, batch: jnp.mean(found.rebuilt_b),
    gradient=pairs.gradient,
    metrics=lambda params: {},
    init_params=init_params,
    draws=True,
  )
