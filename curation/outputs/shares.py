"""Shares of languages, places and demographic terms after each step.

The field `shares` of manifest.json; each list has a number for each of
`points`, the readable pairs of the pool and the pairs that each step left:

  lists       digest of the lists and of the rule (shares/lexicon.py)
  sources     name, address, licence and use of each list
  points      "read", and the names of the steps
  pairs       number of pairs
  sampled     number of these whose captions are looked at, for places and
              terms: all in a pool of up to about 100,000 pairs
  languages   `source`: "pool" (its own language of each pair), the name of the
              step that identified it, or "not known"; `counts`: language ->
              numbers, null before the step that identified it
  places      `any`: pairs that name a territory; `counts`: ISO 3166-1 code ->
              numbers
  terms       group -> `any` and `counts`, as of places

Where `sampled` is less than `pairs`, places and terms have `intervals`, of
`any` and of each of `counts`: Wilson's of 95 %, [low, high] of the share. The
sample is by a hash of the UID: the same for any engine and order of shards.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation import pool as pool_lib
from curation.engine import shard_file, shard_pass
from curation.outputs import samples, signals
from curation.rules import language
from curation.shares import caption_labels, lexicon, lists
from evaluators.metrics import intervals
from input_pipeline import languages as languages_lib

# Language of a pair that has none.
UNKNOWN = "not known"
_POOL = "pool"
# Languages beyond these numbers, the rarest of a shard and those of the last
# shards, are one: a column of something else must not fill the memory.
_NUM_LANGUAGES, _NUM_ALL_LANGUAGES = 1000, 10_000
# Shards whose counts are in memory at once.
_NUM_SHARDS = 256
_OTHER = "other"
# Formats whose captions each have a language of their own.
_OWN_LANGUAGES = ("emoji", "array_record", "tfds")

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


def make(
  work: shard_pass.Work,
  shards: Sequence[pool_lib.Shard],
  run: Callable[[Callable[[pool_lib.Shard], Any], Sequence], list[Any]],
) -> dict[str, Any]:
  """Return the manifest's field.

  Args:
    work: work of the last stage.
    shards: shards whose signals are written.
    run: function that maps a function over the shards.
  """
  # The order of the pool's files has no effect.
  shards = sorted(shards, key=lambda shard: shard.name)
  num_points, num_labels = len(work.steps) + 1, len(lexicon.opened().labels)
  total = Counts(
    np.zeros(num_points, np.int64),
    np.zeros(num_points, np.int64),
    np.zeros((num_points, num_labels), np.int64),
    np.zeros((num_points, len(group_names())), np.int64),
    {},
    {},
  )
  parts = [
    shards[start : start + _NUM_SHARDS]
    for start in range(0, len(shards), _NUM_SHARDS)
  ]
  bound = caption_labels.WHOLE
  for part in parts:
    bound = min(bound, *run(functools.partial(read_captions, work), part))
  for part in parts:
    for counts in run(functools.partial(of_shard, work, bound), part):
      total.add(counts)
  return _fields(work, total)


def read_captions(work: shard_pass.Work, shard: pool_lib.Shard) -> int:
  """Return the bound of a shard's sample; see shares/caption_labels.py.

  A curation of an older version, or of other lists, has not looked for them:
  the captions are then read once more, without images.
  """
  path = work.shares_path(shard)
  if not path.exists():
    columns = sorted(caption_labels.COLUMNS & work.pool.columns)
    tables = work.pool.read(shard, columns, max_rows=pool_lib.TEXT_ROWS)
    caption_labels.write(path, tables, work.num_sampled)
  return caption_labels.bound(path)


def of_shard(
  work: shard_pass.Work, bound: int, shard: pool_lib.Shard
) -> Counts:
  """Return the counts of a shard, with the sample below a bound."""
  captions = pq.read_table(work.shares_path(shard))
  step = _identifier(work)
  identified = [work.steps[step].signals[0]] if step else []
  columns = ["uid", "row", "dropped_by", *identified]
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
    table[identified[0]] if step else None,
  )


def _identifier(work: shard_pass.Work) -> str:
  """Return the name of the first step that identifies languages, or ""."""
  names = [n for n, s in work.steps.items() if isinstance(s, language.Language)]
  return names[0] if names else ""


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
  names = [_language(code) for code in codes.dictionary.to_pylist()]
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


def _language(code: str) -> str:
  code = languages_lib.normalised(code)
  return UNKNOWN if code in ("", "und") else code


def _fields(work: shard_pass.Work, total: Counts) -> dict[str, Any]:
  labels = lexicon.opened().labels
  by_group: dict[str, Any] = {
    name: {"any": total.groups[:, number].tolist(), "counts": {}}
    for number, name in enumerate(group_names())
  }
  for number, (group, label) in enumerate(labels):
    if total.labels[0, number]:
      by_group[group]["counts"][label] = total.labels[:, number].tolist()
  if not np.array_equal(total.sampled, total.pairs):
    for fields in by_group.values():
      fields["intervals"] = {
        "any": _intervals(fields["any"], total.sampled),
        "counts": {
          label: _intervals(numbers, total.sampled)
          for label, numbers in fields["counts"].items()
        },
      }
  places = by_group.pop(lists.PLACES)
  return {
    "lists": work.shares,
    "sources": lists.sources(),
    "points": [shard_file.READ, *work.steps],
    "pairs": total.pairs.tolist(),
    "sampled": total.sampled.tolist(),
    "languages": _known(work, total),
    "places": places,
    "terms": by_group,
  }


def _intervals(counts: Sequence[int], sampled: np.ndarray) -> list[list[float]]:
  """Return Wilson's interval of each share; [0, 1] of no pairs."""
  return [
    [round(x, 6) for x in intervals.wilson(count, int(num))]
    if num
    else [0.0, 1.0]
    for count, num in zip(counts, sampled, strict=True)
  ]


def _known(work: shard_pass.Work, total: Counts) -> dict[str, Any]:
  """Return the languages of the pool, else those that a step identified."""
  config = json.loads((work.workdir / "pool.json").read_text())["pool"]
  declared = _language(config["language"])
  # The language that the pool's section declares for all is not known of each.
  is_own = (
    bool(config["language_field"])
    or config["format"] in _OWN_LANGUAGES
    or not set(total.own) <= {declared, UNKNOWN}
  )
  step = _identifier(work)
  first, source, languages = 0, _POOL, total.own
  if not is_own and step:
    first, source = list(work.steps).index(step), step
    languages = total.identified
  elif not is_own:
    source, languages = UNKNOWN, {UNKNOWN: total.pairs}
  counts = {
    name: [None] * first + numbers[first:].tolist()
    for name, numbers in sorted(languages.items())
    if numbers[first]
  }
  return {"source": source, "counts": counts}
