"""ClipBERT in the size of tests, and its inputs."""

import dataclasses
import functools
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from models import bert
from models.fusion import clipbert, grid
from tests.models import towers

TEXT = bert.BertConfig(
  tower="bert",
  vocab_size=50,
  num_tokens=8,
  num_types=2,
  width=16,
  depth=2,
  num_heads=2,
  mlp_width=32,
  activation="gelu",
  pool="pooler",
  pad_id=0,
  projection=False,
  projection_bias=False,
  norm_epsilon=1e-12,
  dropout=0.0,
)
CNN = grid.GridConfig(width=4, depths=(2, 1, 1, 1), strides_in="conv2")


def make(
  *,
  num_out: int = 3,
  sampled_cells: int = 0,
  dropout: float = 0.0,
  **fields,
) -> clipbert.ClipBert:
  """Return a model with new parameters; `fields` are of config.model."""
  text = dataclasses.replace(TEXT, dropout=dropout)
  model = dataclasses.replace(towers.MODEL, image=None, text=text, **fields)
  return filled(
    lambda: clipbert.ClipBert(
      clipbert.ClipBertConfig(4, 4, sampled_cells),
      CNN,
      model,
      num_out=num_out,
      rngs=nnx.Rngs(params=0),
    )
  )


def filled(build: Callable[[], Any], noise: float = 0.0) -> Any:
  """Return a module with parameters drawn in NumPy: nothing is compiled.

  With `noise` all are random: biases and norms are not zeros and ones.
  """
  graph, params = nnx.split(jax.eval_shape(build))
  shapes = nnx.to_pure_dict(params)
  fill = functools.partial(leaf, noise)
  return nnx.merge(graph, jax.tree.map_with_path(fill, shapes))


def leaf(
  noise: float, path: tuple[Any, ...], x: jax.ShapeDtypeStruct
) -> jax.Array:
  """Return an initial value of a parameter, by its name alone."""
  name = path[-1].key
  rng = np.random.default_rng(zlib.crc32(jax.tree_util.keystr(path).encode()))
  if noise:
    return jnp.asarray(rng.normal(0, noise, x.shape), jnp.float32)
  if name in ("scale", "running_var"):
    return jnp.asarray(np.ones(x.shape, np.float32))
  if name in ("bias", "running_mean"):
    return jnp.asarray(np.zeros(x.shape, np.float32))
  num_in = np.prod(x.shape[:-1]) if name == "kernel" else x.shape[-1]
  return jnp.asarray(rng.normal(0, num_in**-0.5, x.shape), jnp.float32)


def clips(
  num_videos: int = 2, num_clips: int = 2, num_frames: int = 2
) -> jax.Array:
  """Return random frames of 128 pixels, of which there are 2 x 2 cells."""
  shape = (num_videos, num_clips, num_frames, 128, 128, 3)
  return jnp.asarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


def tokens(*shape: int) -> jax.Array:
  """Return random ids, padded from the sixth on."""
  ids = np.random.default_rng(1).integers(1, 50, (*shape, 8))
  ids[..., 5:] = 0
  return jnp.asarray(ids, jnp.int32)


def keys(num: int) -> jax.Array:
  """Return random keys."""
  return jax.random.split(jax.random.key(3), num)
