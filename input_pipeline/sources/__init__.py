"""Sources of image-text pairs, one module a format.

Each module has

  LANGUAGES         tuple of the captions' languages; None: the data define them
  splits(source, place) -> names of its splits, () for a format without any
  open_split(source, split, place) -> `record.Records` of a split, "" for a
                    format without any. May first make an index or render.

Both raise ValueError that names the config field to change, and OSError or
ModuleNotFoundError with advice.
"""

from typing import Any

from input_pipeline.sources import (
  emoji,
  prepared,
  public_layout,
  source_config,
  tfds,
  webdataset,
)
from input_pipeline.sources.arrow import parquet
from input_pipeline.sources.tables import folder, table
from runtime import checks

# Typed Any: a module, or in tests a stand-in for one.
FORMATS: dict[str, Any] = {
  "emoji": emoji,
  "array_record": prepared,
  "webdataset": webdataset,
  "parquet": parquet,
  "table": table,
  "folder": folder,
  "layout": public_layout,
  "tfds": tfds,
}


def check(source: source_config.SourceConfig, field: str) -> None:
  """Raise ValueError where no format can read a section; reads no data.

  Args:
    source: section of a source.
    field: name of the section in messages, such as "data.sources.main".
  """
  checks.one_of(f"{field}.format", source.format, FORMATS)
  source.check(field)
  if source.format == "layout" and source.layout:
    public_layout.check(source, field)
