"""Fields of the recipes of --task=curate, with their defaults."""

from typing import Any

import ml_collections


def recipe(**steps: dict[str, Any]) -> ml_collections.ConfigDict:
  """Return a recipe of these steps, in this order.

  A step is a dict with `op`, a key of curation.rules.OPERATORS, and each field
  of that operator.
  """
  config = ml_collections.ConfigDict()
  config.pool = pool()
  # Folder for indices of tars and for models, shared by curations.
  config.cache_dir = "cache"
  # Number of attempts at a shard that fails, before it counts as failed.
  config.max_attempts = 2
  # Share of the shards that may fail and are then left out, and listed in the
  # manifest; 0 allows none.
  config.max_failed_shards = 0.0
  # Whether the report and the manifest have the shares of languages, places and
  # demographic terms before and after each step (docs/curation.md).
  config.report_shares = True
  # Names of the steps to run, in this order; other `steps` are not run:
  # --config.order="('image_size','aspect_ratio')".
  config.order = tuple(steps)
  config.steps = ml_collections.ConfigDict()
  for name, fields in steps.items():
    config.steps[name] = ml_collections.ConfigDict(fields)
  return config


def emoji(
  config: ml_collections.ConfigDict, languages: tuple[str, ...] = ()
) -> ml_collections.ConfigDict:
  """Return a recipe that reads the names of emoji, with nothing to prepare."""
  config.pool.format = "emoji"
  config.pool.split = "train"
  config.pool.languages = languages
  return config


def pool() -> ml_collections.ConfigDict:
  """Return the section of the pool, the noisy pairs."""
  config = ml_collections.ConfigDict()
  # Key of curation.pools.FORMATS: "webdataset" (img2dataset's tars),
  # "parquet" (img2dataset's, Hugging Face's, DataComp's metadata), "table" (one
  # JSONL, CSV or TSV), "jsonl" (many), "folder" (images with captions beside
  # them), "emoji", "array_record", "tfds".
  config.format = "webdataset"
  # Files: a path or an fsspec URL (gs://, s3://, https://); it may have
  # {000..123} and *. A path that exists is that path.
  config.path = ""
  # Fields as in configs/parts/sources.py, with the same meaning: a selection
  # fits a training source with equal values.
  config.image = ()
  config.image_root = ""
  config.caption = ()
  config.language = "en"
  config.language_field = ""
  config.encoding = ""
  config.uid = ""
  config.split = ""
  # Languages of the captions to read, for formats whose examples have captions
  # in several (not "webdataset"); each caption is a pair. () reads all.
  config.languages = ()
  return config
