"""Boxes that move with their picture: a bright object stays in its box."""

import numpy as np
import pytest

from input_pipeline import faults
from input_pipeline.images import boxed, picture

RNG = np.random.default_rng(0)
BOX = np.array([[20.0, 10.0, 60.0, 40.0]])


def _image(height: int = 60, width: int = 100) -> picture.Picture:
  """Return a dark picture with a bright object at BOX."""
  pixels = np.zeros((height, width, 3), np.uint8)
  pixels[10:40, 20:60] = 255
  return picture.of_pixels(pixels)


def _bright(pixels: np.ndarray) -> list[float]:
  """Return the box around bright pixels; those outside the picture are grey."""
  rows, columns = (pixels[..., 0] > 200).nonzero()
  return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def _place(image, rng, size=(64, 80), **fields):
  how = {"scale": (1.0, 1.0), "flip_probability": 0.0, "least_visible": 0.3}
  return boxed.place(image, BOX, *size, rng, **(how | fields))


def test_a_picture_is_resized_to_fit():
  placed = _place(_image(), None)
  assert placed.pixels.shape == (64, 80, 3)
  assert placed.factor == (0.8, 0.8)
  np.testing.assert_allclose(placed.box_M4, BOX * 0.8, atol=1e-5)
  # Bilinear edges are a pixel wide.
  np.testing.assert_allclose(_bright(placed.pixels), BOX[0] * 0.8, atol=1.0)
  assert (placed.pixels[48:] == boxed.FILL).all()


@pytest.mark.parametrize("flips", [0.0, 1.0])
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.6, 3.0])
def test_the_object_stays_in_its_box(scale, flips):
  num_seen = 0
  for _ in range(20):
    placed = _place(_image(), RNG, scale=(scale, scale), flip_probability=flips)
    if len(placed.box_M4):
      num_seen += 1
      bright = _bright(placed.pixels)
      np.testing.assert_allclose(placed.box_M4[0], bright, atol=1.5)
      assert placed.kept_M.tolist() == [0]
  assert num_seen > 5


def test_mirroring_twice_changes_nothing():
  box_M4 = np.array([[1.0, 2.0, 5.0, 9.0], [0.0, 0.0, 10.0, 10.0]])
  assert boxed.mirrored(box_M4, 10).tolist() == [[5, 2, 9, 9], [0, 0, 10, 10]]
  twice_M4 = boxed.mirrored(boxed.mirrored(box_M4, 10), 10)
  np.testing.assert_array_equal(twice_M4, box_M4)


def test_a_box_that_is_hardly_visible_is_left_out():
  box_M4 = np.array([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
  cut_M4, is_kept_M = boxed.cropped(box_M4, (8, 0), 40, 40, least_visible=0.2)
  assert is_kept_M.tolist() == [True, False]
  assert cut_M4[0].tolist() == [0, 0, 2, 10]
  _, is_kept_M = boxed.cropped(box_M4, (8, 0), 40, 40, least_visible=0.21)
  assert not is_kept_M.any()


@pytest.mark.parametrize(
  ("box", "message"),
  [
    ((np.nan, 0, 5, 5), "box 1 .* must have finite numbers; got"),
    ((0, 0, np.inf, 5), "must have finite numbers"),
    ((5, 5, 5, 9), "must have some area"),
    ((7, 5, 5, 9), "must have some area"),
    ((100, 0, 120, 5), "must be in the picture of 100 x 60 pixels"),
    ((-9, -9, 0, 5), "must be in the picture"),
  ],
)
def test_wrong_boxes_are_faults(box, message):
  with pytest.raises(faults.ExampleError, match=message) as error:
    boxed.check(np.array([BOX[0], box]), 60, 100)
  assert error.value.kind == "box_broken"


def test_a_box_over_the_side_is_cut_off():
  cut_M4 = boxed.check(np.array([[-3.0, 50.0, 30.0, 61.0]]), 60, 100)
  assert cut_M4.tolist() == [[0, 50, 30, 60]]


def test_moves_follow_one_another():
  half = boxed.Move.of_part(picture.Box(0, 0, 8, 4), 2, 4)
  right = boxed.Move.of_part(picture.Box(2, 0, 4, 2), 8, 8)
  box_M4 = np.array([[0.0, 0, 8, 4], [4, 1, 8, 3], [0, 0, 4, 4]])
  got_M4, share_M = boxed.follow(box_M4, [half, right])
  np.testing.assert_allclose(got_M4[:2], [[0, 0, 8, 8], [0, 2, 8, 6]])
  np.testing.assert_allclose(share_M, [0.5, 1, 0])


def test_turns_come_back():
  move = boxed.Move.of_part(picture.Box(1, 2, 5, 10), 16, 8)
  box_M4 = np.array([[2.0, 3, 3, 9]])
  expected_M4, _ = boxed.follow(box_M4, [move])
  for back in (
    move.mirrored().mirrored(),
    move.upside_down().upside_down(),
    move.turned(1).turned(3),
    move.mirrored().upside_down().turned(2),
  ):
    got_M4, share_M = boxed.follow(box_M4, [back])
    np.testing.assert_allclose(got_M4, expected_M4)
    assert share_M == 1
    assert (back.height, back.width) == (16, 8)
  assert (move.turned(1).height, move.turned(1).width) == (8, 16)


def test_no_boxes_follow():
  move = boxed.Move.of_part(picture.Box(0, 0, 8, 4), 2, 4)
  got_M4, share_M = boxed.follow(np.zeros((0, 4)), [move])
  assert got_M4.shape == (0, 4)
  assert share_M.shape == (0,)
