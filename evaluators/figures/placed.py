"""Figures of a set of places: how far answers lie from where images are.

  hierarchical  the country of the nearest caption, then the city of the nearest
                caption among the most populous cities of that country
  flat          the city of the nearest caption among all cities

Softmax over the similarities keeps their order, so that none is computed.

Shape letters beside those of models/layers.py: N images, C cities.
"""

from typing import Any

import jax
import numpy as np

from evaluators import embedding
from evaluators.figures import outcomes
from evaluators.metrics import classification, geolocation
from evaluators.sets import field_set
from evaluators.sets import labels as labels_lib

HIERARCHICAL, FLAT = WAYS = ("hierarchical", "flat")


def of_places(
  opened: field_set.FieldSet,
  examples: embedding.Examples,
  embed_texts: outcomes.EmbedTexts,
  mesh: jax.sharding.Mesh,
) -> outcomes.Outcome:
  """Return the outcome on images with coordinates."""
  del mesh
  places = opened.places
  labels = labels_lib.of_examples(opened, examples.texts, examples.keys)
  assert places is not None  # a set of this kind has cities
  assert labels.degrees_N2 is not None  # and coordinates
  cities = places.gazetteer
  zcity_CE = city_embeddings(places, embed_texts)
  zcountry_AE = outcomes.class_embeddings(
    places.country_prompts, len(cities.countries), embed_texts
  )
  largest = cities.largest(places.num_cities)
  answers = {
    HIERARCHICAL: _hierarchical(
      examples.zimg_NE, zcountry_AE, zcity_CE, largest
    ),
    FLAT: _nearest(examples.zimg_NE, zcity_CE),
  }
  num_countries = len(largest)
  weight_C = np.zeros(len(cities.names))
  for rows in largest:
    weight_C[rows] = 1 / (num_countries * len(rows))
  expected = {
    HIERARCHICAL: weight_C,
    FLAT: np.full(len(weight_C), 1 / len(weight_C)),
  }
  record: dict[str, Any] = {}
  items = {}
  for way in WAYS:
    error_N = geolocation.haversine(
      labels.degrees_N2, cities.degrees_C2[answers[way]]
    )
    record[way] = {
      "num_candidates": int((expected[way] > 0).sum()),
      **geolocation.figures(error_N),
      "chance": geolocation.chance(
        labels.degrees_N2, cities.degrees_C2, expected[way]
      ),
      "intervals": geolocation.bounds(error_N),
    }
    items |= {
      f"{way}/{geolocation.name_of(km)}": outcomes.Items(
        examples.keys, error_N < km
      )
      for km in geolocation.THRESHOLDS_KM
    }
  return outcomes.Outcome(
    record={
      "kind": opened.kind,
      "num_examples": len(examples.keys),
      "num_countries": num_countries,
      "num_cities": len(cities.names),
      **record,
      "protocol": outcomes.protocol(opened)
      | {
        "num_templates": len(places.city_prompts) // len(cities.names),
        "classifier": (
          "mean of the normalised embeddings of a place's captions, normalised"
        ),
        "ties": "the more populous of cities, the earlier of countries, which "
        "are in the order of their largest cities",
        "distance": (
          f"haversine, radius {geolocation.EARTH_RADIUS_KM} km, strictly below "
          "the threshold"
        ),
        "cities_of_a_country": places.num_cities,
        "cities_digest": cities.digest,
      },
    },
    details={},
    items=items,
  )


def city_embeddings(
  places: field_set.Places, embed_texts: outcomes.EmbedTexts
) -> np.ndarray:
  """Return a row of length 1 for each city: float32 [C, E]."""
  return outcomes.class_embeddings(
    places.city_prompts, len(places.gazetteer.names), embed_texts
  )


def _hierarchical(
  zimg_NE: np.ndarray,
  zcountry_AE: np.ndarray,
  zcity_CE: np.ndarray,
  largest: list[np.ndarray],
) -> np.ndarray:
  """Return the city of each image, chosen in its country: int64 [N]."""
  country_N = _nearest(zimg_NE, zcountry_AE)
  city_N = np.zeros(len(country_N), np.int64)
  for country in np.unique(country_N):
    is_in_N, rows = country_N == country, largest[country]
    city_N[is_in_N] = rows[_nearest(zimg_NE[is_in_N], zcity_CE[rows])]
  return city_N


def _nearest(zimg_NE: np.ndarray, z_CE: np.ndarray) -> np.ndarray:
  """Return the index of the most similar row for each image: int64 [N]."""
  return np.concatenate(
    [
      sim_nC.argmax(axis=1)
      for sim_nC in classification.similarities(zimg_NE, z_CE)
    ]
  )
