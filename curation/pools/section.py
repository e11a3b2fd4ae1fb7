"""A pool's section as that of a source that training reads."""

import pathlib

from curation import pool
from input_pipeline import faults
from input_pipeline.sources import source_config
from input_pipeline.storage import files
from runtime.storage import remote

# Field that messages begin with.
FIELD = "pool"
# Pixels of drawings, which have no size of their own.
_DRAWN_SIZE = 64


def source(config: pool.PoolConfig) -> source_config.SourceConfig:
  """Return the source whose examples have the UIDs of the pool's pairs.

  Raises ValueError for an encoding or image_root that cannot be used.
  """
  source_config.check_encoding(config.encoding, config.format, FIELD)
  source_config.check_image_root(config.image_root, config.format, FIELD)
  return source_config.SourceConfig(
    format=config.format,
    path=config.path,
    split=config.split,
    image=config.image,
    caption=config.caption,
    language=config.language,
    language_field=config.language_field,
    uid=config.uid,
    templates=(),
    weight=0.0,
    repeat=1,
    subset="",
    keep="",
    encoding=config.encoding,
    image_root=config.image_root,
  )


def context(cache_dir: pathlib.Path) -> source_config.SourceContext:
  """Return where its index is, or what is rendered."""
  return source_config.SourceContext(FIELD, cache_dir, _DRAWN_SIZE)


def refuse(config: pool.PoolConfig, *fields: str) -> None:
  """Raise ValueError for the first of these fields that is given."""
  for field in fields:
    if getattr(config, field):
      raise ValueError(
        f'pool.{field} is not used by format="{config.format}"; got '
        f"{getattr(config, field)!r}"
      )


def of_pool(message: str) -> str:
  """Return what a source's message says of the pool that is that source."""
  return message.replace(f"data.sources.{FIELD}", FIELD)


def version_of(*found: files.File) -> str:
  """Return the version of a shard, of a file and those that belong to it."""
  return "/".join(f"{file.size}/{file.version}" for file in found)


def check_unchanged(shard: pool.Shard) -> None:
  """Raise faults.ExampleError for a file that is not what was opened."""
  now = files.facts(shard.path)
  # A listing and a request for one file may say its time in two ways.
  start = f"{now.size}/" if remote.is_remote(now.path) else version_of(now)
  check_same(shard, start + shard.version[len(start) :])


def check_same(shard: pool.Shard, version: str) -> None:
  """Raise faults.ExampleError for another version than that of the shard."""
  if version != shard.version:
    raise faults.ExampleError(
      "shard_changed",
      f"{shard.path} changed after the curation began; start it again, in "
      "another --workdir",
    )
