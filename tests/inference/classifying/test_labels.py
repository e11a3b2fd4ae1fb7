"""Labels and templates of flags."""

import pytest

from inference.classifying import labels


def test_texts_of_a_file_and_of_the_flag(tmp_path):
  path = tmp_path / "labels.txt"
  path.write_text("\ufeffcat\n dog \nguinea, pig\n")
  assert labels.listed(str(path), "labels") == ["cat", "dog", "guinea, pig"]
  assert labels.listed('cat, "guinea, pig",dog', "labels") == [
    "cat",
    "guinea, pig",
    "dog",
  ]


@pytest.mark.parametrize(
  ("value", "message"),
  [
    ("", "--labels is missing: --labels=FILE"),
    ("labels.txt", "--labels=labels.txt is no file"),
    ("cat,,dog", "item 2 of 3 is empty"),
    ("cat,dog,cat", r"'cat' is there 2 times \(items 1, 3\)"),
  ],
)
def test_texts_that_are_refused(value, message):
  with pytest.raises(ValueError, match=message):
    labels.listed(value, "labels")


def test_lines_that_are_refused(tmp_path):
  path = tmp_path / "labels"
  path.write_text("cat\n\ndog\n")
  with pytest.raises(ValueError, match="line 2 of 3 is empty"):
    labels.listed(str(path), "labels")
  path.write_bytes(b"caf\xe9\n")
  with pytest.raises(ValueError, match="is not UTF-8"):
    labels.listed(str(path), "labels")


def test_templates(tmp_path):
  path = tmp_path / "templates"
  path.write_text("a {c}, or\nthe {}\n")
  assert labels.templates(str(path)) == ("a {}, or", "the {}")
  assert labels.templates("a, {}") == ("a, {}",)
  assert labels.templates("") == ("{}",)
  imagenet = labels.templates("imagenet1k")
  assert len(imagenet) == 80
  assert "a bad photo of a {}." in imagenet
  for value, message in (
    ("imagenet2k", "no file, no template .* and no set with templates"),
    ("a {} and {}", "must have one {}, in place of the label; got"),
    ("a {x}", "must have one {}"),
  ):
    with pytest.raises(ValueError, match=message):
      labels.templates(value)


def test_facts_of_very_many_labels_have_their_digest():
  few = labels.Labels(("a", "b"), origin="a,b").facts()
  assert few["labels"] == ["a", "b"]
  many = labels.Labels(tuple(map(str, range(2000)))).facts()
  assert many["labels"] is None
  assert many["num_labels"] == 2000
  assert many["labels_digest"] != few["labels_digest"]
