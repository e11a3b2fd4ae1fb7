"""Answers of a set of places, from embeddings made by hand."""

import numpy as np
import pytest

from evaluators import embedding, set_tables, summary
from evaluators.figures import set_figures, set_gallery
from evaluators.sets import field_set
from evaluators.sets import labels as labels_lib
from evaluators.sets.gazetteers import gazetteer
from tests.evaluators import meshes, set_examples

# Two cities of France, and three of Texas, the last a namesake.
_CITIES = gazetteer.Gazetteer(
  names=("Paris", "Houston", "Lyon", "Dallas", "Paris"),
  countries=("France", "Texas"),
  country_C=np.array([0, 1, 0, 1, 1]),
  degrees_C2=np.array(
    [
      (48.86, 2.35),
      (29.76, -95.37),
      (45.76, 4.84),
      (32.78, -96.80),
      (33.66, -95.56),
    ]
  ),
  digest="0",
)
_TEXTS = {
  "France": (1, 0, 0, 0),
  "Texas": (0, 1, 0, 0),
  "Paris": (0, 0, 1, 0),
  "Lyon": (0, 0, 0, 1),
  "Houston": (0, 0.2, 0, 1),
  "Dallas": (0, 0.4, 0, 1),
}


def _embed(texts):
  return meshes.unit(np.array([_TEXTS[text] for text in texts], np.float32))


def _opened(num_cities):
  places = field_set.Places(
    _CITIES, _CITIES.countries, _CITIES.names, num_cities
  )
  return field_set.FieldSet(
    *("mine", "places", {}, ("latitude", "longitude")), places=places
  )


def _examples(rows, degrees):
  num = len(rows)
  texts = [{field_set.LABELS: tuple(f"={x}" for x in row)} for row in degrees]
  return embedding.Examples(
    tuple(range(num)),
    tuple(f"k{i}" for i in range(num)),
    tuple(texts),
    meshes.unit(np.array(rows, np.float32)),
  )


def test_a_country_decides_between_namesakes():
  """An image like Texas and like Paris is in Paris, Texas: not the nearest
  caption among all, which both cities of the name have."""
  opened = _opened(num_cities=3)
  examples = _examples([(0, 0.5, 1, 0)], [(33.66, -95.56)])
  outcome = set_figures.evaluate(opened, examples, _embed, set_examples.mesh())
  record = outcome.record
  assert record["hierarchical"]["within_1_km"] == 1
  assert record["hierarchical"]["median_error_km"] == 0
  # Cities of one name: the more populous is taken, some 7,800 km away.
  assert record["flat"]["within_2500_km"] == 0
  assert (record["num_countries"], record["num_cities"]) == (2, 5)
  assert record["hierarchical"]["num_candidates"] == 5
  # With the most populous city of a country alone, it is Houston.
  record = set_figures.evaluate(
    _opened(num_cities=1), examples, _embed, set_examples.mesh()
  ).record
  assert record["hierarchical"]["num_candidates"] == 2
  assert record["hierarchical"]["within_750_km"] == 1
  assert record["hierarchical"]["within_200_km"] == 0
  # Half of the answers of chance are Houston, 430 km away, none is nearer.
  assert record["hierarchical"]["chance"]["within_750_km"] == 0.5
  assert record["flat"]["chance"]["within_750_km"] == pytest.approx(3 / 5)
  assert outcome.items["hierarchical/within_1_km"].value_Q.tolist() == [True]


def test_tables_and_pictures_have_both_ways():
  opened = _opened(num_cities=3)
  examples = _examples(
    [(0, 0.5, 1, 0), (1, 0, 0, 1)], [(33.0, -95.5), (45.7, 4.8)]
  )
  record = set_figures.evaluate(
    opened, examples, _embed, set_examples.mesh()
  ).record
  rows = summary.rows({"streets": record})
  assert [row.label for row in rows] == ["hierarchical", "flat"]
  assert [x.name for x in rows[0].figures][-1] == "within_2500_km"
  assert all(x.interval for x in rows[0].figures)
  assert "flat  " in summary.table({"streets": record})
  text = set_tables.markdown({"streets": record})
  assert "| streets | flat median_error_km | " in text
  labels = labels_lib.of_examples(opened, examples.texts, examples.keys)
  images = set_gallery.gallery.Images(
    *("streets", examples.keys, lambda row: None, examples.zimg_NE)
  )
  panels = set_gallery.answered(opened, labels, images, _embed)
  texts = {entry.text for panel in panels for entry in panel.entries}
  assert texts == {"Paris, Texas", "Lyon, France"}
