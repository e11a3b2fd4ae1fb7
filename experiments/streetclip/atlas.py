"""Maps of the npm package world-atlas (Natural Earth, public domain).

The package holds countries as TopoJSON: arcs of whole numbers, each a
difference from the one before, which neighbours share.
"""

import dataclasses
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
    # Holes are other countries, which are land too.
    for outline, *_ in polygons:
      # ~i stands for arc i from its end to its beginning.
      parts = [arcs[i] if i >= 0 else arcs[~i][::-1] for i in outline]
      rings.append(np.concatenate(parts))
  return Atlas(tuple(rings))
