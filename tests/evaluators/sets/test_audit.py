"""Names, templates and labels of a set, compared before any embedding."""

import dataclasses
import re

import numpy as np
import pytest

from evaluators.sets import audit, datacomp, field_set, labels, names, wds
from tests.evaluators.sets import made

FILES = {"classes": "ROOT/classnames.txt", "templates": "ROOT/templates.txt"}
SET = field_set.FieldSet(
  *("mine", "classification", field_set.source("webdataset", "ROOT/0.tar")),
  ("label",),
  classes=("cat", "dog", "owl"),
  templates=("a {c}.", "the {c}."),
  origins=FILES,
)


def _audit(label=(0, 1, 2), **fields):
  opened = dataclasses.replace(SET, **fields)
  found = labels.Labels(label_N=np.array(label, np.int32))
  return audit.audit(opened, found)


def test_a_good_set():
  report = _audit((2, 0, 1, 1))
  report.check()
  assert (report.errors, report.warnings, report.is_published) == ((), (), None)
  assert report.facts["num_examples"] == 4
  assert report.facts["num_classes"] == 3


@pytest.mark.parametrize(
  ("label", "fields", "error"),
  [
    (
      (0, 3, 1, 3),
      {},
      "ROOT/classnames.txt has 3 names, for labels 0 to 2; got label 3, first "
      "in example 1 of ROOT/0.tar",
    ),
    (
      (0, 1, -1),
      {},
      "ROOT/classnames.txt has 3 names, for labels 0 to 2; got label -1, first "
      "in example 2 of ROOT/0.tar",
    ),
    (
      (0, 1, 2),
      {"templates": ("a {}.", "the %s.")},
      "ROOT/templates.txt, line 1: expected {c} in place of the class's name; "
      "got 'a {}.'",
    ),
  ],
)
def test_errors(label, fields, error):
  report = _audit(label, **fields)
  assert report.errors == (error,)
  with pytest.raises(ValueError, match=re.escape(error)):
    report.check()


@pytest.mark.parametrize(
  ("label", "fields", "warning"),
  [
    (
      (0, 1, 2),
      {"classes": ("Great_White", "owl", "great white.")},
      "ROOT/classnames.txt: classes of the same name: 'Great_White' on lines 1 "
      "and 3",
    ),
    (
      (0, 1, 2),
      {"classes": ("near", "", "far")},
      "ROOT/classnames.txt, line 2: the name of class 1 is empty",
    ),
    (
      (0, 2, 2),
      {},
      "ROOT/classnames.txt: 1 of 3 classes have no example: 'dog' (line 2)",
    ),
    (
      (0, 1, 1),
      {},
      "ROOT/classnames.txt: 1 of 3 classes have no example: 'owl' (line 3); the"
      " last label is 1, so that lines may be too many",
    ),
    (
      (0, 1, 2),
      {"templates": ("a {c}.", "a thing.")},
      "ROOT/templates.txt, line 2: expected {c} in place of the class's name; "
      "got 'a thing.'",
    ),
    (
      (0, 1, 2),
      {"templates": ("a {c}.", "a {c}.")},
      "ROOT/templates.txt: the template 'a {c}.' comes twice",
    ),
  ],
)
def test_warnings(label, fields, warning):
  report = _audit(label, **fields)
  assert (report.errors, report.warnings) == ((), (warning,))


def test_names_of_marks_alone_are_not_the_same():
  assert not _audit(classes=("+", "-", "=")).warnings


def test_the_published_sizes():
  task = datacomp.tasks()["mnist"]
  report = _audit(task=task)
  assert report.is_published is False
  assert [line.partition(";")[2] for line in report.warnings] == [
    " the published set has 10000: figures are not to be compared",
    " the published set has 10: figures are not to be compared",
  ]
  digits = tuple("0123456789")
  label = np.arange(10_000) % 10
  assert _audit(label, task=task, classes=digits).is_published is True


def test_digests_are_of_the_content():
  facts = _audit().facts
  for other, changed in (
    (_audit((0, 2, 1)), "labels_digest"),
    (_audit(classes=("cat", "dog", "Owl")), "classes_digest"),
    (_audit(templates=("the {c}.", "a {c}.")), "templates_digest"),
  ):
    differing = {key for key in facts if facts[key] != other.facts[key]}
    assert differing == {changed}
  assert facts == _audit().facts


def test_empty_columns_of_a_multilabel_set():
  found = labels.Labels(targets_NA=np.array([[1, 0, 1], [1, 0, 0]], bool))
  report = audit.audit(dataclasses.replace(SET, texts=("targets",)), found)
  assert report.facts["num_examples"] == 2
  assert report.errors == ()
  assert "1 of 3 classes have no example: 'dog'" in report.warnings[0]


def test_imagenet_can_be_audited():
  # Its names have "missile" and "sunglasses" twice.
  report = _audit(np.arange(1000), classes=names.classes("imagenet1k"))
  assert report.errors == ()
  assert "'missile' on lines 658 and 745" in report.warnings[0]


def test_a_folder_from_end_to_end(tmp_path):
  root = made.labelled(tmp_path / "wds_mine", [0, 5, 1, 5])
  opened = wds.open_set(str(root), "--sets")
  message = f"{root}/classnames.txt has 3 names, for labels 0 to 2; got label 5"
  with pytest.raises(ValueError, match=re.escape(message)):
    audit.audited(opened, tmp_path / "cache", "--sets")
