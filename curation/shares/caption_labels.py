"""File of the language and the labels of each pair of a shard, in its order.

  language  the pool's own; null for a pair that could not be read, or if the
            pool has no such column
  labels    numbers of lexicon.Lexicon.labels, of the caption; null for a pair
            that is not in the shard's sample

The sample are the pairs with the lowest hashes of their UIDs, all in a small
shard. All pairs with a hash below the `bound` in the file's metadata are in it.
"""

import pathlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation import pool
from curation.keys import hashing
from curation.shares import lexicon
from runtime.storage import mirror

# Columns of the pool that are read.
COLUMNS = frozenset(("text", "language"))
# Pairs of a pool that are looked at, about, and least number of a shard.
NUM_SAMPLED, NUM_OF_SHARD = 50_000, 100
# Bound above all hashes.
WHOLE = 2**64
_LABELS = pa.list_(pa.uint16())
_SCHEMA = pa.schema([("language", pa.string()), ("labels", _LABELS)])
_BOUND = b"diptych.bound"
# A number of ours, other than those of samples.py: that of a step.
_SEED = 0x5A17


def quota(num_shards: int) -> int:
  """Return the number of pairs of each shard that are looked at."""
  return max(NUM_OF_SHARD, -(-NUM_SAMPLED // max(1, num_shards)))


def draws(uids: np.ndarray, rows: np.ndarray) -> np.ndarray:
  """Return the hash that decides whether a pair is in a sample: uint64 [N]."""
  captions = (rows % 2**pool.CAPTION_BITS).astype(np.uint64)
  return hashing.mix(hashing.h64(uids, _SEED) + captions)


class Collector:
  """The rows of a shard's file."""

  def __init__(self, num_sampled: int) -> None:
    """Begin without rows; `num_sampled` is the highest number looked at."""
    self._num_sampled = num_sampled
    self._bound = WHOLE
    self._num_rows = 0
    self._languages: list[pa.ChunkedArray | pa.Array] = []
    self._draws = np.zeros(0, np.uint64)
    self._rows = np.zeros(0, np.int64)
    self._labels = pa.array([], _LABELS)

  def add(self, table: pa.Table) -> None:
    """Add the pairs of a pool's table, in order."""
    language: pa.ChunkedArray | pa.Array = pa.nulls(len(table), pa.string())
    if "language" in table.column_names:
      language = table["language"].cast(pa.string())
    self._languages.append(language)
    drawn = draws(pool.uids(table), table["row"].to_numpy())
    chosen, bound = self._lowest(drawn)
    self._bound = min(self._bound, bound)
    if self._bound < WHOLE:
      chosen = chosen[drawn[chosen] < np.uint64(self._bound)]
    labels = pa.array([[]] * len(chosen), _LABELS)
    if "text" in table.column_names:
      labels = lexicon.opened().find(table["text"].take(pa.array(chosen)))
    self._draws = np.concatenate((self._draws, drawn[chosen]))
    self._rows = np.concatenate((self._rows, chosen + self._num_rows))
    self._labels = pa.concat_arrays([self._labels, labels])
    self._num_rows += len(table)
    # Pruned seldom: each time takes as long as the sample is.
    if len(self._rows) > 2 * self._num_sampled:
      self._prune()

  def save(self, path: pathlib.Path, copy: mirror.Mirror) -> None:
    """Write the file, whole or not at all, without fsync."""
    self._prune()
    order = np.argsort(self._rows)
    index = np.zeros(self._num_rows, np.int64)
    index[self._rows[order]] = order
    is_absent = np.ones(self._num_rows, bool)
    is_absent[self._rows] = False
    languages = [
      chunk
      for column in self._languages
      for chunk in (
        column.chunks if isinstance(column, pa.ChunkedArray) else [column]
      )
    ]
    table = pa.table(
      {
        "language": pa.chunked_array(languages, pa.string()),
        "labels": self._labels.take(pa.array(index, mask=is_absent)),
      },
      schema=_SCHEMA.with_metadata({_BOUND: str(self._bound).encode()}),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with copy.new_file(path) as temporary:
      pq.write_table(table, temporary, compression="zstd")

  def _lowest(self, drawn: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the indices of the lowest hashes, ascending, and their bound."""
    num = self._num_sampled
    if len(drawn) <= num:
      return np.arange(len(drawn)), WHOLE
    chosen = np.sort(np.argpartition(drawn, num - 1)[:num])
    # The highest itself is left out, since another pair may have it too.
    return chosen, int(drawn[chosen].max())

  def _prune(self) -> None:
    chosen, bound = self._lowest(self._draws)
    if bound < WHOLE:
      self._draws, self._rows = self._draws[chosen], self._rows[chosen]
      self._labels = self._labels.take(pa.array(chosen))
      self._bound = min(self._bound, bound)


def write(
  path: pathlib.Path,
  tables: Iterable[pa.Table],
  num_sampled: int,
  copy: mirror.Mirror,
) -> None:
  """Write the file of the tables of a shard."""
  collector = Collector(num_sampled)
  for table in tables:
    collector.add(table)
  collector.save(path, copy)


def bound(path: pathlib.Path) -> int:
  """Return the bound below which all hashes of a shard are in its sample."""
  return int((pq.read_schema(path).metadata or {})[_BOUND])
