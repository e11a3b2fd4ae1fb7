"""Zero-shot classes of boxes: crops, their class, and which box they are."""

import numpy as np
import pytest

from evaluators import proposals
from evaluators.metrics import detection


def _boxes(box_M4, scores=None, crowd=None):
  box_M4 = np.array(box_M4, float).reshape(-1, 4)
  return detection.Boxes(
    box_M4,
    np.zeros(len(box_M4), int),
    None if scores is None else np.array(scores, float),
    crowd,
  )


def test_a_crop_is_named_by_its_colour():
  """Classes are colours, an embedding the mean colour of a crop."""
  pixels = np.zeros((20, 30, 3), np.uint8)
  pixels[2:8, 3:9, 0] = pixels[10:18, 20:30, 2] = 255
  parts = proposals.crops(
    pixels,
    np.array([[3, 2, 9, 8], [20.4, 10.2, 29.9, 17.9], [-4, -4, 0.5, 99]]),
  )
  assert [part.shape[:2] for part in parts] == [(6, 6), (8, 10), (20, 1)]
  sizes = []

  def embed(images):
    sizes.append(len(images))
    z = images.reshape(len(images), -1, 3).mean(axis=1) + 1e-3
    return z / np.linalg.norm(z, axis=1, keepdims=True)

  label_P, similarity_P = proposals.classify(
    parts[:2] * 2 + parts[:1],
    embed,
    lambda part: np.full((4, 4, 3), part.mean((0, 1)), np.uint8),
    np.eye(3, dtype=np.float32),
    batch_size=2,
  )
  assert label_P.tolist() == [0, 2, 0, 2, 0]
  np.testing.assert_allclose(similarity_P, 1, atol=1e-4)
  assert sizes == [2, 2, 2]  # the last is filled up


def test_no_crop_has_no_class():
  none = proposals.classify([], None, None, np.eye(2), batch_size=4)
  assert [x.shape for x in none] == [(0,), (0,)]


def test_a_box_is_matched_once_best_score_first():
  truth = _boxes(
    [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]],
    crowd=np.array([False, False, True]),
  )
  found = _boxes(
    [[0, 0, 9, 10], [0, 0, 10, 10], [20, 0, 30, 12], [40, 0, 50, 10]],
    scores=[0.9, 0.5, 0.6, 0.8],
  )
  assert proposals.matched(truth, found).tolist() == [0, -1, 1, -1]
  assert proposals.matched(_boxes([]), found).tolist() == [-1] * 4


def test_record_has_chance_and_an_interval():
  right_P = np.array([True, True, False, True] * 5)
  made = proposals.record(right_P, np.repeat(np.arange(10), 2), 20)
  assert made["top_1"] == 0.75
  assert made["chance"]["top_1"] == 0.05
  low, high = made["intervals"]["top_1"]
  assert 0.5 < low < 0.75 < high < 1
  with pytest.raises(ValueError, match="must be some; got none"):
    proposals.record(np.zeros(0, bool), np.zeros(0, int), 20)
