"""Geolocation: great-circle distances, and shares of images located in reach.

An image is located within d km where the distance of its predicted to its true
coordinates is below d, strictly, as in PIGEON's code. Coordinates are degrees,
latitude first.

Shape letters beside those of the package: C cities.
"""

from typing import Any

import numpy as np

from evaluators.metrics import intervals

# Mean radius of the Earth. PIGEON's code takes the radius at the equator,
# 6378.137, with which all distances are 0.11 % longer.
EARTH_RADIUS_KM = 6371.0
# Street, city, region, country and continent.
THRESHOLDS_KM = (1, 25, 200, 750, 2500)
MEDIAN = "median_error_km"


def haversine(
  a_N2: np.ndarray, b_N2: np.ndarray, radius_km: float = EARTH_RADIUS_KM
) -> np.ndarray:
  """Return great-circle distances in km on a sphere: float64 [N].

  >>> paris, london = np.array([48.8566, 2.3522]), np.array([51.5074, -0.1278])
  >>> haversine(paris, london).round(3)
  343.556
  """
  a_N2, b_N2 = np.radians(a_N2), np.radians(b_N2)
  sine_N2 = np.sin((b_N2 - a_N2) / 2) ** 2
  cosines_N = np.cos(a_N2[..., 0]) * np.cos(b_N2[..., 0])
  chord_N = sine_N2[..., 0] + cosines_N * sine_N2[..., 1]
  # Rounding may exceed 1 for points opposite to each other.
  return 2 * radius_km * np.arcsin(np.sqrt(np.minimum(chord_N, 1.0)))


def name_of(threshold_km: float) -> str:
  """Return the name of the figure of a threshold: "within_25_km"."""
  return f"within_{threshold_km:g}_km"


def figures(error_N: np.ndarray) -> dict[str, float]:
  """Return the share of errors below each threshold, and the median error.

  Args:
    error_N: distances in km.

  >>> figures(np.array([0.5, 25.0, 100.0]))["within_25_km"]
  0.3333333333333333
  """
  return {name_of(km): float((error_N < km).mean()) for km in THRESHOLDS_KM} | {
    MEDIAN: float(np.median(error_N))
  }


def bounds(error_N: np.ndarray) -> dict[str, list[float]]:
  """Return the 95 % interval of each of `figures`, by its name."""
  shares = {
    name_of(km): intervals.wilson(int((error_N < km).sum()), len(error_N))
    for km in THRESHOLDS_KM
  }
  return {
    name: bound.tolist()
    for name, bound in {
      **shares,
      MEDIAN: intervals.clustered_median(error_N),
    }.items()
  }


def chance(
  degrees_N2: np.ndarray, city_C2: np.ndarray, weight_C: np.ndarray
) -> dict[str, float]:
  """Return the expected shares of answers that do not look at the images.

  Args:
    degrees_N2: true coordinates.
    city_C2: coordinates of the answers.
    weight_C: probability of each answer, the same for every image.
  """
  points, cities = (_tree(x) for x in (degrees_N2, city_C2))
  reach = 2 * np.sin(np.array(THRESHOLDS_KM) / (2 * EARTH_RADIUS_KM))
  # The tree counts pairs at or below a distance, and "within" is below.
  totals = points.count_neighbors(
    cities, np.nextafter(reach, 0), weights=(None, weight_C)
  )
  return {
    name_of(km): float(total / len(degrees_N2))
    for km, total in zip(THRESHOLDS_KM, totals, strict=True)
  }


def nearest(degrees_N2: np.ndarray, city_C2: np.ndarray) -> np.ndarray:
  """Return the index of the city that is nearest to each point: int64 [N]."""
  return _tree(city_C2).query(_unit(degrees_N2))[1]


def _unit(degrees_N2: np.ndarray) -> np.ndarray:
  """Return points on the unit sphere: float64 [N, 3]."""
  latitude, longitude = np.radians(np.asarray(degrees_N2, np.float64)).T
  return np.stack(
    [
      np.cos(latitude) * np.cos(longitude),
      np.cos(latitude) * np.sin(longitude),
      np.sin(latitude),
    ],
    axis=1,
  )


def _tree(degrees_N2: np.ndarray) -> Any:
  """Return the KDTree of coordinates."""
  from scipy import spatial

  return spatial.KDTree(_unit(degrees_N2))
