"""Windows of a grid, and attention within them, beside brute force."""

import jax
import numpy as np
import pytest
from flax import nnx

from models import windows

# (height, width, size, shift): whole windows, cut ones, an odd size.
GRIDS = [(8, 8, 4, 2), (8, 12, 4, 0), (7, 10, 4, 2), (9, 5, 3, 1), (6, 6, 5, 2)]


def test_partition_and_its_inverse():
  x = np.arange(2 * 6 * 9 * 5).reshape(2, 6, 9, 5)
  cut = windows.partition(x, 3)
  assert cut.shape == (2, 6, 9, 5)
  for index, (row, column) in enumerate(np.ndindex(2, 3)):
    window = x[:, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
    np.testing.assert_array_equal(cut[:, index], window.reshape(2, 9, 5))
  np.testing.assert_array_equal(windows.join(cut, 6, 9), x)


@pytest.mark.parametrize("mask_padding", [True, False])
@pytest.mark.parametrize("grid", GRIDS)
def test_the_mask_equals_brute_force(grid, mask_padding):
  height, width, size, shift = grid
  got = np.zeros((_count(grid),) * 2, bool)
  rows, columns = (windows.padded(side, size) for side in (height, width))
  index = np.arange(rows * columns).reshape(1, rows, columns, 1)
  rolled = np.roll(index, (-shift, -shift), (1, 2))
  cut = np.asarray(windows.partition(rolled, size))[0, :, :, 0]
  numbers = windows.regions(
    height, width, size, shift, mask_padding=mask_padding
  )
  for tokens, number in zip(cut, numbers, strict=True):
    got[np.ix_(tokens, tokens)] = number[:, None] == number
  want = _neighbours(grid, mask_padding)
  if mask_padding:  # of no interest: what padding attends to
    is_real = _positions(grid)[2]
    got, want = got[is_real], want[is_real]
  np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
  ("grid", "mask_padding"),
  [
    ((8, 8, 4, 2), True),
    ((7, 10, 4, 2), True),
    ((7, 10, 4, 2), False),
    ((9, 5, 3, 1), True),
    ((3, 4, 5, 2), True),
  ],
)
def test_attention_equals_brute_force(grid, mask_padding):
  """With mask_padding, padding takes no part at all."""
  height, width, window, shift = grid
  model = windows.WindowAttention(
    8, 2, window, mask_padding=mask_padding, dtype="float32", rngs=nnx.Rngs(0)
  )
  rng = np.random.default_rng(0)
  graph, params = nnx.split(model)
  params = jax.tree.map(
    lambda x: rng.normal(0, 0.5, x.shape).astype(np.float32), params
  )
  model = nnx.merge(graph, params)
  x = rng.normal(size=(2, height, width, 8)).astype(np.float32)
  got = jax.jit(lambda m, x: m(x, shift=shift))(model, x)
  chosen = jax.jit(lambda m, x, s: m(x, shift=shift, is_shifted=s))
  size, fitted = windows.fitted(window, height, width, shift)
  want = _attend(model, x, (height, width, size, fitted))
  np.testing.assert_allclose(got, want, atol=1e-5)  # float32 sums of order 1
  # One program for windows that are shifted, and those that are not.
  np.testing.assert_allclose(chosen(model, x, True), want, atol=1e-5)
  still = _attend(model, x, (height, width, size, 0))
  np.testing.assert_allclose(chosen(model, x, False), still, atol=1e-5)


def test_a_grid_within_a_window_is_one_window():
  assert windows.fitted(7, 7, 7, 3) == (7, 0)
  assert windows.fitted(7, 5, 9, 3) == (5, 0)
  assert windows.fitted(7, 8, 9, 3) == (7, 3)
  # The middle of the larger window's table.
  large = windows.relative_positions(3, 3)
  small = windows.relative_positions(2, 3)
  inner = np.ix_([0, 1, 3, 4], [0, 1, 3, 4])
  np.testing.assert_array_equal(small, large[inner])


def _count(grid):
  height, width, size, _ = grid
  return windows.padded(height, size) * windows.padded(width, size)


def _positions(grid):
  """Return y and x of each token of the padded grid, and whether it is real."""
  height, width, size, _ = grid
  y, x = np.divmod(np.arange(_count(grid)), windows.padded(width, size))
  return y, x, (y < height) & (x < width)


def _neighbours(grid, mask_padding):
  """Return whether tokens are between the same lines of shifted windows."""
  _, _, size, shift = grid
  y, x, is_real = _positions(grid)
  row, column = (y - shift) // size, (x - shift) // size
  same = (row[:, None] == row) & (column[:, None] == column)
  if mask_padding:
    same &= is_real[:, None] == is_real
  return same


def _attend(model, x, grid):
  """Return attention over all real tokens and, without the mask, padding."""
  _, _, size, _ = grid
  y_at, x_at, is_real = _positions(grid)
  same = _neighbours(grid, model.mask_padding)
  if model.mask_padding:
    y_at, x_at, same = y_at[is_real], x_at[is_real], same[is_real][:, is_real]
    tokens = x.reshape(len(x), -1, 8)
  else:
    padded = [(0, windows.padded(n, size) - n) for n in x.shape[1:3]]
    tokens = np.pad(x, ((0, 0), *padded, (0, 0))).reshape(len(x), -1, 8)
  query, key, value = (
    _map(dense, tokens).reshape(*tokens.shape[:2], 2, 4)
    for dense in (model.query, model.key, model.value)
  )
  offset, side = model.window - 1, 2 * model.window - 1
  out = np.zeros_like(query)
  table = np.asarray(model.relative_position[...]).reshape(side, side, 2)
  for i in range(tokens.shape[1]):
    (others,) = np.nonzero(same[i])
    rows = y_at[i] - y_at[others] + offset
    columns = x_at[i] - x_at[others] + offset
    logits = np.einsum("bhk,bnhk->bnh", query[:, i], key[:, others]) / 2
    weights = np.exp(logits + table[rows, columns])
    weights /= weights.sum(1, keepdims=True)
    out[:, i] = np.einsum("bnh,bnhk->bhk", weights, value[:, others])
  out = _map(model.out, out.reshape(tokens.shape))
  if model.mask_padding:
    return out.reshape(x.shape)
  return out[:, is_real].reshape(x.shape)


def _map(dense, x):
  return x @ np.asarray(dense.kernel[...]) + np.asarray(dense.bias[...])
