"""Set of images with coordinates, located by captions of cities: a section.

The answer is a city of a gazetteer. It is chosen hierarchically, as StreetCLIP
(arXiv 2302.00275) does: the country by captions of all countries, then the city
among the most populous ones of that country. Beside it stands the flat answer,
the city of the nearest caption among all of the gazetteer.
"""

import dataclasses
import pathlib
import typing
from collections.abc import Mapping, Sequence

from evaluators.sets import field_set, kinds, labels, own
from evaluators.sets.gazetteers import gazetteer
from input_pipeline import evaluation_split
from input_pipeline.grammars import grammar
from input_pipeline.sources import source_config
from runtime import checks

COUNTRY, CITY = "country", "city"
# Random word with which every optional part of a grammar is present.
_FIRST = 0


@dataclasses.dataclass(frozen=True)
class PlacesConfig:
  """Section of an evaluation set whose images have coordinates.

  Attributes:
    kind: selects this section's dataclass.
    source: images; its `caption` is (), as coordinates take its place.
    gazetteer: .csv or .parquet table of cities; see gazetteers/gazetteer.py.
    latitude: location of the latitude in degrees: a column, or "json.FIELD" of
      tars.
    longitude: location of the longitude.
    country_captions: captions of a country, whose embeddings are averaged:
      grammars (input_pipeline/grammars/grammar.py) with the slot {country}.
      Optional parts are present, the first of alternatives is taken.
    city_captions: captions of a city, with the slots {city} and {country}.
    articles: countries before which {country:the} puts "the ".
    num_cities: most populous cities of a country that the second step of the
      hierarchical answer chooses from.
  """

  kind: typing.Literal["places"]
  source: source_config.SourceConfig
  gazetteer: str
  latitude: str = "latitude"
  longitude: str = "longitude"
  country_captions: tuple[str, ...] = kinds.COUNTRY_CAPTIONS
  city_captions: tuple[str, ...] = kinds.CITY_CAPTIONS
  articles: tuple[str, ...] = ()
  num_cities: int = kinds.NUM_CITIES

  def check(self, field: str) -> None:
    """Raise ValueError, naming the field, where a value cannot be used."""
    evaluation_split.check_source(self.source, f"{field}.source")
    if self.source.caption:
      checks.refuse(
        f"{field}.source.caption must be (), as coordinates are read in its "
        f"place; got {self.source.caption!r}"
      )
    for name in ("gazetteer", "latitude", "longitude"):
      if not getattr(self, name):
        checks.refuse(f"{field}.{name} must not be empty; got ''")
    if self.latitude == self.longitude:
      checks.refuse(
        f"{field}.longitude must be another column than latitude; got "
        f"{self.longitude!r} for both"
      )
    checks.at_least(f"{field}.num_cities", self.num_cities, 1)
    for name, slots in (
      ("country_captions", {COUNTRY}),
      ("city_captions", {CITY, COUNTRY}),
    ):
      _check_captions(f"{field}.{name}", getattr(self, name), slots)

  def open(self, name: str, cache_dir: str) -> field_set.FieldSet:
    """Return the set, its cities and coordinates read; no image is.

    Raises:
      ValueError: a city lacks a field, or the coordinates of an image are
        missing or out of range; they are named.
    """
    field = f"evaluate.sets.{name}"
    cities = gazetteer.read(self.gazetteer, f"{field}.gazetteer")
    source = dataclasses.asdict(self.source)
    opened = field_set.FieldSet(
      *(name, "places"),
      own.section_of(source, "", (self.latitude, self.longitude)),
      (*gazetteer.MOST_DEGREES,),
      origins={"cities": self.gazetteer, "captions": f"{field}.city_captions"},
      places=field_set.Places(
        cities,
        self._prompts(
          self.country_captions, [{COUNTRY: x} for x in cities.countries]
        ),
        self._prompts(
          self.city_captions,
          [
            {CITY: city, COUNTRY: cities.countries[country]}
            for city, country in zip(
              cities.names, cities.country_C, strict=True
            )
          ],
        ),
        self.num_cities,
      ),
    )
    with own.naming(field, "latitude and longitude"):
      labels.read(opened, pathlib.Path(cache_dir), field)
    return opened

  def _prompts(
    self, texts: Sequence[str], places: Sequence[Mapping[str, str]]
  ) -> tuple[str, ...]:
    """Return the captions of place 0, then of place 1, and so on."""
    parsed = [grammar.parse(text, self.articles) for text in texts]
    made = [
      one.draw(place, [_FIRST] * one.num_words)
      for place in places
      for one in parsed
    ]
    # None is not among them: every place has a value for every slot.
    return tuple(text for text in made if text is not None)


def _check_captions(field: str, texts: Sequence[str], slots: set[str]) -> None:
  """Raise ValueError where captions do not name what they are of."""
  if not texts:
    checks.refuse(f"{field} must have at least one caption; got ()")
  for text in texts:
    try:
      found = {*grammar.parse(text).slots}
    except ValueError as error:
      checks.refuse(f"{field}: {error}")
      continue
    needed = CITY if CITY in slots else COUNTRY
    if needed not in found or found - slots:
      checks.refuse(
        f"{field} must have the slot {{{needed}}}, and no others than "
        f"{', '.join(sorted(slots))}; got {text!r}"
      )
