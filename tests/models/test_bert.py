"""BERT as a text tower: pooling, padding, dropout; parity is in pretrained/."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import bert, layers, stack
from tests.models import towers

_TEXT = bert.BertConfig(
  tower="bert",
  vocab_size=50,
  num_tokens=8,
  num_types=2,
  width=16,
  depth=2,
  num_heads=2,
  mlp_width=32,
  activation="gelu",
  pool="cls",
  pad_id=0,
  projection=True,
  projection_bias=True,
  norm_epsilon=1e-12,
  dropout=0.0,
)


def _config(**fields):
  return dataclasses.replace(
    towers.MODEL, image=None, text=dataclasses.replace(_TEXT, **fields)
  )


@pytest.mark.parametrize("pool", bert.POOLS)
def test_padding_does_not_change_an_embedding(pool):
  model = towers.make_model(_config(pool=pool))
  short = towers.make_tokens(lengths=(3, 5), num_tokens=5)
  padded = jnp.pad(short, ((0, 0), (0, 3)))
  ztxt_bE = towers.embed_texts(model, short)
  assert ztxt_bE.shape == (2, 12)
  np.testing.assert_allclose(  # the same terms and zeros, summed otherwise
    towers.embed_texts(model, padded), ztxt_bE, atol=1e-6
  )
  swapped = short.at[:, 1:3].set(short[:, 2:0:-1])
  changed = np.abs(towers.embed_texts(model, swapped) - ztxt_bE).max(axis=1)
  assert (changed > 1e-3).all()


def test_another_padding_id():
  """The id of padding has no effect where nothing reads its vector."""
  tokens = towers.make_tokens(lengths=(3, 5))
  tokens = jnp.where(tokens == 49, 1, tokens)
  np.testing.assert_allclose(
    towers.embed_texts(
      towers.make_model(_config(pad_id=49)), jnp.where(tokens == 0, 49, tokens)
    ),
    towers.embed_texts(towers.make_model(_config()), tokens),
    atol=1e-6,
  )


def test_a_row_without_tokens_has_a_finite_mean():
  model = towers.make_model(_config(pool="mean"))
  assert np.isfinite(towers.embed_texts(model, jnp.zeros((2, 8), int))).all()


def test_dropout_is_the_same_in_chunks():
  config = _config(dropout=0.5)
  tokens = towers.make_tokens(lengths=(3, 5, 8, 1))
  keys = jax.random.split(jax.random.key(0), 4)
  embed = jax.jit(lambda model, keys_b: model.embed_texts(tokens, keys_b))
  want = embed(towers.make_model(config), keys)
  chunked = dataclasses.replace(config, remat="block", remat_chunks=2)
  np.testing.assert_allclose(
    embed(towers.make_model(chunked), keys), want, atol=1e-6
  )
  plain = embed(towers.make_model(config), None)
  assert (np.abs(plain - want).max(axis=1) > 1e-3).all()


def test_layers_normalise_last():
  """The last thing of a layer is a norm: tokens have its scale and bias."""
  block = stack.Block(
    16,
    2,
    32,
    activation="gelu",
    norm_epsilon=1e-12,
    dtype="float32",
    rngs=layers.nnx.Rngs(0),
    norm_last=True,
  )
  x_bSD = 5 + jax.random.normal(jax.random.key(1), (2, 3, 16))
  run = jax.jit(lambda block, *args: block(args[0], token_b=args[1]))
  y_bSD = run(block, x_bSD, None)
  np.testing.assert_allclose(y_bSD.mean(-1), 0, atol=1e-5)
  np.testing.assert_allclose(y_bSD.std(-1), 1, atol=1e-4)
  one_b1D = run(block, x_bSD, jnp.asarray([2, 0]))
  np.testing.assert_allclose(one_b1D[0], y_bSD[0, 2:], atol=1e-6)
  np.testing.assert_allclose(one_b1D[1], y_bSD[1, :1], atol=1e-6)


def test_messages():
  with pytest.raises(ValueError, match="model.text.pool must be one of cls"):
    _config(pool="max").check()
  with pytest.raises(ValueError, match=r"model\.text\.width must equal"):
    _config(projection=False).check()
