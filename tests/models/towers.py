"""Tiny towers that the tests of this folder share."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from models import dual_encoder, text_transformer, vit

IMAGE = vit.ViTConfig(
  tower="vit",
  image_size=16,
  patch_size=8,
  width=16,
  depth=2,
  num_heads=2,
  mlp_width=32,
  activation="gelu_tanh",
  position="learned",
  pool="map",
  pre_norm=False,
  projection=True,
  projection_bias=False,
  norm_epsilon=1e-6,
  dropout=0.0,
  patch_dropout=0.0,
)
TEXT = text_transformer.TextTransformerConfig(
  tower="transformer",
  vocab_size=50,
  num_tokens=8,
  pad_id=0,
  eot_id=1,
  width=16,
  depth=2,
  num_heads=2,
  mlp_width=32,
  activation="gelu_tanh",
  causal=False,
  pool="map",
  mask_padding=True,
  projection=True,
  projection_bias=False,
  norm_epsilon=1e-6,
  dropout=0.0,
)
MODEL = dual_encoder.ModelConfig(
  embed_dim=12,
  dtype="float32",
  remat="none",
  remat_chunks=1,
  scale_init=10.0,
  scale_max=0.0,
  bias_init=-10.0,
  image_mean=(0.5, 0.4, 0.3),
  image_std=(0.5, 0.25, 0.2),
  image=IMAGE,
  text=TEXT,
)


def make_config(image=None, text=None, **fields) -> dual_encoder.ModelConfig:
  """Return MODEL with the given fields of it and of its towers."""
  return dataclasses.replace(
    MODEL,
    image=dataclasses.replace(IMAGE, **(image or {})),
    text=dataclasses.replace(TEXT, **(text or {})),
    **fields,
  )


def make_shapes(config: dual_encoder.ModelConfig) -> dual_encoder.Params:
  """Return parameters without values."""
  return jax.eval_shape(
    lambda key: dual_encoder.init_params(config, key), jax.random.key(0)
  )


def make_params(config: dual_encoder.ModelConfig) -> dual_encoder.Params:
  """Return parameters, none of them 0, so that each one matters."""
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape), x.dtype),
    make_shapes(config),
  )


def make_model(config: dual_encoder.ModelConfig) -> dual_encoder.DualEncoder:
  """Return a model with `make_params`."""
  return dual_encoder.merge(
    dual_encoder.make_graph(config), make_params(config)
  )


@jax.jit
def embed_images(model, images_bYXC):
  """Embed as the model does, compiled."""
  return model.embed_images(images_bYXC)


@jax.jit
def embed_texts(model, tokens_bL):
  """Embed as the model does, compiled."""
  return model.embed_texts(tokens_bL)


def make_images(count: int = 3, size: int = 16) -> jax.Array:
  """Return uint8 noise."""
  rng = np.random.default_rng(1)
  return jnp.asarray(rng.integers(0, 256, (count, size, size, 3), np.uint8))


def make_tokens(lengths=(3, 5, 8), num_tokens: int = 8) -> jax.Array:
  """Return captions of these lengths, padded with 0."""
  rng = np.random.default_rng(2)
  ids = rng.integers(1, 50, (len(lengths), num_tokens))
  real = np.arange(num_tokens) < np.asarray(lengths)[:, None]
  return jnp.asarray(np.where(real, ids, 0), jnp.int32)
