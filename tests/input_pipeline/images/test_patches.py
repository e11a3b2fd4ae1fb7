"""Patches of a large image."""

import numpy as np

from input_pipeline.images import patches


def test_patches_at_two_scales():
  pixels = np.zeros((4, 8, 3), np.uint8)
  pixels[:, 6:] = 255
  mask = np.zeros((4, 8), bool)
  mask[:2, :2] = True
  found = patches.boxes(
    pixels,
    mask,
    side=2,
    overlap=0.5,
    scales=(1, 2, 4),
    white=200,
    min_tissue=0.6,
  )
  at_1 = [([x, y, x + 2, y + 2], x, y) for y in range(3) for x in range(5)]
  shares = {0: 1.0, 1: 0.5}
  expected = [
    (box, shares.get(x, 0.0) * shares.get(y, 0.0)) for box, x, y in at_1
  ]
  # The edge between tissue and background is blurred where it is reduced.
  assert list(found)[:15] == expected
