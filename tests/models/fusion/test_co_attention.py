"""METER's layers against NumPy, written out; padding, dropout, heads."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.fusion import co_attention
from tests.models.fusion import tiny_clipbert

CONFIG = co_attention.CoAttentionConfig(
  depth=2, width=8, num_heads=2, mlp_ratio=2, dropout=0.0
)
RNG = np.random.default_rng(0)
TEXT = RNG.normal(size=(2, 4, 6)).astype(np.float32)
IMAGE = RNG.normal(size=(2, 5, 7)).astype(np.float32)
IS_WORD = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], bool)


def _make(**fields) -> co_attention.CoAttention:
  config = co_attention.CoAttentionConfig(**{**CONFIG.__dict__, **fields})
  return tiny_clipbert.filled(
    lambda: co_attention.CoAttention(
      config,
      text_width=6,
      image_width=7,
      dtype="float32",
      rngs=nnx.Rngs(params=0),
    ),
    noise=0.4,
  )


_run = jax.jit(
  lambda model, *args: model(
    args[0], args[1], args[2][:, None, None], *args[3:]
  )
)


def _affine(p, x):
  return x @ p["kernel"] + p["bias"]


def _norm(p, x):
  mean = x.mean(-1, keepdims=True)
  deviation = np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-12)
  return p["scale"] * (x - mean) / deviation + p["bias"]


def _attention(p, x, y, is_seen):
  """Attend from each token of x to those tokens of y that are seen."""
  query, key, value = (
    _affine(p[name], z)
    for name, z in zip(("query", "key", "value"), (x, y, y), strict=True)
  )
  out = np.zeros_like(query)
  size = query.shape[-1] // 2
  for head in range(2):
    part = slice(head * size, (head + 1) * size)
    for i in range(len(x)):
      logits = np.array([query[i, part] @ k[part] for k in key]) / size**0.5
      weights = np.where(is_seen, np.exp(logits), 0)
      out[i, part] = weights / weights.sum() @ value[:, part]
  return _affine(p["out"], out)


def _gelu(x):
  return x * 0.5 * (1 + np.vectorize(math.erf)(x / 2**0.5))


def _layer(p, x, y, is_own, is_other):
  x = _norm(p["attn_norm"], x + _attention(p["attn"], x, x, is_own))
  x = _norm(p["cross_norm"], x + _attention(p["cross"]["attn"], x, y, is_other))
  hidden = _gelu(_affine(p["mlp"]["up"], x))
  return _norm(p["mlp_norm"], x + _affine(p["mlp"]["down"], hidden))


@pytest.mark.parametrize("image_pool", co_attention.IMAGE_POOLS)
def test_equals_numpy(image_pool: str):
  model = _make(image_pool=image_pool)
  text, pooled = _run(model, TEXT, IMAGE, IS_WORD)
  params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  is_cell = np.ones(5, bool)
  for b in range(2):
    x = _affine(p["text"], TEXT[b]) + p["type_embedding"][0]
    y = _affine(p["image"], IMAGE[b]) + p["type_embedding"][1]
    for depth in range(2):
      of_text, of_image = (
        jax.tree.map(lambda z: z[depth], p["blocks"][name])  # noqa: B023
        for name in ("text", "image")
      )
      x, y = (
        _layer(of_text, x, y, IS_WORD[b], is_cell),
        _layer(of_image, y, x, is_cell, IS_WORD[b]),
      )
    # float32 sums beside float64's.
    np.testing.assert_allclose(text[b], x, atol=2e-5)
    first = y.mean(0) if image_pool == "mean" else y[0]
    both = [_affine(p["text_pooler"], x[0]), _affine(p["image_pooler"], first)]
    np.testing.assert_allclose(
      pooled[b], np.tanh(np.concatenate(both)), 0, 2e-5
    )


def test_padding_has_no_effect_on_words_and_image():
  model = _make()
  text, pooled = _run(model, TEXT, IMAGE, IS_WORD)
  other = TEXT.copy()
  other[0, 3] += 5
  changed, changed_pooled = _run(model, other, IMAGE, IS_WORD)
  np.testing.assert_allclose(changed[0, :3], text[0, :3], atol=1e-6)
  np.testing.assert_allclose(changed_pooled, pooled, atol=1e-6)
  seen = _run(model, other, IMAGE, np.ones_like(IS_WORD))[1]
  assert np.abs(seen[0] - pooled[0]).max() > 1e-4


def test_dropout_by_row():
  model = _make(dropout=0.5)
  keys = jax.random.split(jax.random.key(0), 2)
  _, dropped = _run(model, TEXT, IMAGE, IS_WORD, keys)
  _, plain = _run(model, TEXT, IMAGE, IS_WORD)
  assert (np.abs(dropped - plain).max(1) > 1e-3).all()
  _, back = _run(model, TEXT[::-1], IMAGE[::-1], IS_WORD[::-1], keys[::-1])
  np.testing.assert_allclose(back[::-1], dropped, atol=1e-6)


def test_heads():
  text, pooled = np.zeros((2, 4, 8), np.float32), np.zeros((2, 16), np.float32)

  def make(num_answers: int) -> co_attention.Heads:
    return co_attention.Heads(
      CONFIG,
      vocab_size=11,
      num_answers=num_answers,
      dtype="float32",
      rngs=nnx.Rngs(params=0),
    )

  words, matching = jax.eval_shape(
    lambda: make(0).pretraining(jnp.asarray(text), jnp.asarray(pooled))
  )
  assert words.shape == (2, 4, 11)
  assert matching.shape == (2, 2)
  answers = jax.eval_shape(lambda: make(3129).answer(jnp.asarray(pooled)))
  assert answers.shape == (2, 3129)
  assert answers.dtype == jnp.float32


def test_messages():
  config = co_attention.CoAttentionConfig(
    width=10, num_heads=4, image_pool="max", dropout=1.0
  )
  with pytest.raises(ValueError, match="problems") as error:
    config.check()
  for field in ("width", "image_pool", "dropout"):
    assert f"fusion.meter.{field} must" in str(error.value)
