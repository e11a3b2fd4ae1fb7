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
  tfds,
  webdataset,
)
from input_pipeline.sources.arrow import parquet
from input_pipeline.sources.tables import folder, table

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
