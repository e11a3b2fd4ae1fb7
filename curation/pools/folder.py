"""Folders of images with their captions beside them, as training reads them.

The folder is made a table once, of which this is the pool; see
input_pipeline.sources.tables.folder.
"""

import dataclasses
import pathlib

from curation import pool
from curation.pools import section, table
from input_pipeline.sources.tables import folder


def open_pool(config: pool.PoolConfig, cache_dir: pathlib.Path) -> table.Pool:
  """Return the images of a folder; lists it, and reads captions once."""
  section.refuse(config, "split", "languages")
  made = folder.as_table(section.source(config), section.FIELD, cache_dir)
  fields = {
    field.name: getattr(made, field.name)
    for field in dataclasses.fields(config)
    if hasattr(made, field.name)
  }
  opened = table.open_pool(dataclasses.replace(config, **fields), cache_dir)
  form = dataclasses.replace(opened.form, fault=folder.FAULT)
  return dataclasses.replace(opened, form=form)
