"""A decoder in the size of tests, and its inputs."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import nnx

from models import dual_encoder
from models.decoding import decoder
from tests.models import towers
from tests.models.fusion import tiny_clipbert

CONFIG = decoder.DecoderConfig(
  depth=2,
  width=8,
  num_heads=2,
  mlp_width=16,
  vocab_size=12,
  num_tokens=7,
  begin_id=1,
)
IMAGE_WIDTH = 6
_RNG = np.random.default_rng(0)
# Three images of five tokens, of which the last one and two are padding.
IMAGE = _RNG.normal(size=(3, 5, IMAGE_WIDTH)).astype(np.float32)
IMAGE_MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 1, 0, 0]], bool)
TARGETS = _RNG.integers(2, 12, (3, 7)).astype(np.int32)


def make(
  *, batch_axes: tuple[str, ...] = (), remat: str = "none", **fields
) -> decoder.Decoder:
  """Return a decoder of random parameters; `fields` are of its config."""
  config = dataclasses.replace(CONFIG, **fields)
  model = dataclasses.replace(towers.MODEL, remat=remat)
  settings = dual_encoder.settings_of(model, batch_axes)
  return tiny_clipbert.filled(
    lambda: decoder.Decoder(
      config, settings, image_width=IMAGE_WIDTH, rngs=nnx.Rngs(params=0)
    ),
    noise=0.4,
  )


def make_talkative() -> decoder.Decoder:
  """Return a decoder whose next word depends much on the words before."""
  model = make()
  for name in ("token_embedding", "position"):
    setattr(model, name, nnx.Param(6 * getattr(model, name)[...]))
  return model


def parallel(*rows: bool) -> jnp.ndarray:
  """Return which rows are predicted in parallel."""
  return jnp.array(rows)
