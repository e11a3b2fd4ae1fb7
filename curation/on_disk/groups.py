"""Group-by over all shards: how often keys occur, and one pair of each key.

A key is a 64-bit hash (strings.hashes, hashing.mix). Among N different keys,
N * N / 2**65 pairs are expected to collide: 2.7 for 10 billion keys. Results
are files that workers map into memory, the same for any order and any
boundaries of the shards.

  measure       reduce to                  and decide with (key_sets.py)
  Occurrences   frequent_keys, top_keys    Keys.contains
  Values        keys_of_many_values        Keys.contains
  Members       winners                    Winners.keep
"""

import contextlib
import functools
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from curation import operators
from curation.keys import hashing
from curation.on_disk import runs
from input_pipeline.storage import uids as uids_lib


class _Measure:
  """Measure whose file has the combined rows of a shard's keys."""

  def __init__(self, combine: runs.CombineFn) -> None:
    self._sorter = runs.Sorter(combine)

  def save(self, path: pathlib.Path) -> None:
    """Write the rows."""
    self._sorter.save(path)


class Occurrences(_Measure):
  """Counts of keys: an operators.Measure."""

  def __init__(self) -> None:
    super().__init__(_summed)

  def add(self, keys: np.ndarray, counts: np.ndarray | None = None) -> None:
    """Add keys, uint64 [N], each once or `counts` (int64 [N]) times."""
    if counts is None:
      counts = np.ones(len(keys), np.int64)
    self._sorter.add(keys, counts)


class Values(_Measure):
  """Distinct values of each key, at most `above + 1`: an operators.Measure."""

  def __init__(self, above: int) -> None:
    """Begin with no keys; `above` is that of `keys_of_many_values`."""
    super().__init__(_distinct(above))

  def add(self, keys: np.ndarray, values: np.ndarray) -> None:
    """Add keys and the hashes of their values, uint64 [N] both."""
    self._sorter.add(keys, values)


class Members(_Measure):
  """Winning pair of each key: an operators.Measure.

  The pair whose UID has the lowest hash wins: a random choice that does not
  depend on the shards.
  """

  def __init__(self, seed: int) -> None:
    super().__init__(_best)
    self._seed = seed

  def add(self, keys: np.ndarray, uids: np.ndarray) -> None:
    """Add keys, uint64 [N], of pairs with UIDs of any form."""
    high, low = uids_lib.halves(uids)
    rank = hashing.h64(uids, self._seed)
    self._sorter.add(keys, np.ones(len(keys), np.int64), rank, high, low)


def frequent_keys(
  parts: Sequence[pathlib.Path],
  out: pathlib.Path,
  run: operators.RunFn,
  *,
  above: int,
) -> dict[str, int]:
  """Write the keys that occur more than `above` times, for `key_sets.Keys`.

  Args:
    parts: files of `Occurrences`.
    out: file to write.
    run: see operators.Reduction.
    above: highest count of a key that is not written.

  Returns:
    `num` occurrences of `num_keys` keys; `num_keys_above` are written, with
    `num_above` occurrences.
  """
  return _selected(
    parts, out, run, _summed, functools.partial(_frequent, above)
  )


def top_keys(
  parts: Sequence[pathlib.Path],
  out: pathlib.Path,
  run: operators.RunFn,
  *,
  num_keys: int,
) -> dict[str, int]:
  """Write the `num_keys` keys that occur most often, for `key_sets.Keys`.

  Ties at the lowest count go to the lowest keys.

  Returns:
    Facts of `frequent_keys`, and `least_count`: the lowest count of a key that
    is written.
  """
  with _scratch(out) as folder:
    buckets = runs.buckets(parts, _summed, folder, run)
    tasks = [
      (bucket, folder / f"counts-{b}") for b, bucket in enumerate(buckets)
    ]
    histograms = run(_counted, tasks)
    counts, keys = _joined(histograms)
    # Number of keys that occur at least as often as each count.
    at_least = np.cumsum(keys[::-1])[::-1]
    enough = np.flatnonzero(at_least >= num_keys)
    index = int(enough[-1]) if len(enough) else 0
    least = int(counts[index]) if len(counts) else 0
    room = num_keys - int(keys[counts > least].sum())
    cuts = []
    for (_, path), (own_counts, own_keys) in zip(
      tasks, histograms, strict=True
    ):
      ties = min(int(own_keys[own_counts == least].sum()), room)
      room -= ties
      cuts.append((path, path.with_name(f"top-{path.name}"), least, ties))
    facts = run(_cut, cuts)
    _concatenate([out for _, out, _, _ in cuts], out)
  return _total(facts) | {"least_count": least}


def keys_of_many_values(
  parts: Sequence[pathlib.Path],
  out: pathlib.Path,
  run: operators.RunFn,
  *,
  above: int,
) -> dict[str, int]:
  """Write keys with more than `above` different values, for `key_sets.Keys`.

  Args:
    parts: files of `Values` with the same `above`.
    out: file to write.
    run: see operators.Reduction.
    above: highest number of values of a key that is not written.

  Returns:
    `num_keys`, of which `num_keys_above` are written; `num` and `num_above`
    values, where a key counts `above + 1` at most.
  """
  return _selected(
    parts, out, run, _distinct(above), functools.partial(_many_valued, above)
  )


def winners(
  parts: Sequence[pathlib.Path], out: pathlib.Path, run: operators.RunFn
) -> dict[str, int]:
  """Write the winner of each key of several pairs, for `key_sets.Winners`.

  Args:
    parts: files of `Members`.
    out: file to write.
    run: see operators.Reduction.

  Returns:
    `num` pairs with `num_keys` keys; `num_keys_above` keys have more than one
    pair, `num_above` pairs together.
  """
  return _selected(parts, out, run, _best, _contested)


def every_winner(
  parts: Sequence[pathlib.Path], out: pathlib.Path, run: operators.RunFn
) -> dict[str, int]:
  """Write a run of all keys and their winners: key, rank, high and low UID.

  The rank is the hash of the UID. Arguments and facts are those of `winners`.
  """
  return _selected(parts, out, run, _best, _all)


def _summed(columns: runs.Columns) -> runs.Columns:
  keys, counts = columns
  order = np.argsort(keys)
  keys = keys[order]
  starts = _starts(keys)
  return keys[starts], _sums(counts[order], starts)


def _distinct(above: int) -> runs.CombineFn:
  return functools.partial(_lowest_values, above + 1)


def _lowest_values(most: int, columns: runs.Columns) -> runs.Columns:
  """Return distinct (key, value): at most the `most` lowest values of a key."""
  keys, values = columns
  order = np.lexsort((values, keys))
  keys, values = keys[order], values[order]
  is_new = np.ones(len(keys), bool)
  is_new[1:] = (keys[1:] != keys[:-1]) | (values[1:] != values[:-1])
  keys, values = keys[is_new], values[is_new]
  starts = _starts(keys)
  sizes = np.diff(np.append(starts, len(keys)))
  keep = np.arange(len(keys)) - np.repeat(starts, sizes) < most
  return keys[keep], values[keep]


def _best(columns: runs.Columns) -> runs.Columns:
  keys, counts, rank, high, low = columns
  order = np.lexsort((low, high, rank, keys))
  starts = _starts(keys[order])
  first = order[starts]
  totals = _sums(counts[order], starts)
  return keys[first], totals, rank[first], high[first], low[first]


def _starts(keys: np.ndarray) -> np.ndarray:
  """Return the first index of each distinct key in sorted keys: int64 [K]."""
  is_new = np.ones(len(keys), bool)
  is_new[1:] = keys[1:] != keys[:-1]
  return np.flatnonzero(is_new)


def _sums(counts: np.ndarray, starts: np.ndarray) -> np.ndarray:
  # reduceat refuses an empty `starts`.
  return np.add.reduceat(counts, starts) if len(starts) else counts[:0]


_FACTS = ("num", "num_keys", "num_above", "num_keys_above")
SelectFn = Callable[[runs.Columns], tuple[runs.Columns, dict[str, int]]]


def _frequent(
  above: int, columns: runs.Columns
) -> tuple[runs.Columns, dict[str, int]]:
  keys, counts = columns
  is_above = counts > above
  return (keys[is_above],), _count_facts(counts, is_above)


def _contested(
  columns: runs.Columns,
) -> tuple[runs.Columns, dict[str, int]]:
  keys, counts, _, high, low = columns
  several = counts > 1
  rows = keys[several], high[several], low[several]
  return rows, _count_facts(counts, several)


def _all(columns: runs.Columns) -> tuple[runs.Columns, dict[str, int]]:
  keys, counts, *winner = columns
  return (keys, *winner), _count_facts(counts, counts > 1)


def _count_facts(counts: np.ndarray, is_above: np.ndarray) -> dict[str, int]:
  return {
    "num": int(counts.sum()),
    "num_keys": len(counts),
    "num_above": int(counts[is_above].sum()),
    "num_keys_above": int(is_above.sum()),
  }


def _many_valued(
  above: int, columns: runs.Columns
) -> tuple[runs.Columns, dict[str, int]]:
  keys, _ = columns
  starts = _starts(keys)
  sizes = np.diff(np.append(starts, len(keys)))
  selected = keys[starts[sizes > above]]
  return (selected,), {
    "num": len(keys),
    "num_keys": len(starts),
    "num_above": int(sizes[sizes > above].sum()),
    "num_keys_above": len(selected),
  }


def _selected(
  parts: Sequence[pathlib.Path],
  out: pathlib.Path,
  run: operators.RunFn,
  combine: runs.CombineFn,
  select: SelectFn,
) -> dict[str, int]:
  """Write the rows that `select` returns; return the sums of its facts."""
  with _scratch(out) as folder:
    buckets = runs.buckets(parts, combine, folder, run)
    tasks = [(b, folder / f"{n}") for n, b in enumerate(buckets)]
    facts = run(functools.partial(_select, combine, select), tasks)
    _concatenate([path for _, path in tasks], out)
  return _total(facts)


def _select(
  combine: runs.CombineFn,
  select: SelectFn,
  task: tuple[runs.Bucket, pathlib.Path],
) -> dict[str, int]:
  bucket, out = task
  facts = []
  with runs.writing(out, runs.bucket_rows(bucket)) as append:
    for columns in runs.merged(bucket, combine):
      rows, counted = select(columns)
      append(rows)
      facts.append(counted)
  return _total(facts)


def _counted(
  task: tuple[runs.Bucket, pathlib.Path],
) -> tuple[np.ndarray, np.ndarray]:
  """Write a bucket's combined counts; return (counts, number of keys of each).

  N occurrences have at most about sqrt(2 N) different counts: 650,000 for the
  210 billion words and word pairs of 10 billion captions.
  """
  bucket, out = task
  histograms = []
  with runs.writing(out, runs.bucket_rows(bucket)) as append:
    for columns in runs.merged(bucket, _summed):
      append(columns)
      histograms.append(np.unique(columns[1], return_counts=True))
  return _joined(histograms)


def _joined(
  histograms: Sequence[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
  """Return one histogram, int64 both, by ascending count."""
  nothing = np.zeros(0, np.int64)
  columns = zip((nothing, nothing), *histograms, strict=True)
  counts, keys = (np.concatenate(column) for column in columns)
  order = np.argsort(counts)
  starts = _starts(counts[order])
  return counts[order][starts], _sums(keys[order], starts)


def _cut(
  task: tuple[pathlib.Path, pathlib.Path, int, int],
) -> dict[str, int]:
  """Write the keys with a count above `least`, and the first `ties` at it."""
  path, out, least, ties = task
  facts = []
  with runs.writing(out, runs.num_rows([path])) as append:
    for keys, counts in runs.pieces(path):
      is_above = counts > least
      tied = np.flatnonzero(counts == least)[:ties]
      ties -= len(tied)
      is_above[tied] = True
      append((keys[is_above],))
      facts.append(_count_facts(counts, is_above))
  return _total(facts)


def _total(facts: Sequence[dict[str, int]]) -> dict[str, int]:
  # All names are there, also without rows.
  total = dict.fromkeys(_FACTS, 0)
  for counted in facts:
    for name, value in counted.items():
      total[name] += value
  return total


def _concatenate(paths: Sequence[pathlib.Path], out: pathlib.Path) -> None:
  with runs.writing(out, runs.num_rows(paths)) as append:
    for path in paths:
      for piece in runs.pieces(path):
        append(piece)


@contextlib.contextmanager
def _scratch(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """Make a folder beside `out`, deleted on exit."""
  folder = out.with_name(f".{out.name}.scratch")
  folder.mkdir()
  try:
    yield folder
  finally:
    shutil.rmtree(folder, ignore_errors=True)
