"""What the recipes of --task=curate share: every field, with its default."""

from typing import Any

import ml_collections


def recipe(**steps: dict[str, Any]) -> ml_collections.ConfigDict:
  """Return a recipe of these steps, in this order.

  A step is a dict with `op`, a key of curation.rules.OPERATORS, and each field
  of that operator.
  """
  config = ml_collections.ConfigDict()
  config.pool = pool()
  # Indices of tars, models: what other curations can use too.
  config.cache_dir = "cache"
  # Of a shard that fails, before the others are done without it.
  config.max_attempts = 2
  # Share of the shards that may fail each time and are left out then, as the
  # manifest says; with 0, none may.
  config.max_failed_shards = 0.0
  # Names of `steps`, in the order in which they are taken; what is left out of
  # here is not done: --config.order="('image_size','aspect_ratio')".
  config.order = tuple(steps)
  config.steps = ml_collections.ConfigDict()
  for name, fields in steps.items():
    config.steps[name] = ml_collections.ConfigDict(fields)
  return config


def pool() -> ml_collections.ConfigDict:
  """Return the section that says where the noisy pairs are."""
  config = ml_collections.ConfigDict()
  # Key of curation.pools.FORMATS: "webdataset" (img2dataset's tars),
  # "parquet" (img2dataset's, Hugging Face's, DataComp's metadata), "table" (one
  # JSONL, CSV or TSV), "jsonl" (many), "emoji", "array_record", "tfds".
  config.format = "webdataset"
  # Files: a path or an fsspec URL (gs://, s3://), with {000..123} and * in it.
  config.path = ""
  # The other fields mean what they mean in configs/parts/sources.py, so that
  # the selection fits the source that is trained on.
  config.image = ()
  config.caption = ()
  config.language = "en"
  config.language_field = ""
  config.uid = ""
  config.split = ""
  # Of formats whose examples have captions in several: each of these languages'
  # is a pair. () is all.
  config.languages = ()
  return config
