"""Photos and where they were taken: names of places, or coordinates.

Columns are `town`, `region`, `country`, and `latitude`, `longitude` in degrees.
Sets are found in whichever folder below `path` they lie. The layouts are of

- IM2GPS, IM2GPS3K: *_places365.csv (meta/ of TIBHannover/GeoEstimation). Some
  IMG_ID of IM2GPS lack the place at the beginning of names in
  gps_query_imgs.zip ("Rome_00024_231521295_...jpg"). The first version of
  IM2GPS3K's has the names LAT and LON exchanged, which is refused.
- OSV-5M (arXiv 2404.18873; DATASET.md of gastruc/osv5m, and its CSV), in place
  of StreetCLIP's photos, which are not public. Countries are codes there, and
  dates are taken for Mapillary's, milliseconds since 1970.
- BDD100K: bdd100k_labels_images_*.json beside images/100k/.
"""

import functools
import posixpath
import re
from collections.abc import Iterator, Mapping

from input_pipeline.sources import place_names
from input_pipeline.sources.layouts import layout

_PLACE = re.compile(r"[A-Za-z]+_\d{5}_")  # before the name of a photo of IM2GPS


def _located(
  file: str, data: layout.Folder, split: str
) -> Iterator[layout.Row]:
  """Yield the photos of a table of IMG_ID, LAT and LON."""
  del split
  images = {_photo(name): name for name in data.images()}
  name = data.named(file)
  for row in data.table(name, needs=("IMG_ID", "LAT", "LON")):
    photo = _photo(row["IMG_ID"])
    yield {
      **data.needs_image(images.get(photo, photo)),
      "latitude": data.number(row["LAT"], 90),
      "longitude": data.number(row["LON"], 180),
    }


def _photo(name: str) -> str:
  return _PLACE.sub("", posixpath.basename(name), count=1)


def _osv5m(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the photos of OSV-5M."""
  file = data.named(f"{split}.csv")
  folder = posixpath.join(posixpath.dirname(file), "images", split)
  images = data.images_by_name(folder)
  needs = ("id", "latitude", "longitude", "country", "region", "city")
  for row in data.table(file, needs=needs):
    photo = f"{row['id']}.jpg"
    image = images.get(photo, f"{folder}/*/{photo}")
    names = {
      "town": row["city"],
      "country": place_names.country(row["country"]),
    }
    yield _placed(data, image, row | names)


def _seasons(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the photos that have a date, in milliseconds, and a season."""
  for row in _osv5m(data, split):
    if row.get("date"):
      date = data.number(row["date"], 1e14)
      season = place_names.season(row["latitude"], date)
      if season:
        yield {**row, "season": season}


def _photos(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield one's own photos; without a country, the next town names them."""
  del split
  rows = [*data.table("photos.csv", needs=("file", "latitude", "longitude"))]
  if rows and "country" not in rows[0]:
    degrees = [
      (data.number(row["latitude"], 90), data.number(row["longitude"], 180))
      for row in rows
    ]
    names = place_names.towns(degrees)
    rows = [row | name for row, name in zip(rows, names, strict=True)]
  for row in rows:
    yield _placed(data, row["file"], row)


def _weather(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the photos of BDD100K whose weather is labelled."""
  images = data.images_by_name()
  for entry in data.json(data.named(f"bdd100k_labels_images_{split}.json")):
    name, weather = entry["name"], entry["attributes"]["weather"]
    if weather != "undefined":
      yield {**data.needs_image(images.get(name, name)), "weather": weather}


def _placed(
  data: layout.Folder, image: str, row: Mapping[str, str]
) -> layout.Row:
  """Return the row of a photo, a fault where it has no country."""
  if not row["country"]:
    message = f"{image} must have a country; got none"
    return layout.fault(image, "caption_missing", message)
  return {
    **data.needs_image(image),
    "town": row.get("town") or None,
    "region": row.get("region") or None,
    # GeoNames' "The Netherlands" has its article from grammar_articles.
    "country": row["country"].removeprefix("The "),
    "latitude": data.number(row["latitude"], 90),
    "longitude": data.number(row["longitude"], 180),
    "date": row.get("captured_at") or None,
  }


def _table(name: str) -> layout.Layout:
  """Return the layout of one of GeoEstimation's tables."""
  file, source = f"{name}_places365.csv", "github.com/TIBHannover/GeoEstimation"
  rows = functools.partial(_located, file)
  return layout.Layout(rows, f"{file} and its photos", (), source)


_OSV5M = "{train,test}.csv and images/{train,test}/*/ID.jpg"
_BDD100K = "bdd100k_labels_images_{train,val}.json and images/100k/"
_OWN = "photos.csv (file, latitude, longitude; country, region, town or not)"
_SPLITS = ("train", "test")
LAYOUTS = {
  "im2gps": _table("im2gps"),
  "im2gps3k": _table("im2gps3k"),
  "osv5m": layout.Layout(_osv5m, _OSV5M, _SPLITS, "arXiv 2404.18873"),
  "seasons": layout.Layout(_seasons, _OSV5M, _SPLITS, "arXiv 2404.18873"),
  "photos": layout.Layout(_photos, _OWN, (), "docs/domains.md"),
  "weather": layout.Layout(
    _weather, _BDD100K, ("train", "val"), "arXiv 1805.04687"
  ),
}
