"""Pictures of heat maps: colours that have the same value everywhere."""

import matplotlib as mpl
import numpy as np
import pytest

from inference import heat_pictures
from tests.evaluators.robustness import pictures


def test_scale_clips_and_says_its_values():
  scale = heat_pictures.Scale(0, 0.25)
  shares = scale.shares(np.array([-0.1, 0, 0.125, 0.25, 9]))
  np.testing.assert_array_equal(shares, [0, 0, 0.5, 1, 1])
  assert [text for _, text in scale.marks()] == ["0.000", "0.125", "0.250"]
  near = heat_pictures.Scale(0.0625, 0.0626).marks()
  assert [text for _, text in near] == ["0.062500", "0.062550", "0.062600"]
  tiny = heat_pictures.Scale(0, 2e-9).marks()
  assert tiny[2][1] == "2.000e-09"


def test_a_map_of_one_value_is_said_to_be_one():
  scale = heat_pictures.Scale(0.5, 0.5)
  assert scale.marks() == [(0.0, "0.5 everywhere")]
  assert not scale.shares(np.full((2, 2), 0.5)).any()


def test_overlay_has_the_legends_colour_over_a_middle_grey():
  # Of luma 127.5, the middle of the grey copy.
  image = np.full((1, 11, 3), 128, np.uint8)
  heat = np.linspace(2, 4, 11)[None]
  got = heat_pictures.overlay(image, heat, heat_pictures.Scale(2, 4))
  want = heat_pictures.legend(11).astype(int)
  assert np.abs(got[0] - want).max() <= 1
  colours = 255 * mpl.colormaps["inferno"](np.linspace(0, 1, 11))[:, :3]
  by_hand = 0.65 * colours + 0.35 * 128
  assert np.abs(want - by_hand).max() <= 1


def test_lightness_rises_with_the_value():
  luma = heat_pictures.legend(50) @ [0.299, 0.587, 0.114]
  assert (np.diff(luma) > 0).all()


def test_the_picture_is_seen_below_its_map():
  image = pictures.picture(32, 48)
  got = heat_pictures.overlay(
    image, np.zeros((32, 48)), heat_pictures.Scale(0, 1)
  )
  grey = [(x @ [0.299, 0.587, 0.114]).ravel() for x in (image, got)]
  assert np.corrcoef(grey)[0, 1] > 0.95


@pytest.mark.parametrize(("height", "width"), [(32, 48), (300, 200)])
def test_sheet_has_picture_map_and_legend(height, width):
  image = pictures.picture(height, width)
  heat = np.zeros((height, width), np.float32)
  heat[height // 2 :] = 1
  scale = heat_pictures.Scale(0, 1)
  got = np.asarray(
    heat_pictures.sheet(image, heat, scale, title="a cat", lines=["x"] * 2)
  )
  factor = -(-256 // min(height, width))
  high, wide = height * factor, width * factor
  assert got.shape[1] == 24 * 2 + 2 * (wide + 16) + 18 + 96
  top = got.shape[0] - 24 - high
  left = 24 + wide + 16
  panel = got[top : top + high, left : left + wide].astype(int)
  low, up = (
    panel[-high // 4 :].mean(axis=(0, 1)),
    panel[: high // 4].mean(axis=(0, 1)),
  )
  # Yellow below, where the map is 1.
  assert low[0] > up[0] + 60
  assert low[1] > up[1] + 60
  legend = got[top : top + high, left + wide + 16 + 4]
  np.testing.assert_array_equal(legend[::-1], heat_pictures.legend(high))
