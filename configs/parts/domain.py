"""Settings of runs on public data sets in their layouts (docs/domains.md)."""

from collections.abc import Iterable, Mapping
from typing import Any

import ml_collections

from configs.parts import sources


def source(layout: str, **fields: Any) -> dict[str, Any]:
  """Return a source's section that reads a layout, as plain data.

  Args:
    layout: "MODULE.NAME" or "MODULE.NAME@SPLIT".
    **fields: other fields of the section.
  """
  name, _, split = layout.partition("@")
  fields = {"layout": name, "split": split} | fields
  return sources.source(format="layout", **fields).to_dict()


def captions(
  grammar: Iterable[tuple[str, str]], *columns: str
) -> dict[str, Any]:
  """Return the fields of a source whose captions are made of columns.

  Args:
    grammar: (name, text) of each grammar.
    *columns: columns that have slots of their name.
  """
  fields = tuple((column, column) for column in columns)
  return {"grammar": tuple(grammar), "grammar_fields": fields}


def set_layouts(
  config: ml_collections.ConfigDict,
  train: str | Mapping[str, Any],
  **sets: dict[str, Any],
) -> None:
  """Set the training source and the evaluation sets.

  Sets whose path is "" are below the folder of the training source: its flag,
  --config.data.sources.main.path, is theirs too, unless it is of another
  format. The path of the first set of a layout is that of all its sets.

  Args:
    config: config to change in place.
    train: layout, as in `source`, or a source's section.
    **sets: sections of evaluate.sets by name.
  """
  section = source(train) if isinstance(train, str) else train
  config.data.sources.main.update(section)
  main = config.data.sources.main
  first: dict[str, ml_collections.ConfigDict] = {}
  for name, section in sets.items():
    config.evaluate.sets[name] = section
    own = config.evaluate.sets[name].source
    if not own.path:
      above = first.setdefault(own.layout, own)
      above = main if above is own and main.format == "layout" else above
      if above is not own:
        own.path = above.get_oneway_ref("path")
