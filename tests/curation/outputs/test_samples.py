"""Samples of the report: kept and dropped pairs, independent of the shards."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation import pool
from curation.outputs import samples

STEPS = ("size", "score")


def write_signals(path, rows, seed=0):
  """Write a shard of which a third is dropped by each step."""
  dropped_by = [(None, "size", "score")[row % 3] for row in rows]
  uids = [(row * 7919).to_bytes(16, "big") for row in rows]
  table = pa.table(
    {
      "uid": pa.array(uids, pool.UID_TYPE),
      "row": pa.array(np.arange(len(rows)) << pool.CAPTION_BITS),
      "dropped_by": pa.array(dropped_by, pa.string()),
      "cosine": pa.array([row / 100 if row % 3 != 1 else None for row in rows]),
      "matches": pa.array([[1, 2]] * len(rows)),
    }
  )
  pq.write_table(table, path)


def all_uids(found):
  return {s.uid for s in found}


def uid(row):
  return (row * 7919).to_bytes(16, "big").hex()


def test_each_side_has_what_its_step_did(tmp_path):
  write_signals(tmp_path / "a.parquet", range(30))
  drawn = samples.of_shard(tmp_path / "a.parquet", STEPS)
  kept, dropped = drawn["size"]
  assert len(kept) == len(dropped) == samples.NUM_SHOWN
  assert all_uids(dropped) <= {uid(row) for row in range(1, 30, 3)}
  assert not all_uids(kept) & {uid(row) for row in range(1, 30, 3)}
  kept, dropped = drawn["score"]
  assert all_uids(dropped) <= {uid(row) for row in range(2, 30, 3)}
  assert all_uids(kept) <= {uid(row) for row in range(0, 30, 3)}


def test_other_shards_show_the_same_pairs(tmp_path):
  write_signals(tmp_path / "all.parquet", range(60))
  for number in range(4):
    rows = range(number * 15, number * 15 + 15)
    write_signals(tmp_path / f"part{number}.parquet", rows)
  whole = samples.of_shard(tmp_path / "all.parquet", STEPS)
  parts = [
    samples.of_shard(tmp_path / f"part{number}.parquet", STEPS)
    for number in (2, 0, 3, 1)
  ]
  merged = samples.merge(parts)
  for name in STEPS:
    for side in (0, 1):
      got = [s.uid for s in merged[name][side]]
      assert got == [s.uid for s in whole[name][side]]


def test_captions_of_one_image_are_drawn_apart(tmp_path):
  uids = [number.to_bytes(16, "big") for number in range(40) for _ in range(2)]
  rows = [n << pool.CAPTION_BITS | i for n in range(40) for i in range(2)]
  table = pa.table(
    {
      "uid": pa.array(uids, pool.UID_TYPE),
      "row": rows,
      "dropped_by": pa.nulls(80, pa.string()),
    }
  )
  pq.write_table(table, tmp_path / "a.parquet")
  kept, _ = samples.of_shard(tmp_path / "a.parquet", STEPS)["size"]
  # Drawn together, there would be half as many images.
  assert len(all_uids(kept)) > samples.NUM_SHOWN / 2


def test_a_shard_with_nothing_kept_gives_nothing(tmp_path):
  write_signals(tmp_path / "a.parquet", [])
  assert samples.of_shard(tmp_path / "a.parquet", STEPS) == {
    name: ([], []) for name in STEPS
  }


class Pool:
  """Two shards in memory."""

  shards = (
    pool.Shard("a", "a.tar", 0, 5, ""),
    pool.Shard("b", "b.tar", 0, 5, ""),
  )
  columns = frozenset(("text", "width"))

  def read(self, shard, columns, *, max_rows, rows=None):
    assert "image" not in columns
    yield pa.table(
      {
        "row": rows,
        "text": [f"{shard.name}{row >> pool.CAPTION_BITS}" for row in rows],
        "width": np.full(len(rows), 7),
      }
    )


def test_read_joins_the_pool_and_the_signals(tmp_path):
  write_signals(tmp_path / "a.parquet", range(5))
  write_signals(tmp_path / "b.parquet", range(5, 10))
  drawn = samples.merge(
    samples.of_shard(tmp_path / f"{name}.parquet", STEPS) for name in "ab"
  )
  found = samples.read(drawn, Pool(), tmp_path)
  assert len(found) == 10
  texts = {sample.uid: fields for sample, fields in found.items()}
  assert texts[uid(6)]["text"] == "b1"
  assert texts[uid(6)]["signals"] == {"cosine": 0.06}  # no list among them
  assert texts[uid(7)]["signals"] == {}  # dropped before it was measured
