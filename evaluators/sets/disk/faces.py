"""FairFace and UTKFace in the forms of their origins, for tables by group.

  FairFace  fairface_label_val.csv: file,age,gender,race,service_test, and
            val/1.jpg, ... (github.com/joojs/fairface; arXiv 1908.04913)
  UTKFace   [age]_[gender]_[race]_[date&time].jpg in one folder
            (susanqq.github.io/UTKFace; arXiv 1702.08423)

Neither ships prompts; those here are of this project. DataComp's, with its
toxic classes, are in its own folders wds_fairface_test and wds_utkface_test,
which come first.
"""

import csv
import io
import re

from evaluators.sets import clip_benchmark, field_set, text_files
from evaluators.sets.disk import rows
from input_pipeline.storage import folders

_FIELDS = ("age", "gender", "race")
# Values of FairFace's columns; prompts name them by the words beside them.
_AGES = {
  "0-2": "0 to 2",
  "3-9": "3 to 9",
  "10-19": "10 to 19",
  "20-29": "20 to 29",
  "30-39": "30 to 39",
  "40-49": "40 to 49",
  "50-59": "50 to 59",
  "60-69": "60 to 69",
  "more than 70": "more than 70",
}
_GENDERS = {"Male": "man", "Female": "woman"}
_FAIRFACE_RACES = {
  "White": "White",
  "Black": "Black",
  "Latino_Hispanic": "Latino",
  "East Asian": "East Asian",
  "Southeast Asian": "Southeast Asian",
  "Indian": "Indian",
  "Middle Eastern": "Middle Eastern",
}
# In the order of UTKFace's numbers; "Others" has no word of its own.
_UTKFACE_RACES = ("White", "Black", "Asian", "Indian", "other")
_UTKFACE = re.compile(r"(\d{1,3})_([01])_([0-4])_[^_]*\.(?:jpe?g|png)", re.I)
_TEMPLATES = {
  "age": ("a photo of a person aged {c}.",),
  "gender": ("a photo of a {c}.",),
  "race": ("a photo of a {c} person.",),
}


def fairface(root: str, *, cache_dir: str) -> field_set.FieldSet | None:
  """Return FairFace's validation set; None where its table is not there."""
  path = f"{root}/fairface_label_val.csv"
  text = text_files.read(path)
  if text is None:
    return None
  values = {
    "age": tuple(_AGES),
    "gender": tuple(_GENDERS),
    "race": tuple(_FAIRFACE_RACES),
  }
  table = []
  reader = csv.DictReader(io.StringIO(text))
  for row in reader:
    groups = []
    if not row.get("file"):
      raise ValueError(f"{path}, line {reader.line_num}: no column file in it")
    for name in _FIELDS:
      value = row.get(name)
      if value not in values[name]:
        raise ValueError(
          f"{path}, line {reader.line_num}: {name} must be one of "
          f"{', '.join(values[name])}; got {value!r}"
        )
      groups.append(values[name].index(value))
    table.append(_row(row["file"], groups))
  return _made(
    "fairness/fairface",
    (root, path),
    table,
    tuple(_FAIRFACE_RACES.values()),
    cache_dir=cache_dir,
  )


def utkface(root: str, *, cache_dir: str) -> field_set.FieldSet | None:
  """Return UTKFace; None where no image has a name of its form.

  A name that lacks a number, as a few do, is left out; a warning counts them.
  Ages are put into FairFace's nine ranges.
  """
  for part in ("", "UTKFace"):
    folder = f"{root}/{part}".rstrip("/")
    try:
      listed = folders.walk(folder, "--data_root")
    except (ValueError, OSError):
      continue
    table, others = [], []
    for name in listed:
      if "/" in name:
        continue
      match = _UTKFACE.fullmatch(name.replace(".chip", ""))
      if match is None:
        if f".{name.rpartition('.')[2].lower()}" in folders.IMAGES:
          others.append(name)
        continue
      age, gender, race = map(int, match.groups())
      table.append(_row(name, [_range(age), gender, race]))
    if table:
      warnings = ()
      if others:
        warnings = (
          f"{folder}: {len(others)} images are left out, whose names are not "
          f"age_gender_race_time.jpg, as {others[0]}",
        )
      return _made(
        "fairness/utkface",
        (folder, folder),
        table,
        _UTKFACE_RACES,
        cache_dir=cache_dir,
        warnings=warnings,
      )
  return None


def _range(age: int) -> int:
  """Return the index of an age among FairFace's ranges: 3 is in 3-9."""
  return sum(age >= start for start in (3, 10, 20, 30, 40, 50, 60, 70))


def _row(name: str, groups: list[int]) -> dict[str, str]:
  return {"image": name, "key": name, "groups": " ".join(map(str, groups))}


def _made(
  key: str,
  at: tuple[str, str],
  table: list[dict[str, str]],
  races: tuple[str, ...],
  *,
  cache_dir: str,
  warnings: tuple[str, ...] = (),
) -> field_set.FieldSet:
  folder, path = at
  if not table:
    raise ValueError(f"{path} has no image")
  classes = {
    "age": tuple(_AGES.values()),
    "gender": tuple(_GENDERS.values()),
    "race": races,
  }
  return field_set.FieldSet(
    key,
    "faces",
    rows.source(table, folder, cache_dir=cache_dir, labels="groups"),
    ("groups",),
    objectives={name: (classes[name], _TEMPLATES[name]) for name in _FIELDS},
    fields=_FIELDS,
    task=clip_benchmark.published(key),
    origins={"classes": path, "templates": "the code"},
    warnings=warnings,
  )
