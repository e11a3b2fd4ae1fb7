"""A pool has the pairs that training's source of the same section has."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from input_pipeline import faults, sources
from input_pipeline.sources.tables import table
from tests.curation.pools import reading
from tests.input_pipeline.sources import pairs


@pytest.mark.parametrize("name", pairs.CASES)
def test_pairs_are_those_that_are_trained_on(name, tmp_path):
  case = pairs.CASES[name](tmp_path)
  place = pairs.context(tmp_path)
  records = sources.FORMATS[case.source.format].open_split(
    case.source, case.split, place
  )
  opened, shards = reading.open_pool(case.source, tmp_path)
  columns = ("text", "language", "image", "width", "height", "caption")
  found = reading.rows_of(opened, shards, columns)
  expected = reading.expected_of(records)
  assert [
    (row["pair"], row["fault"].partition(":")[0])
    if row["fault"]
    else (row["pair"], row["language"], row["text"], row["image"])
    for row in found
  ] == expected
  usable = [row for row in found if not row["fault"]]
  assert {(row["width"], row["height"]) for row in usable} == {(4, 4)}
  # Without images nobody knows of one that is not there.
  texts = reading.rows_of(opened, shards, ("text",))
  assert [
    row["text"]
    for row in texts
    if row["pair"] in {row["pair"] for row in usable}
  ] == [row["text"] for row in usable]


@pytest.mark.parametrize("name", ["parquet of img2dataset", "tars", "jsonl"])
def test_chosen_rows_of_a_shard(name, tmp_path):
  case = pairs.CASES[name](tmp_path)
  opened, shards = reading.open_pool(case.source, tmp_path)
  for columns in (("text",), ("image",), ("width",), ("text", "image"), ()):
    whole = reading.rows_of(opened, shards[:1], columns)
    chosen = [row for row in whole if not row["fault"]][::2]
    numbers = np.array([row["row"] for row in chosen])
    assert reading.rows_of(opened, shards[:1], columns, rows=numbers) == chosen


def test_messages_name_the_field(tmp_path):
  (tmp_path / "a.parquet").write_bytes(b"nothing" * 200)
  for format, path, message in (
    ("parquet", "a.parquet", "pool.path: .* cannot be read as Parquet"),
    ("parquet", "b.parquet", "pool.path lists 1 files, of which 1"),
    ("webdataset", "a.parquet", "pool: .* is no tar"),
    ("table", "a.parquet", "pool.path must be"),
    ("jsonl", "a.parquet", "pool.path: .* begins with no JSON objects"),
    ("emoji", "a.parquet", "pool.path is not used by"),
  ):
    with pytest.raises(ValueError, match=message):
      reading.open_pool(pairs.source(format, tmp_path / path), tmp_path)


@pytest.mark.parametrize("name", ["parquet of Hugging Face", "tars", "jsonl"])
def test_pools_at_a_url(name, tmp_path):
  import fsspec

  case = pairs.CASES[name](tmp_path)
  memory = fsspec.filesystem("memory")
  memory.store.clear()
  for path in tmp_path.rglob("*"):
    if path.is_file():
      where = str(path.relative_to(tmp_path))
      memory.pipe(f"/pool/{where}", path.read_bytes())
  columns = ("text", "language", "image", "width")
  local, shards = reading.open_pool(case.source, tmp_path)
  expected = reading.rows_of(local, shards, columns)
  path = case.source.path.replace(str(tmp_path), "memory://pool")
  source = dataclasses.replace(case.source, path=path)
  opened, shards = reading.open_pool(source, tmp_path / "remote")
  found = reading.rows_of(opened, shards, columns)
  for one, other in zip(found, expected, strict=True):
    assert bool(one.pop("fault")) == bool(other.pop("fault"))
    assert one == other
  if name != "jsonl":  # which is one table
    return
  memory.pipe("/lines/a.jsonl", b'{"uid": "a", "text": "first"}')
  source = pairs.source("jsonl", "memory://lines/*.jsonl")
  opened, shards = reading.open_pool(source, tmp_path)
  (row,) = reading.rows_of(opened, shards, ("text",))
  assert row["text"] == "first"


@pytest.mark.parametrize(
  ("name", "file"),
  [
    *(("parquet of img2dataset", "00000.parquet"), ("tars", "00000.tar")),
    *(("jsonl", "captions.jsonl"), ("lines", "a.jsonl")),
  ],
)
def test_a_file_that_changes_meanwhile(name, file, tmp_path):
  path = tmp_path / file
  if name == "lines":
    path.write_text('{"text": "a"}')
    source = pairs.source("jsonl", path)
  else:
    source = pairs.CASES[name](tmp_path).source
  opened, shards = reading.open_pool(source, tmp_path)
  path.write_bytes(path.read_bytes() + b" ")
  with pytest.raises(faults.ExampleError) as raised:
    reading.rows_of(opened, shards[:1], ("text",))
  assert raised.value.kind == "shard_changed"


def test_values_that_are_no_numbers_are_faults(tmp_path):
  rows = [{"image": "", "caption": "x", "score": 1}] * 100
  for last in (0.5, 2**70, "x", None, 3.0):
    rows.append({"image": "", "caption": "x", "score": last})
  (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
  with open(tmp_path / "a.csv", "w") as file:
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
  for name in ("a.jsonl", "a.csv"):
    source = pairs.source("table", tmp_path / name)
    opened, shards = reading.open_pool(source, tmp_path)
    found = reading.rows_of(opened, shards, ("score",))
    kinds = [row["fault"] and row["fault"][:13] for row in found[100:]]
    assert kinds == [*("record_broken",) * 3, None, None]
    assert [row["score"] for row in found[-2:]] == [None, 3]
    assert "score is '0.5'; expected int64" in found[100]["fault"]


def test_sizes_as_text(tmp_path):
  text = "image,caption,width,height\n"
  sides = ("3", "4.0", "x", "nan", "1e99", "")
  text += "".join(f"{i}.png,x,{side},2\n" for i, side in enumerate(sides))
  (tmp_path / "a.csv").write_text(text)
  source = pairs.source("table", tmp_path / "a.csv")
  opened, shards = reading.open_pool(source, tmp_path)
  found = reading.rows_of(opened, shards, ("width",))
  assert [row["width"] for row in found] == [3, 4, *(None,) * 4]
  assert [bool(row["fault"]) for row in found] == [*(False,) * 2, *(True,) * 4]


def test_rows_of_addresses_have_the_uids_of_training(tmp_path):
  lines = [{"url": f"http://localhost/{i}.png", "text": "x"} for i in range(3)]
  for number, extra in enumerate(({}, {"uid": "0" * 32})):
    path = tmp_path / f"{number}.jsonl"
    path.write_text("\n".join(json.dumps(line | extra) for line in lines))
    source = pairs.source("table", path)
    records = table.open_split(source, "", pairs.context(tmp_path))
    opened, shards = reading.open_pool(source, tmp_path)
    rows = reading.rows_of(opened, shards, ("text",))
    assert [row["pair"] for row in rows] == records.uids().tolist()
    assert ({row["pair"] for row in rows} == {(0, 0)}) == bool(extra)
