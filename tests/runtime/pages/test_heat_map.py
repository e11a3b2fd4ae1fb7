import re
import xml.etree.ElementTree as ET

import pytest

from runtime.pages import heat_map

HOSTILE = "<script>&\"' " + "long " * 20


def test_cells_and_their_shades():
  cells = [[0, 0, 3], [0, 2, 1], [1, 1, 5], [2, 0, 1], [2, 2, 63]]
  drawing = ET.fromstring(heat_map.svg(["a", "b", HOSTILE], cells))
  shades = {
    (path.get("fill"), path.get("fill-opacity")): re.findall(
      r"M(\d+) (\d+)h", path.get("d")
    )
    for path in drawing.iter("path")
  }
  right, wrong = "var(--right)", "var(--series-2)"
  assert shades == {
    (right, "0.750"): [("0", "0")],
    (right, "1.000"): [("1", "1"), ("2", "2")],
    (wrong, "0.125"): [("0", "2")],  # a share of 1 / 64 has a colour too
    (wrong, "0.250"): [("2", "0")],
  }
  texts = [text.text for text in drawing.iter("text")]
  assert texts.count("a") == 2
  assert texts.count(HOSTILE[:19] + "…") == 2
  assert [x for x in texts if x.isdigit()] == ["75", "25", "100", "2", "98"]


@pytest.mark.parametrize("num", [1, 12, 50])
def test_a_full_map_is_small(num):
  cells = [[y, x, 1 + (x * y) % 7] for y in range(num) for x in range(num)]
  text = heat_map.svg(["name"] * num, cells)
  ET.fromstring(text)
  assert len(text) < 70_000
