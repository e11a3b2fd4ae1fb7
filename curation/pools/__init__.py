"""Formats of pools of noisy pairs, one module each.

Each module has

  open_pool(config, cache_dir) -> `pool.Pool`

It raises ValueError, naming the field of `config.pool`, for a value that the
user has to change; OSError or ModuleNotFoundError, saying what to do, for the
rest.
"""

from collections.abc import Mapping
from typing import Any

from curation.pools import folder, jsonl, parquet, records, table, webdataset

# Values are modules.
FORMATS: Mapping[str, Any] = {
  "webdataset": webdataset,
  "parquet": parquet,
  "table": table,
  "folder": folder,
  "jsonl": jsonl,
  "emoji": records,
  "array_record": records,
  "tfds": records,
}
