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
