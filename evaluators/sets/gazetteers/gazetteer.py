"""Gazetteer: cities with country, coordinates and population, from a table.

  cities.csv      name,country,latitude,longitude,population
  cities.parquet  columns of the same names

A city is a row; others of its name, in its country too, are cities of their
own. Degrees are of WGS 84, north and east above 0.
"""

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pyarrow import parquet

from evaluators.sets import text_files
from input_pipeline.storage import files

COLUMNS = ("name", "country", "latitude", "longitude", "population")
# Most degrees of each coordinate, of either sign.
MOST_DEGREES = {"latitude": 90.0, "longitude": 180.0}
# Problems that a message names.
_NUM_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Gazetteer:
  """Cities in the order of their population, the largest first.

  Equal ones stay in the order of the table. C counts cities.

  Attributes:
    names: name of each city.
    countries: countries, in the order of their largest cities.
    country_C: index of each city's country.
    degrees_C2: latitude and longitude, float64.
    digest: hex digits of all rows.
  """

  names: tuple[str, ...]
  countries: tuple[str, ...]
  country_C: np.ndarray
  degrees_C2: np.ndarray
  digest: str

  def largest(self, num: int) -> list[np.ndarray]:
    """Return the most populous cities of each country: int64 [n], n <= num."""
    return [
      np.flatnonzero(self.country_C == country)[:num]
      for country in range(len(self.countries))
    ]


def read(path: str, field: str) -> Gazetteer:
  """Return the cities of a table.

  Args:
    path: .csv or .parquet file, on disk or at a URL.
    field: config field that names it, for messages.

  Raises:
    ValueError: there is no such table, or a row cannot be used; it is named.
  """
  rows = _rows(path, field)
  if not rows:
    raise ValueError(f"{field}={path} has no city")
  missing = [name for name in COLUMNS if name not in rows[0]]
  if missing:
    raise ValueError(
      f"{field}={path} must have the columns {', '.join(COLUMNS)}; it has "
      f"{', '.join(map(str, rows[0]))}"
    )
  made: list[tuple[str, str, float, float, int]] = []
  wrong = []
  for number, row in enumerate(rows, 1):
    try:
      made.append(_city(row))
    except ValueError as error:
      wrong.append(f"{path}, row {number}: {error}")
  if wrong:
    more = len(wrong) - _NUM_NAMED
    ends = [f"and {more} more of {len(rows)} rows"] if more > 0 else []
    raise ValueError("; ".join([*wrong[:_NUM_NAMED], *ends]))
  made.sort(key=lambda city: -city[-1])
  countries = tuple(dict.fromkeys(country for _, country, *_ in made))
  index = {country: i for i, country in enumerate(countries)}
  return Gazetteer(
    names=tuple(name for name, *_ in made),
    countries=countries,
    country_C=np.array([index[country] for _, country, *_ in made]),
    degrees_C2=np.array([city[2:4] for city in made], np.float64),
    digest=text_files.digest([repr(city) for city in made]),
  )


def degrees(text: Any, name: str) -> float:
  """Return a coordinate; `name` is "latitude" or "longitude".

  Raises:
    ValueError: it is no number of degrees, or beyond the poles or 180 degrees.
  """
  most = MOST_DEGREES[name]
  value = _number(text)
  # Not "abs(value) > most": NaN is none either.
  if not abs(value) <= most:
    raise ValueError(
      f"{name} must be degrees from {-most:g} to {most:g}; got {text!r:.60}"
    )
  return value


def _city(row: Mapping[str, Any]) -> tuple[str, str, float, float, int]:
  """Return the fields of a row in the order of COLUMNS."""
  for name in COLUMNS[:2]:
    if not isinstance(row[name], str) or not row[name].strip():
      raise ValueError(f"{name} must be a text; got {row[name]!r:.60}")
  population = _number(row["population"])
  if not 0 <= population < 2**53 or population != int(population):
    raise ValueError(
      f"population must be a whole number from 0; got {row['population']!r:.60}"
    )
  return (
    row["name"].strip(),
    row["country"].strip(),
    degrees(row["latitude"], "latitude"),
    degrees(row["longitude"], "longitude"),
    int(population),
  )


def _number(value: Any) -> float:
  try:
    return float(value)
  except (TypeError, ValueError):
    return math.nan


def _rows(path: str, field: str) -> Sequence[Mapping[str, Any]]:
  if path.endswith(".parquet"):
    try:
      return parquet.read_table(io.BytesIO(files.read(path))).to_pylist()
    except ValueError as error:  # faults.ExampleError and Arrow's are
      raise ValueError(
        f"{field}={path} cannot be read as Parquet: {error}"
      ) from error
  if not path.endswith(".csv"):
    raise ValueError(f"{field} must be a .csv or .parquet file; got {path!r}")
  text = text_files.read(path)
  if text is None:
    raise ValueError(f"{field} must be a table of cities; there is no {path}")
  return list(csv.DictReader(io.StringIO(text)))
