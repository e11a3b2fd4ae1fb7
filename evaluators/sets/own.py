"""Labelled sets of one's own data, from any source."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from evaluators.sets import field_set, labels, text_files
from evaluators.sets.disk import class_folders
from input_pipeline.sources import columns

FOLDER = "folder"
# Template where none is named.
TEMPLATE = "a photo of a {c}."


def labelled(
  name: str,
  source: Mapping[str, Any],
  label: str,
  *,
  cache_dir: str,
  classes: str = "",
  templates: str = "",
) -> field_set.FieldSet:
  """Return a set with a label for each example; labels are read, no image.

  Labels are whole numbers from 0, or names. Of numbers, line i of `classes`
  names class i. Names are the classes in the order of `classes`, else sorted,
  and "_" of a name is a space in prompts.

  Args:
    name: name of the set.
    source: section of its source (configs/parts/sources.py), plain data.
    label: location of the label: a column of a table or of Parquet, ".cls" or
      "json.FIELD" of tars, a ClassLabel of TFDS; or "folder", the name of the
      folder that an image of a "folder" is in.
    cache_dir: folder for indexes and tables.
    classes: text file with the name of a class a line; "" for the names that
      the labels are.
    templates: text file with a template a line, {c} or {} for the class; ""
      for "a photo of a {c}.".

  Raises:
    ValueError: a file or a label cannot be used.
  """
  field = f"evaluate.sets.{name}"
  lines = _lines(templates, f"{field}.templates") or [TEMPLATE]
  prompts = tuple(line.replace("{}", "{c}") for line in lines)
  named = tuple(_lines(classes, f"{field}.classes"))
  origins = {
    "classes": classes or f"{field}.label",
    "templates": templates or "the code",
  }
  if label == FOLDER:
    opened = class_folders.open_any(
      name, source["path"], cache_dir=cache_dir, classes=named
    )
    return dataclasses.replace(opened, templates=prompts, origins=origins)
  opened = field_set.FieldSet(
    *(name, "classification"),
    {
      **source,
      "caption": (_location(source["format"], label),),
      "language": field_set.LABELS,
      "language_field": "",
    },
    ("label",),
    templates=prompts,
    origins=origins,
  )
  rows, names = labels.texts_of(opened, pathlib.Path(cache_dir), field)
  texts = [_one(row, where) for row, where in zip(rows, names, strict=True)]
  if not texts:
    raise ValueError(f"{field}.source has no example")
  if all(text.isascii() and text.isdigit() for text in texts):
    if not named:
      raise ValueError(
        f"{field}.classes must be a text file with a name a line, as the labels"
        f" at {label} are numbers, 0 to {max(map(int, texts))}; got ''"
      )
    return dataclasses.replace(opened, classes=named)
  values = named or tuple(sorted(set(texts)))
  for text, where in zip(texts, names, strict=True):
    if text not in values:
      raise ValueError(
        f"{where}: the label {text[:60]!r} is none of the {len(values)} lines "
        f"of {classes}"
      )
  return dataclasses.replace(
    opened,
    texts=("name",),
    values=values,
    classes=tuple(value.replace("_", " ") for value in values),
  )


def _location(format: str, label: str) -> str:
  """Return the location of captions that is the label as text."""
  is_member = format == "webdataset" and not label.startswith("json.")
  if is_member or format == "tfds":
    return label
  return label.removesuffix(columns.NUMBER) + columns.NUMBER


def _one(row: Sequence[str], where: str) -> str:
  if len(row) != 1:
    raise ValueError(f"{where}: expected one label; got {list(row)}")
  return row[0].strip()


def _lines(path: str, field: str) -> list[str]:
  if not path:
    return []
  text = text_files.read(path)
  if text is None:
    raise ValueError(f"{field} must be a text file; there is no {path}")
  return text_files.lines(text)
