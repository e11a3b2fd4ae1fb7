"""Counts of a shard's languages, places and terms after each step.

Workers run it: it imports little.
"""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation import pool as pool_lib
from curation.engine import shard_pass
from curation.outputs import samples, signals
from curation.shares import caption_labels, lexicon, lists
from input_pipeline import languages as languages_lib

# Language of a pair that has none.
UNKNOWN = "not known"
# Languages beyond these numbers, the rarest of a shard and those of the last
# shards, are one: a column of something else must not fill the memory.
_NUM_LANGUAGES, _NUM_ALL_LANGUAGES = 1000, 10_000
_OTHER = "other"

# Language -> pairs at each point.
Languages = dict[str, np.ndarray]


@dataclasses.dataclass
class Counts:
  """Counts of a shard, or summed over several.

  Attributes:
    pairs: int64 [P], pairs at each point.
    sampled: int64 [P], pairs of the sample.
    labels: int64 [P, L], pairs with each of the lexicon's labels.
    groups: int64 [P, G], pairs with a label of each of `group_names`.
    own: languages that the pool has.
    identified: languages that a step identified.
  """

  pairs: np.ndarray
  sampled: np.ndarray
  labels: np.ndarray
  groups: np.ndarray
  own: Languages
  identified: Languages

  def add(self, other: "Counts") -> None:
    """Add the counts of other shards."""
    self.pairs = self.pairs + other.pairs
    self.sampled = self.sampled + other.sampled
    self.labels = self.labels + other.labels
    self.groups = self.groups + other.groups
    for mine, added in (
      (self.own, other.own),
      (self.identified, other.identified),
    ):
      for name, numbers in added.items():
        if name not in mine and len(mine) >= _NUM_ALL_LANGUAGES:
          name = _OTHER
        mine[name] = mine.get(name, 0) + numbers


def group_names() -> tuple[str, ...]:
  """Return the group of places and those of terms."""
  return (lists.PLACES, *lists.groups())


def read_captions(work: shard_pass.Work, shard: pool_lib.Shard) -> int:
  """Return the bound of a shard's sample; see shares/caption_labels.py.

  A curation of an older version, or of other lists, has not looked for them:
  the captions are then read once more, without images.
  """
  path = work.shares_path(shard)
  if not path.exists():
    columns = sorted(caption_labels.COLUMNS & work.pool.columns)
    tables = work.pool.read(shard, columns, max_rows=pool_lib.TEXT_ROWS)
    caption_labels.write(path, tables, work.num_sampled, work.copy)
  return caption_labels.bound(path)


def of_shard(
  work: shard_pass.Work, bound: int, signal: str, shard: pool_lib.Shard
) -> Counts:
  """Return the counts of a shard.

  Args:
    work: work of the last stage.
    bound: bound of the sample's hashes.
    signal: signal that is an identified language; "" for none.
    shard: shard whose signals are written.
  """
  captions = pq.read_table(work.shares_path(shard))
  columns = ["uid", "row", "dropped_by", *filter(None, [signal])]
  signals_path = signals.path_of(work.workdir, shard)
  table = pq.read_table(signals_path, columns=columns)
  if len(captions) != len(table):
    raise OSError(
      f"{shard.path} has changed since the first stage read it: it has "
      f"{len(captions)} pairs, {signals_path} has {len(table)}. Restore the "
      "file, or give another --workdir"
    )
  dropped = samples.dropped_at(table, list(work.steps))
  drawn = caption_labels.draws(pool_lib.uids(table), table["row"].to_numpy())
  is_sampled = np.ones(len(table), bool)
  if bound < caption_labels.WHOLE:
    is_sampled = drawn < np.uint64(bound)
  return _counts(
    (dropped, is_sampled),
    len(work.steps) + 1,
    captions,
    table[signal] if signal else None,
  )


def _counts(
  pairs: tuple[np.ndarray, np.ndarray],
  num_points: int,
  captions: pa.Table,
  identified: pa.ChunkedArray | None,
) -> Counts:
  """Return the counts of the pairs of a shard.

  Args:
    pairs: number of the step that dropped each pair (samples.dropped_at), and
      whether it is in the sample.
    num_points: number of points, P.
    captions: table of shares/caption_labels.py.
    identified: languages that a step identified.
  """
  labels = lexicon.opened().labels
  (dropped, is_sampled), sample = pairs, np.flatnonzero(pairs[1])
  column = captions["labels"].combine_chunks().filter(pa.array(is_sampled))
  pair_M = np.repeat(sample, np.diff(column.offsets.to_numpy()))
  label_M = column.flatten().to_numpy().astype(np.int64)
  names = group_names()
  group_of = np.array([names.index(group) for group, _ in labels], np.int64)
  keys = np.unique(pair_M * len(names) + group_of[label_M])
  zeroes = np.zeros(len(dropped), np.int64)
  return Counts(
    pairs=_alive(dropped, zeroes, num_points, 1)[:, 0],
    sampled=_alive(dropped[sample], zeroes[sample], num_points, 1)[:, 0],
    labels=_alive(dropped[pair_M], label_M, num_points, len(labels)),
    groups=_alive(
      dropped[keys // len(names)], keys % len(names), num_points, len(names)
    ),
    own=_languages(dropped, captions["language"], num_points),
    identified={}
    if identified is None
    else _languages(dropped, identified, num_points),
  )


def _alive(
  dropped: np.ndarray, columns: np.ndarray, num_points: int, num_columns: int
) -> np.ndarray:
  """Return the rows of each column that are left at each point: [P, C]."""
  keys = (dropped + 1) * num_columns + columns
  size = (num_points + 1) * num_columns
  counts = np.bincount(keys, minlength=size).reshape(-1, num_columns)
  return counts[::-1].cumsum(axis=0)[::-1][1:]


def _languages(
  dropped: np.ndarray, column: pa.ChunkedArray, num_points: int
) -> Languages:
  codes = column.combine_chunks().dictionary_encode()
  names = [language_of(code) for code in codes.dictionary.to_pylist()]
  names.append(UNKNOWN)
  indices = codes.indices.fill_null(len(names) - 1).to_numpy()
  # "en" and "en-US" are one.
  distinct = sorted(set(names))
  numbers = {name: number for number, name in enumerate(distinct)}
  columns = np.array([numbers[name] for name in names], np.int64)[indices]
  counts = _alive(dropped, columns, num_points, len(distinct))
  order = np.argsort(-counts[0], kind="stable").tolist()
  languages: Languages = {}
  for rank, number in enumerate(order):
    name = distinct[number] if rank < _NUM_LANGUAGES else _OTHER
    if counts[0, number]:
      languages[name] = languages.get(name, 0) + counts[:, number]
  return languages


def language_of(code: str) -> str:
  code = languages_lib.normalised(code)
  return UNKNOWN if code in ("", "und") else code
