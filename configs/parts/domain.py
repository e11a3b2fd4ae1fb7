"""Settings of runs on public data sets in their layouts (docs/domains.md)."""

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


def set_layouts(
  config: ml_collections.ConfigDict, train: str, **sets: dict[str, Any]
) -> None:
  """Set the training source and the evaluation sets.

  Sets whose path is "" are below the folder of the training source: its flag,
  --config.data.sources.main.path, is theirs too.

  Args:
    config: config to change in place.
    train: layout, as in `source`.
    **sets: sections of evaluate.sets by name.
  """
  config.data.sources.main.update(source(train))
  main = config.data.sources.main
  for name, section in sets.items():
    config.evaluate.sets[name] = section
    if not section["source"]["path"]:
      path = main.get_oneway_ref("path")
      config.evaluate.sets[name].source.path = path
