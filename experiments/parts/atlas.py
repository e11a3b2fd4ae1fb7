"""Maps of the npm package world-atlas (Natural Earth, public domain).

The package holds countries as TopoJSON: arcs of whole numbers, each a
difference from the one before, which neighbours share.
"""

import dataclasses
import itertools
import json
import pathlib

import numpy as np
from PIL import Image, ImageDraw

SEA, LAND, BORDER, PIN = "#9ec7e8", "#f4efdf", "#8a7a66", "#d02020"
# Pixels drawn for each one of the map, by which lines are smooth.
_OVERSAMPLING = 3


@dataclasses.dataclass(frozen=True)
class Atlas:
  """Outlines of land: rings [N, 2] of degrees, east and north."""

  rings: tuple[np.ndarray, ...]

  def draw(
    self,
    centre: tuple[float, float],
    pin: tuple[float, float],
    *,
    degrees: float,
  ) -> Image.Image:
    """Return a square map of 64 pixels, without any text.

    Args:
      centre: latitude and longitude of its centre.
      pin: latitude and longitude of the dot on it.
      degrees: its height; as many kilometres are its width.
    """
    side = 64 * _OVERSAMPLING
    scale = side / degrees
    narrow = np.cos(np.radians(centre[0]))

    def pixels(lon_lat: np.ndarray) -> np.ndarray:
      east = (lon_lat[:, 0] - centre[1] + 180) % 360 - 180
      north = lon_lat[:, 1] - centre[0]
      return np.stack([east * narrow, -north], axis=1) * scale + side / 2

    image = Image.new("RGB", (side, side), SEA)
    draw = ImageDraw.Draw(image)
    for ring in self.rings:
      corner = pixels(ring)
      low, high = corner.min(axis=0), corner.max(axis=0)
      # A ring across the antimeridian would be drawn around the globe.
      is_torn = high[0] - low[0] > 180 * scale * narrow
      if (high < 0).any() or (low > side).any() or is_torn:
        continue
      points = [tuple(point) for point in corner.tolist()]
      draw.polygon(points, fill=LAND, outline=BORDER, width=_OVERSAMPLING)
    ((x, y),) = pixels(np.array([pin[::-1]]))
    radius = 2 * _OVERSAMPLING
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=PIN)
    return image.resize((64, 64), Image.Resampling.LANCZOS)

  def land(self, height: int) -> np.ndarray:
    """Return where land is on a map of the globe: bool [height, 2 * height].

    Rows are of equal latitudes, from 90 north; columns of equal longitudes,
    from 180 west. Lakes are land.
    """
    scale = height / 180
    image = Image.new("1", (2 * height, height))
    draw = ImageDraw.Draw(image)
    for ring in self.rings:
      east = np.unwrap(ring[:, 0], period=360)
      corners = np.stack([east + 180, 90 - ring[:, 1]], axis=1)
      if _is_round_pole(east):  # of Antarctica
        poles = [(east[-1] + 180, 180), (east[0] + 180, 180)]
        corners = np.concatenate([corners, poles])
      for turn in (-360, 0, 360):  # a ring may cross the antimeridian
        moved = (corners + (turn, 0)) * scale
        draw.polygon([tuple(point) for point in moved.tolist()], fill=1)
    return np.asarray(image)


def read(folder: pathlib.Path) -> Atlas:
  """Return the countries of the unpacked package, at 1:50 million.

  Raises:
    FileNotFoundError: there are none; the message says how to get them.
  """
  path = folder / "countries-50m.json"
  try:
    topology = json.loads(path.read_bytes())
  except FileNotFoundError as error:
    raise FileNotFoundError(
      f"--atlas={folder} must be the unpacked npm package world-atlas, with "
      "countries-50m.json: `npm pack world-atlas`, then `tar xzf "
      "world-atlas-*.tgz`, which makes the folder `package`"
    ) from error
  scale, shift = (topology["transform"][x] for x in ("scale", "translate"))
  arcs = [np.cumsum(arc, axis=0) * scale + shift for arc in topology["arcs"]]
  rings = []
  for country in topology["objects"]["countries"]["geometries"]:
    polygons = country.get("arcs", [])
    if country["type"] == "Polygon":
      polygons = [polygons]
    for number, line in itertools.chain(*map(enumerate, polygons)):
      # ~i stands for arc i from its end to its beginning.
      parts = [arcs[i] if i >= 0 else arcs[~i][::-1] for i in line]
      ring = np.concatenate(parts)
      # Holes are other countries, which are land too; but the coast of
      # Antarctica is a hole in an outline of the pole.
      if number == 0 or _is_round_pole(np.unwrap(ring[:, 0], period=360)):
        rings.append(ring)
  return Atlas(tuple(rings))


def _is_round_pole(east_N: np.ndarray) -> bool:
  """Return whether a ring of continuous longitudes goes around the globe."""
  return abs(east_N[-1] - east_N[0]) > 180
