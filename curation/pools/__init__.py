"""Where noisy pairs come from, one module a format.

Each module has

  open_pool(config, cache_dir) -> `pool.Pool`

which raises ValueError that names the field of `config.pool` for what a user
has to change, and OSError or ModuleNotFoundError that says what to do.
"""

from collections.abc import Mapping
from typing import Any

from curation.pools import jsonl, parquet, records, table, webdataset

# Any: a module.
FORMATS: Mapping[str, Any] = {
  "webdataset": webdataset,
  "parquet": parquet,
  "table": table,
  "jsonl": jsonl,
  "emoji": records,
  "array_record": records,
  "tfds": records,
}
