"""Group-by over shards against collections.Counter and dicts."""

import collections

import numpy as np
import pytest

from curation.keys import hashing
from curation.on_disk import groups, key_sets, runs
from input_pipeline.storage import uids as uids_lib


def run(fn, items):
  return [fn(item) for item in items]


@pytest.fixture(params=[(1, 2**21, 256), (7, 60, 3)])
def cut(request, monkeypatch):
  """Number of parts; with tiny limits, several levels and many buckets."""
  parts, rows, fan_in = request.param
  monkeypatch.setattr(runs, "_ROWS", rows)
  monkeypatch.setattr(runs, "_FAN_IN", fan_in)
  return parts


def pairs(num=1000, num_keys=150):
  rng = np.random.default_rng(0)
  numbers = np.minimum(rng.zipf(1.3, num), num_keys).astype(np.uint64)
  uids = np.zeros(num, uids_lib.UID)
  uids["f0"] = rng.integers(0, 3, num)
  uids["f1"] = np.arange(num)
  return hashing.mix(numbers), uids


def saved(tmp_path, make, num_parts, *columns):
  """Save measures of parts; in two tables each, and one part without any."""
  paths = []
  places = np.array_split(np.arange(len(columns[0])), num_parts)
  for number, place in enumerate([*places, []]):
    measure = make()
    for rows in np.array_split(place, 2):
      if len(rows):
        measure.add(*(column[rows] for column in columns))
    paths.append(tmp_path / f"part-{number}")
    measure.save(paths[-1])
  return paths


def test_frequent_keys_are_those_a_counter_finds(tmp_path, cut):
  keys, _ = pairs()
  counter = collections.Counter(keys.tolist())
  parts = saved(tmp_path, groups.Occurrences, cut, keys)
  limit = counter.most_common(30)[-1][1]
  facts = groups.frequent_keys(parts, tmp_path / "out", run, above=limit)
  expected = {key for key, count in counter.items() if count > limit}
  (found,) = runs.load(tmp_path / "out")
  assert found.tolist() == sorted(expected)
  assert facts == {
    "num": 1000,
    "num_keys": len(counter),
    "num_above": sum(counter[key] for key in expected),
    "num_keys_above": len(expected),
  }
  many = np.append(keys, np.uint64([0, 2**64 - 1]))
  is_found = key_sets.Keys(tmp_path / "out").contains(many)
  assert is_found.tolist() == [int(key) in expected for key in many]
  assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == []


@pytest.mark.parametrize("num_keys", [1, 20, 75, 149, 10_000])
def test_top_keys_break_ties_by_hash(tmp_path, cut, num_keys):
  keys, _ = pairs()
  counter = collections.Counter(keys.tolist())
  parts = saved(tmp_path, groups.Occurrences, cut, keys)
  facts = groups.top_keys(parts, tmp_path / "out", run, num_keys=num_keys)
  order = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
  expected = dict(order[:num_keys])
  (found,) = runs.load(tmp_path / "out")
  assert found.tolist() == sorted(expected)
  assert facts == {
    "num": 1000,
    "num_keys": len(counter),
    "num_above": sum(expected.values()),
    "num_keys_above": len(expected),
    "least_count": min(expected.values()),
  }


def test_many_values_count_different_ones_only(tmp_path, cut):
  keys, uids = pairs()
  values = hashing.mix(uids["f1"] % np.uint64(40))
  found = collections.defaultdict(set)
  for key, value in zip(keys.tolist(), values.tolist(), strict=True):
    found[key].add(value)
  above = 5
  expected = sorted(k for k, v in found.items() if len(v) > above)
  # Some keys must be just on the limit for the test to tell > from >=.
  assert any(len(v) == above for v in found.values())
  assert expected
  parts = saved(tmp_path, lambda: groups.Values(above), cut, keys, values)
  facts = groups.keys_of_many_values(parts, tmp_path / "out", run, above=above)
  (got,) = runs.load(tmp_path / "out")
  assert got.tolist() == expected
  assert facts == {
    "num": sum(min(len(v), above + 1) for v in found.values()),
    "num_keys": len(found),
    "num_above": (above + 1) * len(expected),
    "num_keys_above": len(expected),
  }


def test_one_pair_of_each_key_wins_wherever_it_is(tmp_path, cut):
  keys, uids = pairs()
  best = {}
  ranks = hashing.h64(uids, 3).tolist()
  for row, key in enumerate(keys.tolist()):
    if key not in best or ranks[row] < ranks[best[key]]:
      best[key] = row
  order = np.random.default_rng(1).permutation(len(keys))
  parts = saved(
    tmp_path, lambda: groups.Members(3), cut, keys[order], uids[order]
  )
  facts = groups.winners(parts[::-1], tmp_path / "out", run)
  keep = key_sets.Winners(tmp_path / "out").keep(keys, uids)
  assert np.flatnonzero(keep).tolist() == sorted(best.values())
  assert facts["num"] - facts["num_keys"] == (~keep).sum()


def test_without_any_row_nothing_is_found(tmp_path, cut):
  keys, uids = pairs(0)
  parts = saved(tmp_path, lambda: groups.Members(3), cut, keys, uids)
  facts = groups.winners(parts, tmp_path / "out", run)
  assert facts["num_keys"] == 0
  keys, uids = pairs(10)
  assert key_sets.Winners(tmp_path / "out").keep(keys, uids).all()
  facts = groups.top_keys(parts, tmp_path / "keys", run, num_keys=3)
  assert set(facts.values()) == {0}
  assert not key_sets.Keys(tmp_path / "keys").contains(keys).any()
