"""Labelled sets of one's own data, from any source."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evaluators.sets import field_set, labels, text_files
from evaluators.sets.disk import class_folders
from evaluators.sets.disk import rows as disk_rows
from input_pipeline.sources import columns, source_config
from input_pipeline.sources.tables import folder
from input_pipeline.storage import folders
from runtime.storage import remote

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
  prompts: Sequence[str] = (),
  attributes: Sequence[str] = (),
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
    prompts: templates that stand for those of a file.
    attributes: locations of attributes, as that of the label; of images in
      folders by class, columns of a table such as metadata.jsonl beside them.

  Raises:
    ValueError: a file, a label or an attribute cannot be used.
  """
  field = f"evaluate.sets.{name}"
  lines = prompts or lines_of(templates, f"{field}.templates") or [TEMPLATE]
  in_config = f"{field}.prompts" if prompts else "the code"
  prompts = tuple(line.replace("{}", "{c}") for line in lines)
  named = tuple(lines_of(classes, f"{field}.classes"))
  origins = {
    "classes": classes or f"{field}.label",
    "templates": templates or in_config,
  }
  if label == FOLDER:
    # No field of a config: a section of plain data may be without it.
    is_video = source.get("is_video", False)
    suffixes = folders.VIDEOS if is_video else folders.IMAGES
    opened = class_folders.open_any(
      name,
      source["path"],
      cache_dir=cache_dir,
      classes=named,
      suffixes=suffixes,
    )
    opened = dataclasses.replace(opened, templates=prompts, origins=origins)
    if attributes:
      opened = _with_attributes(opened, source, attributes, cache_dir)
    return opened
  opened = field_set.FieldSet(
    *(name, "classification"),
    section_of(source, label, attributes),
    ("label", *(["attribute"] * len(attributes))),
    templates=prompts,
    attributes=tuple(attributes),
    origins=origins,
  )
  with naming(field, "label and attributes" if attributes else "label"):
    rows, names = labels.texts_of(opened, pathlib.Path(cache_dir), field)
  texts = [
    _one(row[: len(row) - len(attributes)], where)
    for row, where in zip(rows, names, strict=True)
  ]
  if not texts:
    raise ValueError(f"{field}.source has no example")
  for position, attribute in enumerate(attributes, -len(attributes)):
    _check_values([row[position] for row in rows], attribute, field)
  if all(text.isascii() and text.isdigit() for text in texts):
    if not named:
      raise ValueError(
        f"{field}.classes must be a text file with a name a line, as the labels"
        f" at {label} are numbers, 0 to {max(map(int, texts))}; got ''"
      )
    for text, where in zip(texts, names, strict=True):
      if int(text) >= len(named):
        raise ValueError(
          f"{where}: the label {text} has no line in {classes}, whose "
          f"{len(named)} lines are of labels 0 to {len(named) - 1}"
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
    texts=("name", *opened.texts[1:]),
    values=values,
    classes=tuple(value.replace("_", " ") for value in values),
  )


def section_of(
  source: Mapping[str, Any], label: str, attributes: Sequence[str]
) -> dict[str, Any]:
  """Return the section of a source that reads labels and attributes.

  Without a label "" the attributes alone.
  """
  form = source["format"]
  places = [_location(form, label)] if label else []
  return {
    **source,
    "caption": (*places, *(f"{x}{columns.VALUE}" for x in attributes)),
    "language": field_set.LABELS,
    "language_field": "",
  }


def _location(format: str, label: str) -> str:
  """Return the location of captions that is the label as text."""
  is_member = format == "webdataset" and not label.startswith("json.")
  if is_member or format == "tfds":
    return label
  return label.removesuffix(columns.NUMBER) + columns.NUMBER


@contextlib.contextmanager
def naming(field: str, fields: str) -> Iterator[None]:
  """Let errors name the fields that captions stand for."""
  caption = f"{field}.source.caption"
  try:
    yield
  except ValueError as error:
    if caption not in str(error):
      raise
    text = str(error).replace(caption, f"{field}: {fields}")
    for end in (columns.NUMBER, columns.VALUE):
      text = text.replace(end, "")
    raise ValueError(text) from error


def _with_attributes(
  opened: field_set.FieldSet,
  source: Mapping[str, Any],
  attributes: Sequence[str],
  cache_dir: str,
) -> field_set.FieldSet:
  """Return folders by class with attributes from a table beside them.

  The table, as metadata.jsonl, names each image by its path below the folder;
  an image without a row has no values.
  """
  field = f"evaluate.sets.{opened.name}"
  section = section_of({**source, "format": "folder"}, "", attributes)
  table = dataclasses.replace(opened, source=section)
  with naming(field, "attributes"):
    records = folder.open_split(
      source_config.SourceConfig(**section),
      "",
      source_config.SourceContext(
        "source", pathlib.Path(cache_dir), image_size=1, section=field
      ),
    )
  texts, names = labels.texts_of(table, pathlib.Path(cache_dir), field)
  del names
  values = {
    os.path.realpath(records.path_of(row)): one for row, one in enumerate(texts)
  }
  rows = disk_rows.parsed_lines(opened.source["path"])
  root = remote.local_path(opened.source["image_root"])
  none = [columns.VALUE_MARK] * len(attributes)
  joined = [
    {
      **row,
      "label": [
        row["label"],
        *values.get(os.path.realpath(f"{root}/{row['image']}"), none),
      ],
    }
    for row in rows
  ]
  for position, attribute in enumerate(attributes, 1):
    found = [row["label"][position] for row in joined]
    _check_values(found, attribute, field)
  return dataclasses.replace(
    opened,
    source={
      **opened.source,
      "path": disk_rows.written(joined, cache_dir),
    },
    texts=("label", *(["attribute"] * len(attributes))),
    attributes=tuple(attributes),
  )


def _check_values(texts: Sequence[str], attribute: str, field: str) -> None:
  """Raise ValueError where an attribute's values are no groups."""
  values = {labels.value_of(text) for text in texts} - {labels.NONE}
  if not values:
    raise ValueError(
      f"{field}.attributes must be places with values; got {attribute!r}, which"
      f" none of {len(texts)} examples has"
    )
  if len(values) > labels.MOST_VALUES:
    raise ValueError(
      f"{field}.attributes must have at most {labels.MOST_VALUES} values each;"
      f" got {attribute!r} with {len(values)}"
    )


def _one(row: Sequence[str], where: str) -> str:
  if len(row) != 1:
    raise ValueError(f"{where}: expected one label; got {list(row)}")
  return row[0].strip()


def lines_of(path: str, field: str) -> list[str]:
  """Return the lines of a text file, [] for ""; ValueError without it."""
  if not path:
    return []
  text = text_files.read(path)
  if text is None:
    raise ValueError(f"{field} must be a text file; there is no {path}")
  return text_files.lines(text)
