"""Positions for another resolution or length."""

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
