"""Icons on photographs: boxes and outlines are those of the drawn pixels."""

import numpy as np

from experiments.parts import icon_sets, placed_icons

NAMES = [f"thing {letter}" for letter in "abcd"]


def icon(name: str, color: str) -> icon_sets.Icon:
  body = f'<rect x="4" y="2" width="8" height="12" fill="{color}"/>'
  return icon_sets.Icon("set", name, body, left=0, top=0, width=16, height=16)


ICONS = {name: [icon(name, "#f00"), icon(name, "#e00")] for name in NAMES}
BLACK = [np.zeros((200, 150, 3), np.uint8)]


def test_boxes_and_outlines_are_those_of_the_icons():
  rng = np.random.default_rng(0)
  for _ in range(10):
    made = placed_icons.compose(rng, ICONS, NAMES, BLACK, 3)
    assert made.picture.size == (placed_icons.SIZE, placed_icons.SIZE)
    assert len(made.boxes) == len(made.labels) > 0
    is_red = np.asarray(made.picture)[..., 0] > 127
    inside = np.zeros_like(is_red)
    for place, (left, top, right, bottom) in enumerate(made.boxes, 1):
      assert is_red[top:bottom, left:right].mean() > 0.9
      inside[top:bottom, left:right] = True
      rows, columns = np.nonzero(made.places_YX == place)
      assert (rows.min(), rows.max() + 1) == (top, bottom)
      assert (columns.min(), columns.max() + 1) == (left, right)
    assert not (is_red & ~inside).any()
    # Pixels at the edges are half an icon's.
    assert (is_red != (made.places_YX > 0)).mean() < 0.01


def test_a_picture_has_each_name_once_and_as_many_as_asked():
  rng = np.random.default_rng(0)
  for _ in range(10):
    made = placed_icons.compose(
      rng, ICONS, NAMES[:2], BLACK, 2, least=2, sides=(30, 40), repeats=False
    )
    assert sorted(made.labels) == NAMES[:2]
