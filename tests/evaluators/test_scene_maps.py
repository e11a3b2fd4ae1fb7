"""Maps of large pictures by their tiles."""

import numpy as np
import pytest

from evaluators import scene_maps


def _mean_colour(images_MYXC):
  mean = images_MYXC.astype(np.float32).mean((1, 2)) + 1e-3
  return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def test_a_place_has_the_mean_of_its_tiles():
  rng = np.random.default_rng(0)
  scene = rng.integers(0, 50, (50, 34, 3)).astype(np.uint8)
  scene[20:30, 8:18, 0] = 255
  red, blue = np.eye(3, dtype=np.float32)[[0, 2]]
  counts = []
  map_TYX, sim_MT = scene_maps.tiles(
    _mean_colour,
    *(scene, np.stack([red, blue])),
    tile=8,
    stride=5,
    num_at_once=7,
    shape=(50, 34),
    advance=counts.append,
  )
  corners = [
    (y, x) for y in (*range(0, 42, 5), 42) for x in (*range(0, 26, 5), 26)
  ]
  assert sim_MT.shape == (len(corners), 2)
  assert sum(counts) == len(corners)
  assert max(counts) == 7
  for y, x in ((0, 0), (25, 12), (49, 33)):
    over = [
      _mean_colour(scene[None, top : top + 8, left : left + 8])[0] @ red
      for top, left in corners
      if top <= y < top + 8 and left <= x < left + 8
    ]
    assert map_TYX[0, y, x] == pytest.approx(np.mean(over), rel=1e-5)
  row, column = np.unravel_index(np.argmax(map_TYX[0]), (50, 34))
  assert 20 <= row < 30
  assert 8 <= column < 18
  # A smaller map has the same tiles.
  small, sims = scene_maps.tiles(
    _mean_colour,
    *(scene, red[None]),
    tile=8,
    stride=5,
    num_at_once=64,
    shape=(25, 17),
  )
  np.testing.assert_array_equal(sims[:, 0], sim_MT[:, 0])
  assert np.abs(small[0] - map_TYX[0, ::2, ::2]).mean() < 0.02
