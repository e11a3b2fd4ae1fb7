"""Schema of results.json: results of runs, of each kind of set, of old runs."""

import copy
import json
import pathlib

import jsonschema
import numpy as np
import pytest

from evaluators import suite
from evaluators.figures import set_figures
from evaluators.sets import datacomp
from tests.evaluators import set_examples, test_suite

_ROOT = pathlib.Path(__file__).parents[2]
SCHEMA = json.loads((_ROOT / "evaluators/results.schema.json").read_text())
# Of an earlier version.
OLD = {
  "compositional": {
    "num_candidates": 304,
    "image_to_text": {"R@1": 0.84, "R@5": 0.97, "median_rank": 1.0},
    "text_to_image": {"R@1": 0.82, "R@5": 0.96, "median_rank": 1.0},
    "all_names": {"num_candidates": 3953, "R@1": 0.4, "median_rank": 2.5},
  },
  "zero_shot": {
    "skin_tone": {
      "num_classes": 5,
      "num_examples": 1520,
      "top_1": 0.6,
      "mean_class_top_1": 0.6,
    },
    "other": {"not_run": 'its prompts need "de" in data.languages'},
  },
}


def validate(results):
  """Raise jsonschema.ValidationError, with what is wrong in which record."""
  validator = jsonschema.Draft202012Validator(SCHEMA)
  for error in validator.iter_errors(json.loads(json.dumps(results))):
    raise error


def test_the_schema_is_one():
  jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("languages", [("en",), ("de", "en")])
def test_a_run(languages):
  data = test_suite.make_data(languages=languages)
  embedder, table = test_suite.make_embedder(), test_suite.make_table()
  results = suite.run(data, embedder, table)
  assert {"compositional", "zero_shot", "inputs"} <= results.keys()
  assert ("languages" in results["compositional"]) == (len(languages) > 1)
  validate(results)


def test_an_old_run():
  validate(OLD)


@pytest.mark.parametrize("kind", set_examples.KINDS)
def test_sets_of_each_kind(kind, tmp_path):
  opened, examples = set_examples.make(kind, tmp_path)
  record = set_figures.evaluate(
    opened, examples, set_examples.embed, set_examples.mesh()
  ).record
  assert record["kind"] == kind.partition(" ")[0]
  validate({"mine": record})
  # No field is there that the schema does not have.
  with pytest.raises(jsonschema.ValidationError):
    validate({"mine": record | {"top": 0.5}})
  missing = {k: v for k, v in record.items() if k != "protocol"}
  with pytest.raises(jsonschema.ValidationError):
    validate({"mine": missing})


@pytest.mark.parametrize(
  ("path", "value"),
  [
    ("compositional/image_to_text/R@1", 1.2),
    ("compositional/image_to_text/median_rank", 0.5),
    ("compositional/image_to_text/intervals", {"R@1": [0.1]}),
    ("compositional/num_candidates", -1),
    ("compositional/kind", "other"),
    ("zero_shot/skin_tone/top_1", "high"),
    ("means", [{"name": "Average"}]),
    ("compositional/knn", {"top_1": 0.5}),
  ],
)
def test_other_content_is_refused(path, value):
  results = copy.deepcopy(OLD)
  *parents, last = path.split("/")
  tree = results
  for name in parents:
    tree = tree[name]
  tree[last] = value
  with pytest.raises(jsonschema.ValidationError):
    validate(results)


def test_a_measure_may_not_have_been_taken():
  record = OLD["compositional"]
  taken = {"top_1": 0.5, "protocol": {}, "intervals": {"top_1": [0.4, 0.6]}}
  validate(OLD | {"x": record | {"knn": {"not_run": "no training split"}}})
  validate(OLD | {"x": record | {"knn": taken}})


def test_means_and_main_metrics_of_datacomp():
  means = datacomp.aggregate(dict.fromkeys(datacomp.tasks(), 0.5), set())
  validate({"means": [vars(mean) for mean in means]})


def test_the_documentation_has_each_field():
  text = (_ROOT / "docs" / "results.md").read_text()

  def fields(schema):
    if isinstance(schema, list):
      for item in schema:
        yield from fields(item)
    elif isinstance(schema, dict):
      for name, item in schema.items():
        if name == "properties":
          yield from item
        yield from fields(item)

  absent = {name for name in fields(SCHEMA) if f"`{name}`" not in text}
  named = {"name", "value", "n", "mean", "interval", "metric"}
  assert absent <= named, absent - named
  assert np.all([f"`{name}`" in text for name in ("R@1", "means", "model")])
