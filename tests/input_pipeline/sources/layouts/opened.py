"""Data sets of tests, opened by their layouts."""

import pathlib

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
