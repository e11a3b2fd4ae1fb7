"""Figures by attribute: records, lines, and the place in a set's record."""

import json

import jax
import numpy as np
import pytest

from evaluators import (
  embedding,
  group_figures,
  set_figures,
  suite,
  summary,
)
from evaluators.metrics import intervals
from evaluators.sets import field_set
from runtime import mesh as mesh_lib
from runtime.storage import strict_json
from training.report import report

# Eight images on two classes' axes; the model is right where they agree.
LABEL = (0, 0, 0, 0, 1, 1, 1, 1)
AXIS = (0, 0, 1, 0, 1, 1, 0, 0)
GENDER = ("f", "f", "f", "m", "m", "m", "m", "")


def _embed(texts):
  return np.eye(4, dtype=np.float32)[[("a", "b").index(x) for x in texts]]


def _set(**fields):
  return field_set.FieldSet(
    *("mine", "classification", {}, ("label", "attribute")),
    classes=("a", "b"),
    templates=("{c}",),
    attributes=("gender",),
    **fields,
  )


def _examples():
  zimg = np.eye(4, dtype=np.float32)[list(AXIS)]
  # The first images of a class are nearest to it.
  zimg[:, 2] = np.linspace(0, 0.7, len(zimg))
  zimg /= np.linalg.norm(zimg, axis=1, keepdims=True)
  texts = [
    {field_set.LABELS: (str(label), f"={gender}")}
    for label, gender in zip(LABEL, GENDER, strict=True)
  ]
  return embedding.Examples(
    tuple(range(8)), tuple("abcdefgh"), tuple(texts), zimg
  )


@pytest.fixture(scope="module")
def outcome():
  mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(-1, 1, 1), jax.devices()[:1])
  opened = _set(disparity_k=2)
  return set_figures.evaluate(opened, _examples(), _embed, mesh)


def test_groups_have_their_accuracy_and_those_without_a_value_a_row(outcome):
  rows = {row["name"]: row for row in outcome.record["groups"]["gender"]}
  right = {"f": (2, 3), "m": (3, 4), "(none)": (0, 1)}
  assert {name: row["n"] for name, row in rows.items()} == {
    name: n for name, (_, n) in right.items()
  }
  for name, (hits, n) in right.items():
    assert rows[name]["mean"] == pytest.approx(hits / n)
    wanted = intervals.wilson(hits, n)
    np.testing.assert_allclose(rows[name]["interval"], wanted)


def test_gap_is_that_of_groups_with_a_value(outcome):
  gap = outcome.record["gaps"]["gender"]
  assert gap["gap"] == pytest.approx(3 / 4 - 2 / 3)
  assert (gap["best"], gap["worst"]) == ("m", "f")
  assert gap["num_without_value"] == 1
  assert gap["interval"][0] == 0
  assert gap["interval"][1] > gap["gap"]


def test_disparity_of_the_best_images_of_each_class(outcome):
  got = outcome.record["disparity"]["gender"]
  assert (got["k"], got["num_images"], got["num_classes"]) == (2, 7, 2)
  assert got["gallery"] == [
    {"name": "f", "n": 3, "share": 3 / 7},
    {"name": "m", "n": 4, "share": 4 / 7},
  ]
  # Nearest to "a" are images 0 and 1, both f; to "b" 2 (f) and 4 (m).
  by_class = {row["class"]: row for row in got["most_skewed"]}
  assert by_class["a"]["shares"] == {"f": 1, "m": 0}
  assert by_class["b"]["shares"] == {"f": 0.5, "m": 0.5}
  skews = [np.log(7 / 3), np.log(0.5 * 7 / 3)]
  assert got["max_skew@2"] == pytest.approx(np.mean(skews))
  assert got["gap@2"] == pytest.approx(np.mean([4 / 7, 1 / 14]))
  assert got["most_skewed"][0]["class"] == "a"
  rows = outcome.details["disparity_by_class"]["gender"]
  assert [row["class"] for row in rows] == ["a", "b"]


def test_k_is_at_most_the_images(outcome):
  record, _ = group_figures.figures(
    *(_set(disparity_k=50), {"gender": ["f", "m", "f"]}, np.array([1, 0, 1])),
    (np.eye(4, dtype=np.float32)[:3], np.eye(4, dtype=np.float32)[:2]),
  )
  got = record["disparity"]["gender"]
  assert got["k"] == 3
  assert got["max_skew@3"] == pytest.approx(0, abs=1e-12)
  assert got["random"]["max_skew@3"] == pytest.approx(0, abs=1e-12)


def test_one_group_has_no_gap_and_no_disparity():
  record, details = group_figures.figures(
    *(_set(), {"gender": ["f", "(none)"]}, np.array([1, 0])),
    (np.eye(4, dtype=np.float32)[:2], np.eye(4, dtype=np.float32)[:2]),
  )
  assert record["gaps"]["gender"]["gap"] is None
  assert "disparity" not in record
  assert details == {}
  results = {"mine": {**record, "kind": "classification"}}
  assert len([*group_figures.lines(results)]) == 1


def test_record_is_json_with_scalars_and_lines_for_people(outcome):
  results = {"mine": outcome.record}
  assert json.loads(strict_json.dumps(results)) == results
  scalars = suite.scalars(results)
  assert (
    scalars["mine/gaps/gender/gap"] == outcome.record["gaps"]["gender"]["gap"]
  )
  assert "mine/disparity/gender/max_skew@2" in scalars
  assert not [name for name in scalars if "interval" in name]
  text = summary.table(results)
  assert "mine by gender: top-1 (none) 0.000 (n 1, " in text
  assert "best m, worst f, without 1 examples that have no value" in text
  assert "the 2 best images of a class: max skew 0.501 (at random" in text
  page = report.render(
    title="x", facts={}, metrics={}, results=results, panels=()
  )
  assert "Mine, gender" in page
  assert "of a, best 2" in page


def test_sets_without_attributes_have_no_new_figures():
  record, details = group_figures.figures(
    *(_set(), {}, np.zeros(1)), (np.zeros((1, 4)), np.zeros((2, 4)))
  )
  assert (record, details) == ({}, {})
  assert group_figures.tables({"x": {"kind": "classification"}}) == []
