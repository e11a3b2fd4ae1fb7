"""FairFace and UTKFace."""

import pytest

from evaluators import embedding
from evaluators.figures import set_figures
from evaluators.sets import audit, field_set, labels, resolve
from tests.evaluators import set_examples, test_results_schema
from tests.evaluators.sets import made


def _open(tmp_path, name):
  (opened,) = resolve.resolve(
    "", [name], str(tmp_path / "sets"), cache_dir=str(tmp_path / "cache")
  ).values()
  return opened


def _shown(opened, groups):
  """Return the names that the numbers of groups stand for."""
  return [
    tuple(
      opened.objectives[field][0][number]
      for field, number in zip(opened.fields, row, strict=True)
    )
    for row in groups.tolist()
  ]


def test_figures_of_the_form_of_its_origin(tmp_path):
  """The original form has no toxic classes and no column for white."""
  root = tmp_path / "sets" / "fairface"
  races = ("White", "Black", "White", "Indian")
  made.images(root, *(f"val/{i}.jpg" for i in range(4)))
  (root / "fairface_label_val.csv").write_text(
    "file,age,gender,race,service_test\n"
    + "".join(
      f"val/{i}.jpg,3-9,Male,{race},False\n" for i, race in enumerate(races)
    )
  )
  opened = _open(tmp_path, "fairface")
  records = labels.texts_of(opened, tmp_path / "index", "--sets")
  texts = tuple({field_set.LABELS: tuple(one)} for one in records[0])
  # Each image is that of its race's prompt, but the last is taken for White.
  prompts = [f"a photo of a {x} person." for x in (*races[:3], "White")]
  examples = embedding.Examples(
    tuple(range(4)), tuple("abcd"), texts, set_examples.embed(prompts)
  )
  record = set_figures.evaluate(
    opened, examples, set_examples.embed, set_examples.mesh()
  ).record
  assert record["tables"].keys() == {"accuracy", "gender"}
  race = {row["name"]: row for row in record["tables"]["accuracy"]["race"]}
  assert (race["white"]["n"], race["white"]["mean"]) == (2, 1.0)
  assert (race["non-white"]["n"], race["non-white"]["mean"]) == (2, 0.5)
  test_results_schema.validate({"faces": record})


def test_fairface(tmp_path):
  root = tmp_path / "sets" / "fairface"
  made.images(root, "val/1.jpg", "val/2.jpg")
  path = root / "fairface_label_val.csv"
  path.write_text(
    "file,age,gender,race,service_test\n"
    "val/1.jpg,3-9,Male,East Asian,False\n"
    "val/2.jpg,more than 70,Female,Latino_Hispanic,True\n"
  )
  opened = _open(tmp_path, "fairface")
  assert opened.kind == "faces"
  read = labels.read(opened, tmp_path / "index", "--sets")
  assert _shown(opened, read.groups_NG) == [
    ("3 to 9", "man", "East Asian"),
    ("more than 70", "woman", "Latino"),
  ]
  assert len(opened.objectives["age"][0]) == 9
  assert len(opened.objectives["race"][0]) == 7
  report = audit.audit(opened, read)
  assert report.errors == ()
  assert report.facts["race:num_classes"] == 7
  path.write_text("file,age,gender,race\nval/1.jpg,3-9,Male,Martian\n")
  with pytest.raises(ValueError, match=r"val\.csv, line 2: race must be one"):
    _open(tmp_path, "fairface")


def test_utkface(tmp_path):
  made.images(
    tmp_path / "sets" / "UTKFace",
    "100_0_0_20170112213500903.jpg.chip.jpg",
    "2_1_4_20161219140623097.jpg",
    "3_1_2_20161219140623098.jpg",
    "39_1_20170116174525125.jpg",  # no race, as three of the originals
  )
  opened = _open(tmp_path, "utkface")
  read = labels.read(opened, tmp_path / "index", "--sets")
  assert _shown(opened, read.groups_NG) == [
    ("more than 70", "man", "White"),
    ("0 to 2", "woman", "other"),
    ("3 to 9", "woman", "Asian"),
  ]
  (warning,) = opened.warnings
  assert "1 images are left out" in warning
  assert warning.endswith("as 39_1_20170116174525125.jpg")
