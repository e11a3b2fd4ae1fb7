"""Examples of training's other sources as a pool, read one by one.

For what is small or read whole anyway: the emoji, ArrayRecord, TFDS. An example
has a pair for each of its captions, in each of `pool.languages`. The number of
a caption is that among all of the example, languages in alphabetical order.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from curation import pool
from curation.pools import pair_tables, section
from input_pipeline import captions, faults, sources
from input_pipeline import languages as languages_lib
from input_pipeline.sources import record, source_config
from input_pipeline.storage import uids as uids_lib

# Examples in a shard.
SHARD_EXAMPLES = 500


def open_pool(config: pool.PoolConfig, cache_dir: pathlib.Path) -> "Pool":
  """Return the examples of a split; rendered or indexed if need be."""
  source, context = section.source(config), section.context(cache_dir)
  try:
    records = sources.FORMATS[config.format].open_split(
      source, config.split, context
    )
  except ValueError as error:
    raise ValueError(section.of_pool(str(error))) from error
  path = f"{config.format}:{config.path or config.split}"
  version = records.fingerprint()
  shards = [
    pool.Shard(
      name=pool.shard_name(f"{path}/{config.split}", start),
      path=path,
      start=start,
      stop=min(start + SHARD_EXAMPLES, len(records)),
      version=version,
    )
    for start in range(0, len(records), SHARD_EXAMPLES)
  ]
  return Pool(source, context, config.languages, tuple(shards))


@dataclasses.dataclass(frozen=True)
class Pool:
  """Pool of the examples of a training source; see pool.Pool.

  Attributes:
    source: section of the source.
    context: folder of its index and the name in messages.
    languages: languages whose captions are pairs; () for all.
    shards: ranges of examples.
  """

  source: source_config.SourceConfig
  context: source_config.SourceContext
  languages: tuple[str, ...]
  shards: tuple[pool.Shard, ...]

  columns = frozenset(pool.TYPES)

  def read(
    self,
    shard: pool.Shard,
    columns: Sequence[str],
    *,
    max_rows: int,
    rows: np.ndarray | None = None,
  ) -> Iterator[pa.Table]:
    """Yield the pairs of a shard; see pool.Pool."""
    records, uids = _opened(self.source, self.context)
    section.check_same(shard, records.fingerprint())
    is_measured = bool({"width", "height"} & set(columns))
    places = pool.places(rows)
    if places is None:
      places = np.arange(shard.stop - shard.start)
    table = pair_tables.Table(columns, {}, rows, is_measured=is_measured)
    for is_last, place in _with_last(places.tolist()):
      if place is not None:
        index = shard.start + place
        self._add(table, place, uids[index], records, index)
      yield from table.take(max_rows, is_last=is_last)

  def _add(
    self,
    table: pair_tables.Table,
    place: int,
    uid: np.void,
    records: record.Records,
    index: int,
  ) -> None:
    name = uids_lib.uid_bytes(uid)
    try:
      found = records[index]
      wanted = [
        (number, language, text)
        for number, (language, text) in enumerate(
          captions.numbered(found.texts)
        )
        if self._reads(language) and not captions.is_blank(text)
      ]
      if not wanted:
        raise faults.ExampleError(
          "caption_missing",
          f"{found.key} has captions in {', '.join(sorted(found.texts))}; "
          f"pool.languages={self.languages}",
        )
    except faults.ExampleError as error:
      if error.kind in (*faults.TRANSIENT, "shard_changed"):
        raise
      table.add_fault(place, name, error.kind, str(error))
      return
    numbers, languages, texts = zip(*wanted, strict=True)
    table.add(place, name, texts, {"image": found.image}, languages, numbers)

  def _reads(self, language: str) -> bool:
    wanted = map(languages_lib.normalised, self.languages)
    return not self.languages or languages_lib.normalised(language) in wanted

  def __reduce__(self):
    return Pool, (self.source, self.context, self.languages, ())


def _with_last(places: Sequence[int]) -> Iterator[tuple[bool, int | None]]:
  """Yield (False, place) for each and, at the end, (True, None)."""
  for place in places:
    yield False, place
  yield True, None


# One pool is worked on at a time.
@functools.lru_cache(maxsize=2)
def _opened(
  source: source_config.SourceConfig, context: source_config.SourceContext
) -> tuple[record.Records, np.ndarray]:
  records = sources.FORMATS[source.format].open_split(
    source, source.split, context
  )
  return records, records.uids()
