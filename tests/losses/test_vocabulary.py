"""The vocabulary loss in blocks equals the plain one, in bounded memory."""

import importlib.util
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from losses import vocabulary
from tests.losses import pairs

RNG = np.random.default_rng(0)
B, L, D, V = 8, 5, 16, 24
X = RNG.normal(size=(B, L, D)).astype(np.float32)
TABLE = RNG.normal(size=(V, D)).astype(np.float32)
BIAS = RNG.normal(size=V).astype(np.float32)
LABEL = RNG.integers(0, V, (B, L)).astype(np.int32)
LABEL[0, 3] = LABEL[5] = vocabulary.IGNORED
WEIGHT = RNG.uniform(size=(B, L)).astype(np.float32)
WEIGHT[1, 2] = 0.0
AXES = vocabulary.Axes(pairs.BATCH_AXES, "tensor", "fsdp")
# Neither divides its rows, on any mesh below.
RAGGED = {"block_tokens": 7, "block_words": 5}


def _grads(loss_fn, x=X, table=TABLE, **kwargs):
  """Return each token's loss, and gradients by tokens, table and bias."""

  def mean(x, table, bias, label, weight):
    loss_BL = loss_fn(x, table, label, bias, **kwargs)
    return jnp.sum(weight * loss_BL) / jnp.sum(weight), loss_BL

  (_, loss_BL), grads = jax.jit(
    jax.value_and_grad(mean, argnums=(0, 1, 2), has_aux=True)
  )(x, table, BIAS, LABEL, WEIGHT)
  return loss_BL, *grads


def _assert_close(got, want, rtol=1e-6):
  """Compare arrays, by the largest entry of each.

  rtol: float32 has 24 bits of mantissa; sums of tens of terms are rounded in
  another order.
  """
  for g, w in zip(got, want, strict=True):
    w = np.float32(w)
    np.testing.assert_allclose(np.float32(g), w, 0, rtol * np.abs(w).max())


@pytest.fixture(scope="module")
def plain():
  return _grads(vocabulary.reference)


@pytest.mark.parametrize("sizes", [{}, RAGGED])
def test_equals_the_plain_loss(plain, sizes):
  _assert_close(_grads(vocabulary.cross_entropy, **sizes), plain)
  assert np.abs(plain[3]).max() > 1e-2


@pytest.mark.parametrize(
  "shape", [(2, 1, 1), (1, 2, 1), (1, 1, 2), (2, 2, 2), (1, 2, 4)]
)
def test_equals_the_plain_loss_on_every_mesh(plain, shape):
  with jax.set_mesh(pairs.make_mesh(*shape)):
    got = _grads(vocabulary.cross_entropy, axes=AXES, **RAGGED)
  _assert_close(got, plain)


def test_ignored_and_weightless_tokens_have_no_gradient():
  loss_BL, dx_BLD, *_ = _grads(vocabulary.cross_entropy, **RAGGED)
  assert not np.any(loss_BL[5])
  assert loss_BL[0, 3] == 0
  assert loss_BL[1, 2] > 0
  is_without = (LABEL == vocabulary.IGNORED) | (WEIGHT == 0)
  np.testing.assert_array_equal(np.any(dx_BLD, axis=2), ~is_without)


def test_bfloat16_is_summed_in_float32():
  x, table = jnp.bfloat16(X), jnp.bfloat16(TABLE)
  got = _grads(vocabulary.cross_entropy, x, table, **RAGGED)
  assert [g.dtype for g in got] == ["float32", *["bfloat16"] * 2, "float32"]
  want = _grads(vocabulary.reference, jnp.float32(x), jnp.float32(table))
  # Products of bfloat16 are exact in float32, so the value is as good.
  _assert_close(got[:1], want[:1])
  # Derivatives by logits and the results are rounded to 8 bits, 2^-9 each, and
  # a sum of both signs keeps the rounding of its terms.
  _assert_close(got[1:3], want[1:3], rtol=2**-7)
  _assert_close(got[3:], want[3:])


def test_a_float32_table_is_used_in_the_type_of_the_tokens():
  x = jnp.bfloat16(X)
  got = _grads(vocabulary.cross_entropy, x, TABLE, **RAGGED)
  assert got[2].dtype == jnp.float32
  want = _grads(vocabulary.reference, x, TABLE)
  _assert_close(got[:1], want[:1])


def test_memory_by_the_compiler():
  """Logits of 512 tokens and 8192 words are 16 MiB."""
  arrays = [
    jax.ShapeDtypeStruct(shape, dtype)
    for shape, dtype in (
      ((8, 64, 16), jnp.float32),
      ((8192, 16), jnp.float32),
      ((8, 64), jnp.int32),
    )
  ]

  def temp_mib(loss_fn, **kwargs):
    step = jax.value_and_grad(
      lambda *args: jnp.mean(loss_fn(*args, **kwargs)), argnums=(0, 1)
    )
    compiled = jax.jit(step).lower(*arrays).compile()
    return compiled.memory_analysis().temp_size_in_bytes / 2**20

  plain = temp_mib(vocabulary.reference)
  blocks = temp_mib(vocabulary.cross_entropy, block_tokens=64, block_words=512)
  assert plain > 16
  # Some arrays of a block, 0.125 MiB each, and the gradient of the table.
  assert blocks < plain / 16


@pytest.mark.long
@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None, reason="needs libtpu"
)
def test_memory_on_a_tpu():
  """1,024 texts of 64 tokens, 256,000 words, compiled for a TPU v5e."""
  done = subprocess.run(
    [sys.executable, "-m", "benchmarks.vocabulary_loss", "--json", "--noplain"],
    capture_output=True,
    text=True,
    check=True,
  )
  (row,) = map(json.loads, done.stdout.splitlines())
  assert row["logits_mib"] == 32_000
  assert row["temp_mib"] <= 256


def test_bad_arguments():
  with pytest.raises(ValueError, match="block_words must be at least 1; got 0"):
    vocabulary.cross_entropy(X, TABLE, LABEL, block_words=0)
  with pytest.raises(ValueError, match=r"label_BL must have .* got \(8, 4\)"):
    vocabulary.cross_entropy(X, TABLE, LABEL[:, 1:])
  with pytest.raises(ValueError, match=r"width must be among .*'tensor'"):
    vocabulary.Axes(("data",), width="tensor")
  with pytest.raises(ValueError, match=r"words must not be among .*'data'"):
    vocabulary.Axes(("data",), words="data")
