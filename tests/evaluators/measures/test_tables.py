"""Rows of measures."""

from evaluators.measures import MEASURES, tables


def test_figures_of_a_record():
  record = {
    "kind": "classification",
    "top_1": 0.5,
    "knn": {
      "num_examples": 8,
      "top_1": 0.25,
      "mean_per_class": 0.125,
      "intervals": {"top_1": [0.1, 0.4]},
      "chance": {"top_1": 0.2},
      "protocol": {"top_1": 9.0},
    },
    "few_shot": {
      "ridge": {"5_shot": {"top_1": 0.75, "std": 0.1}},
      "intervals": {"ridge/5_shot/top_1": [0.5, 0.9]},
      "chance": {"top_1": 0.2},
    },
    "texts": {"not_run": "it is another set"},
  }
  assert list(tables.rows(record)) == [
    ("few_shot", "ridge/5_shot/top_1", 0.75, (0.5, 0.9), 0.2),
    ("knn", "top_1", 0.25, (0.1, 0.4), 0.2),
    ("knn", "mean_per_class", 0.125, None, None),
  ]


def test_every_measure_has_figures():
  assert list(tables.FIGURES) == list(MEASURES)
