"""Pairs that cannot be read, and what is digested of the others."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation import operators, pool, recipe
from curation.engine import content_digest
from runtime import failures
from tests.curation import tiny


class Faulty:
  """A pool in memory; images are broken here and there, or captions."""

  columns = frozenset({"text", "width", "image", "caption"})
  shards = tuple(pool.Shard(f"s{n}", f"s{n}", n, n + 1, "1") for n in range(2))

  def __init__(self, num_lost=0):
    self.num_lost = num_lost

  def read(self, shard, columns, *, max_rows, rows=None):
    rows = np.arange(10) if rows is None else rows[self.num_lost :]
    faults = [
      "caption_broken: not UTF-8: it has 0xff"
      if row == 3
      else "image_broken: cut"
      if row in (4, 5) and "image" in columns
      else None
      for row in rows
    ]
    uids = [(shard.start * 100 + int(row)).to_bytes(16, "big") for row in rows]
    table = {
      "uid": pa.array(uids, pool.UID_TYPE),
      "row": pa.array(rows),
      "fault": pa.array(faults, pa.string()),
      "text": [None if fault else "text" for fault in faults],
      "width": pa.array([None if f else 50 for f in faults], pa.int32()),
      "caption": pa.array(rows % 2, pa.int32()),
      "image": [b"" for _ in rows],
    }
    whole = pa.table({n: table[n] for n in (*pool.ALWAYS, *columns)})
    for start in range(0, len(whole), 4):
      yield whole.slice(start, 4)


class Count:
  def __init__(self):
    self.num = 0

  def add(self, table):
    assert table["text"].null_count == 0
    self.num += len(table)

  def save(self, path):
    path.write_text(str(self.num))


@dataclasses.dataclass(frozen=True)
class RawCount(operators.Filter, operators.Reduction):
  """Count all pairs; look at their images."""

  columns = ("image",)
  measured = ("text",)
  measures_raw = True

  def measure(self, place):
    return Count()

  def reduce(self, parts, place):
    return {"num": sum(int(part.read_text()) for part in parts)}

  def open(self, place):
    return lambda table: operators.Verdict(np.ones(len(table), bool))


STEPS = {"wide": tiny.Wide(20, "wide"), "count": RawCount()}


def test_what_cannot_be_read_is_dropped_by_read_in_any_stage(tmp_path):
  made = tiny.curate(tmp_path, Faulty(), steps=STEPS)
  assert made["read"] == {
    "in": 20,
    "kept": 14,
    "dropped": {"caption_broken": 2, "image_broken": 4},
  }
  assert made["failures"] == []
  wide, count = made["steps"]
  assert (wide["in"], wide["kept"]) == (18, 18)
  assert (count["in"], count["kept"], count["facts"]["num"]) == (14, 14, 18)
  found = pq.read_table(tmp_path / "work/signals/s1.parquet").to_pydict()
  assert found["dropped_by"] == [None] * 3 + ["read"] * 3 + [None] * 4
  assert found["fault"][3] == "caption_broken: not UTF-8: it has 0xff"
  assert found["fault"][4] == "image_broken: cut"
  assert found["wide"][2:5] == [25.0, None, 25.0]
  assert found["caption"] == [0, 1] * 5


@dataclasses.dataclass(frozen=True)
class Ahead(operators.MeshFilter):
  """Keep even rows; verdicts come when the model has two tables more."""

  batch_rows = 3
  columns = ("width",)
  signals = ("half",)

  def open_shards(self, place):
    def decide(pairs):
      waiting = []
      for table in pairs.tables:
        assert len(table)
        waiting.append(table)
        if len(waiting) > 2:
          yield self.verdict(waiting.pop(0))
      yield from map(self.verdict, waiting)

    return decide

  def verdict(self, table):
    rows = table["row"].to_numpy()
    return operators.Verdict(rows % 2 == 0, {"half": rows / 2})


def test_a_model_may_be_ahead_of_its_verdicts(tmp_path):
  steps = {"ahead": Ahead(), **STEPS}
  made = tiny.curate(tmp_path, Faulty(), steps=steps)
  # Row 3 of each shard cannot be read, row 4 not its image.
  assert [(x["in"], x["kept"]) for x in made["steps"]] == [
    (18, 10),
    (8, 8),
    (8, 8),
  ]
  # All pairs are measured, whatever the model drops.
  assert made["steps"][2]["facts"]["num"] == 18
  found = pq.read_table(tmp_path / "work/signals/s0.parquet").to_pydict()
  assert found["half"] == [0, 0.5, 1, None, 2, 2.5, 3, 3.5, 4, 4.5]


def test_a_file_that_changed_meanwhile_fails(tmp_path):
  with pytest.raises(failures.RunError, match="s0 has changed since the first"):
    tiny.curate(tmp_path, Faulty(num_lost=1), steps=STEPS)


def test_a_digest_depends_on_the_content_and_not_on_how_it_is_cut():
  def digest(texts, cuts=(), kind=None):
    kind = kind or pa.string()
    uids = [number.to_bytes(16, "big") for number in range(len(texts))]
    table = pa.table(
      {"uid": pa.array(uids, pool.UID_TYPE), "text": pa.array(texts, kind)}
    )
    made = content_digest.ContentDigest()
    for start, stop in zip((0, *cuts), (*cuts, len(texts)), strict=True):
      made.add(table.slice(start, stop - start))
    return made.hexdigest()

  texts = ["a", "", None, "bé", "c"]
  assert digest(texts) == digest(texts, (1, 1, 2, 4))
  assert digest(texts) == digest(texts, kind=pa.large_string())
  others = (
    ["a", None, "", "bé", "c"],
    ["a", "", None, "béc", ""],
    ["a", "", None, "be", "c"],
    texts[:4],
  )
  assert len({digest(texts), *map(digest, others)}) == 5


def test_signals_of_no_use_are_named():
  with pytest.raises(ValueError, match="steps.wide makes a signal 'step'"):
    recipe.check_signals({"wide": tiny.Wide(20, "step")})
