"""Positions and maps of patches for another resolution, side or length."""

import jax
import numpy as np
import pytest

from models.pretrained import positions
from tests.models.pretrained import goldens


@pytest.mark.parametrize("num_prefix", [0, 1])
@pytest.mark.parametrize("side", [2, 4, 9])
def test_grid(num_prefix, side):
  """As PyTorch's bicubic with antialiasing; a cls token's stays as it is."""
  with np.load(goldens.FOLDER / "positions.npz", allow_pickle=False) as file:
    table, want = file["table"], file[f"side{side}"]
  prefix = np.full((num_prefix, 3), 7, np.float32)
  got = positions.resize_grid(num_prefix)(
    np.concatenate([prefix, table]), (num_prefix + side * side, 3)
  )
  np.testing.assert_array_equal(got[:num_prefix], prefix)
  # Sums of 16 terms of up to 3, in another order, and weights rounded twice.
  np.testing.assert_allclose(got[num_prefix:], want, atol=1e-5)


def test_grid_must_be_square():
  with pytest.raises(ValueError, match="a square grid .* got 17 positions"):
    positions.resize_grid(0)(np.zeros((17, 3)), (16, 3))


def test_length():
  table = np.arange(12).reshape(4, 3)
  np.testing.assert_array_equal(
    positions.resize_length(table, (2, 3)), table[:2]
  )
  with pytest.raises(ValueError, match=r"4 text positions; .*num_tokens=5"):
    positions.resize_length(table, (5, 3))


def test_an_enlarged_patch_has_its_token():
  """FlexiViT's condition: the token of the enlarged patch is the same."""
  rng = np.random.default_rng(0)
  patch = rng.normal(size=(4, 4, 3)).astype(np.float32)
  kernel = rng.normal(size=(4 * 4 * 3, 5)).astype(np.float32)
  large = jax.image.resize(patch, (6, 6, 3), "linear")
  got = positions.resize_patches(kernel, (6 * 6 * 3, 5))
  np.testing.assert_allclose(
    np.ravel(large) @ got,
    np.ravel(patch) @ kernel,
    atol=1e-4,  # float32 sums of 108 products
  )


def test_a_smaller_patch_has_the_nearest_token():
  """No other map has tokens nearer to the old ones, over all patches."""
  rng = np.random.default_rng(0)
  patches = np.eye(16, dtype=np.float32).reshape(16, 4, 4, 1)
  kernel = rng.normal(size=(16 * 3, 2)).astype(np.float32)
  small = jax.image.resize(
    patches, (16, 3, 3, 1), "linear", antialias=False
  ).reshape(16, 9)

  def error(weights):  # each colour alone
    tokens = np.asarray(small) @ weights.reshape(9, 6)
    return float(np.sum((tokens - kernel.reshape(16, 6)) ** 2))

  got = positions.resize_patches(kernel, (9 * 3, 2))
  for _ in range(20):
    other = got + 0.01 * rng.normal(size=got.shape)
    assert error(got) < error(other)
