"""Distances and shares of located images, by hand and by brute force."""

import numpy as np
import pytest

from evaluators.metrics import geolocation

_CITIES = {
  "Paris": (48.8566, 2.3522),
  "London": (51.5074, -0.1278),
  "New York": (40.7128, -74.0060),
  "Tokyo": (35.6895, 139.6917),
  "San Francisco": (37.7749, -122.4194),
  "San Jose": (37.3382, -121.8863),
}


@pytest.mark.parametrize(
  ("one", "other", "km", "equatorial", "digits"),
  [
    ("Paris", "London", 343.556, 343.941, 3),
    ("New York", "Tokyo", 10848.81, 10860.96, 2),
    ("San Francisco", "San Jose", 67.574, 67.650, 3),
  ],
)
def test_distances(one, other, km, equatorial, digits):
  a, b = np.array([_CITIES[one]]), np.array([_CITIES[other]])
  for radius, want in ((6371.0, km), (6378.137, equatorial)):
    (got,) = geolocation.haversine(a, b, radius)
    assert round(got, digits) == want
    np.testing.assert_array_equal(geolocation.haversine(b, a, radius), got)


def test_points_opposite_to_each_other_and_at_a_pole():
  a = np.array([[0.0, 0.0], [90.0, 10.0], [12.5, 180.0]])
  b = np.array([[0.0, 180.0], [90.0, -120.0], [12.5, -180.0]])
  half = np.pi * geolocation.EARTH_RADIUS_KM
  got = geolocation.haversine(a, b)
  np.testing.assert_allclose(got, [half, 0, 0], atol=1e-9)


def test_a_threshold_is_strict():
  error = np.array([1.0, 0.5, 24.0, 25.0, 3000.0])
  got = geolocation.figures(error)
  assert got == {
    "within_1_km": 0.2,
    "within_25_km": 0.6,
    "within_200_km": 0.8,
    "within_750_km": 0.8,
    "within_2500_km": 0.8,
    "median_error_km": 24.0,
  }
  bounds = geolocation.bounds(error)
  assert bounds.keys() == got.keys()
  for name, (low, high) in bounds.items():
    assert low <= got[name] <= high
  assert low < high


@pytest.mark.parametrize("seed", range(2))
def test_chance_and_nearest_by_brute_force(seed):
  rng = np.random.default_rng(seed)
  degrees = rng.uniform((-90, -180), (90, 180), (30, 2))
  cities = np.concatenate([degrees[:4] + 0.05, rng.uniform(-60, 60, (9, 2))])
  weight = rng.dirichlet(np.ones(13))
  error = geolocation.haversine(degrees[:, None], cities)
  got = geolocation.chance(degrees, cities, weight)
  for km in geolocation.THRESHOLDS_KM:
    want = ((error < km) * weight).sum(axis=1).mean()
    assert got[f"within_{km}_km"] == pytest.approx(want, abs=1e-12)
  assert got["within_25_km"] > 0
  nearest = geolocation.nearest(degrees, cities)
  np.testing.assert_array_equal(nearest, error.argmin(axis=1))
