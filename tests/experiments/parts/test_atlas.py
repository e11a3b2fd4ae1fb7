"""Outlines of land, drawn as maps and as a mask."""

import json

import numpy as np
import pytest
from PIL import ImageColor

from experiments.parts import atlas


@pytest.fixture
def folder(tmp_path):
  """Return a package of two squares, east and west of the meridian of 0."""
  topology = {
    "transform": {"scale": [0.1, 0.1], "translate": [-5, -5]},
    "arcs": [
      [[50, 0], [0, 100]],  # the common side, from south to north
      [[50, 100], [-50, 0], [0, -100], [50, 0]],
      [[50, 100], [50, 0], [0, -100], [-50, 0]],
    ],
    "objects": {
      "countries": {
        "geometries": [
          {"type": "Polygon", "arcs": [[0, 1]]},
          {"type": "MultiPolygon", "arcs": [[[-3, -1]]]},
        ]
      }
    },
  }
  (tmp_path / "countries-50m.json").write_text(json.dumps(topology))
  return tmp_path


def test_arcs_are_shared(folder):
  west, east = atlas.read(folder).rings
  corners = [(-5, -5), (-5, 5), (0, -5), (0, 5)]
  assert {tuple(point) for point in west.round(9).tolist()} == {*corners}
  assert {tuple(point) for point in east.round(9).tolist()} == {
    (-x, y) for x, y in corners
  }


def test_a_map_has_land_sea_and_pin(folder):
  pixels = np.asarray(
    atlas.read(folder).draw((0.0, 0.0), (0.0, 2.5), degrees=20.0)
  )
  assert pixels.shape == (64, 64, 3)

  def colour(lat, lon):
    return tuple(pixels[int(32 - lat * 3.2), int(32 + lon * 3.2)].tolist())

  assert colour(3, 3) == colour(-3, -3) == ImageColor.getrgb(atlas.LAND)
  assert colour(8, 0) == colour(0, -8) == ImageColor.getrgb(atlas.SEA)
  # The map is made smaller with antialiasing, which blurs the small dot.
  np.testing.assert_allclose(
    colour(0, 2.5), ImageColor.getrgb(atlas.PIN), atol=20
  )


def test_a_missing_package_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match="npm pack world-atlas"):
    atlas.read(tmp_path)


def test_land_of_the_globe(tmp_path):
  """A country across the antimeridian, and one around the south pole."""
  east = [[170, 0], [20, 0], [0, 20], [-20, 0], [0, -20]]
  east[1][0] -= 360  # as if the ring were cut at 180
  pole = [[-180, -89], [120, 0], [120, 0], [120, 0]]
  coast = [[-180, -60], [120, 0], [120, 0], [120, 0]]
  topology = {
    "transform": {"scale": [1, 1], "translate": [0, 0]},
    "arcs": [east, pole, coast],
    "objects": {
      "countries": {
        "geometries": [
          {"type": "Polygon", "arcs": [[0]]},
          {"type": "Polygon", "arcs": [[1], [2]]},
        ]
      }
    },
  }
  (tmp_path / "countries-50m.json").write_text(json.dumps(topology))
  land = atlas.read(tmp_path).land(90)
  assert land.shape == (90, 180)

  def is_land(lat, lon):
    return bool(land[int((90 - lat) / 2), int((lon + 180) / 2)])

  for lon in (-179, -171, 171, 179):
    assert is_land(10, lon)
    assert not is_land(-10, lon)
  assert not is_land(10, 0)
  assert not is_land(10, 165)
  for lon in (-150, 0, 150):
    assert is_land(-80, lon)
    assert not is_land(-50, lon)
