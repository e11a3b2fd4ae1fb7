"""Data sets of tests, opened by their layouts."""

import pathlib
from collections.abc import Mapping

from PIL import Image

from configs.parts import domain
from input_pipeline.sources import public_layout, source_config


def records(
  folder: pathlib.Path, layout: str, **fields
) -> public_layout.Records:
  """Return the examples of a folder; its tables are kept beside it.

  Args:
    folder: the data set's.
    layout: "MODULE.NAME@SPLIT".
    **fields: other fields of the source's section.
  """
  section = domain.source(layout, path=str(folder), **fields)
  source = source_config.SourceConfig(**section)
  source.check("data.sources.main")
  cache = folder.parent / f"{folder.name}-cache"
  context = source_config.SourceContext("main", cache, image_size=32)
  return public_layout.open_split(source, source.split, context)


def captions(opened: public_layout.Records) -> list[tuple[str, ...]]:
  """Return the texts of all examples; no image is read."""
  return [
    tuple(text for texts in opened.texts(i).values() for text in texts)
    for i in range(len(opened))
  ]


def write(
  folder: pathlib.Path, tables: Mapping[str, str], images: tuple[str, ...] = ()
) -> None:
  """Write texts by name, and images, each of another grey."""
  for name, text in tables.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
  for number, name in enumerate(images):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (6, 8), number).save(folder / name)


def texts(
  folder: pathlib.Path, layout: str, column: str = "caption"
) -> list[tuple[str, str]]:
  """Return the key of every record and its text; images are read."""
  found = records(folder, layout, caption=(column,))
  every = (found[index] for index in range(len(found)))
  return [(record.key, *record.texts["en"]) for record in every]


def columns(opened: public_layout.Records, *names: str) -> list[tuple]:
  """Return the values of columns, in each row."""
  rows = [opened._row(i) for i in range(len(opened))]
  return [tuple(row.get(name) for name in names) for row in rows]
