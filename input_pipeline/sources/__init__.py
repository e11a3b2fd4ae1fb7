"""Where image-text pairs come from, one module a format.

Each module has

  LANGUAGES         tuple of what captions are in; None: the data tell
  splits(source, place) -> names of its splits, () where it has none
  open_split(source, split, place) -> `record.Records` of one; "" where there
                    are no splits. May first make an index or render.

Both raise ValueError that names the field for what a user has to change, and
OSError or ModuleNotFoundError that says what to do.
"""

from typing import Any

from input_pipeline.sources import (
  emoji,
  parquet,
  prepared,
  table,
  tfds,
  webdataset,
)

# Any: a module, or in tests what stands for one.
FORMATS: dict[str, Any] = {
  "emoji": emoji,
  "array_record": prepared,
  "webdataset": webdataset,
  "parquet": parquet,
  "table": table,
  "tfds": tfds,
}
