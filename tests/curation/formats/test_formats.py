"""A pool has the pairs that training's source of the same section has."""

import dataclasses
import json
import pickle

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from curation import formats, pool, recipe
from curation.formats import uids
from input_pipeline import faults, sources
from input_pipeline.sources import files, record
from tests.input_pipeline.sources import pairs, tars


def config_of(source) -> recipe.PoolConfig:
  return recipe.PoolConfig(
    *(source.format, source.path, source.image, source.caption),
    *(source.language, source.language_field, source.uid, source.split),
  )


def open_pool(source, folder) -> pool.Pool:
  opened = formats.FORMATS[source.format].open_pool(config_of(source), folder)
  return pickle.loads(pickle.dumps(opened)), opened.shards


def rows_of(opened, shards, columns, max_rows=3, rows=None) -> list[dict]:
  found = []
  for shard in shards:
    last = -1
    for table in opened.read(shard, columns, max_rows=max_rows, rows=rows):
      assert 0 < len(table) <= max_rows
      assert set(table.column_names) == {*pool.ALWAYS, *columns}
      for name in table.column_names:
        if name in pool.TYPES:
          assert table[name].type == pool.TYPES[name]
      numbers = table["row"].to_numpy()
      assert (np.diff(numbers, prepend=last) > 0).all()
      last = numbers[-1]
      uids = pool.uids(table)
      for number, row in enumerate(table.to_pylist()):
        found.append(row | {"pair": tuple(uids[number].item())})
  return found


def expected_of(records) -> list[tuple]:
  """Return (UID, language, caption, image) or (UID, kind of fault)."""
  found = []
  for uid, index in zip(records.uids(), range(len(records)), strict=True):
    try:
      record = records[index]
    except faults.ExampleError as error:
      found.append((tuple(uid.item()), error.kind))
      continue
    for language in sorted(record.texts):
      for text in record.texts[language]:
        found.append((tuple(uid.item()), language, text, record.image))
  return found


@pytest.mark.parametrize("name", pairs.CASES)
def test_pairs_are_those_that_are_trained_on(name, tmp_path):
  case = pairs.CASES[name](tmp_path)
  place = pairs.place(tmp_path)
  records = sources.FORMATS[case.source.format].open_split(
    case.source, case.split, place
  )
  opened, shards = open_pool(case.source, tmp_path)
  columns = ("text", "language", "image", "width", "height", "caption")
  found = rows_of(opened, shards, columns)
  expected = expected_of(records)
  assert [
    (row["pair"], row["fault"].partition(":")[0])
    if row["fault"]
    else (row["pair"], row["language"], row["text"], row["image"])
    for row in found
  ] == expected
  usable = [row for row in found if not row["fault"]]
  assert {(row["width"], row["height"]) for row in usable} == {(4, 4)}
  # Without images nobody knows of one that is not there.
  texts = rows_of(opened, shards, ("text",))
  assert [
    row["text"]
    for row in texts
    if row["pair"] in {row["pair"] for row in usable}
  ] == [row["text"] for row in usable]


@pytest.mark.parametrize("name", ["parquet of img2dataset", "tars", "jsonl"])
def test_chosen_rows_of_a_shard(name, tmp_path):
  case = pairs.CASES[name](tmp_path)
  opened, shards = open_pool(case.source, tmp_path)
  for columns in (("text",), ("image",), ("width",), ("text", "image"), ()):
    whole = rows_of(opened, shards[:1], columns)
    chosen = [row for row in whole if not row["fault"]][::2]
    numbers = np.array([row["row"] for row in chosen])
    assert rows_of(opened, shards[:1], columns, rows=numbers) == chosen


def test_captions_of_one_image_are_pairs_of_one_uid(tmp_path):
  texts = [["a", ""], ["b", " "], [["c", "d"]], []]
  table = pa.table(
    {
      "key": [f"{i:032x}" for i in range(4)],
      "texts": pa.array(
        [[[t] if isinstance(t, str) else t for t in row] for row in texts],
        pa.list_(pa.list_(pa.string())),
      ),
      "more": ["x", None, "z", None],
    }
  )
  parquet.write_table(table, tmp_path / "a.parquet")
  source = pairs.source(
    "parquet", tmp_path / "a.parquet", caption=("texts", "more")
  )
  opened, shards = open_pool(source, tmp_path)
  found = rows_of(opened, shards, ("text", "caption", "language"))
  assert [(row["pair"][1], row["caption"], row["text"]) for row in found] == [
    *((0, 0, "a"), (0, 1, "x"), (1, 0, "b")),
    *((2, 0, "c"), (2, 1, "d"), (2, 2, "z"), (3, 0, None)),
  ]
  assert found[-1]["fault"].startswith("caption_missing")
  rows = np.array([row["row"] for row in found])[[1, 4]]
  chosen = rows_of(opened, shards, ("text",), rows=rows)
  assert [row["text"] for row in chosen] == ["x", "d"]


def test_metadata_of_datacomp_with_its_embeddings(tmp_path, monkeypatch):
  rng = np.random.default_rng(0)
  num_rows = 50
  uids = [rng.bytes(16).hex() for _ in range(num_rows)]
  embeddings = rng.normal(size=(num_rows, 8)).astype(np.float16)
  metadata = pa.table(
    {
      "uid": uids,
      "url": [f"https://example.com/{i}" for i in range(num_rows)],
      "text": [f"caption {i}" for i in range(num_rows)],
      "original_width": pa.array(range(num_rows), pa.int64()),
      "original_height": pa.array(range(num_rows), pa.int64()),
      "clip_l14_similarity_score": rng.random(num_rows).astype(np.float32),
    }
  )
  parquet.write_table(metadata, tmp_path / "0.parquet", row_group_size=9)
  np.savez(
    tmp_path / "0.npz",
    l14_img=embeddings,
    other=np.zeros(3),
    short=np.zeros((2, 2)),
  )
  monkeypatch.setattr(formats.parquet, "SHARD_ROWS", 20)
  source = pairs.source("parquet", tmp_path / "*.parquet")
  opened, shards = open_pool(source, tmp_path)
  assert len(shards) == 3
  assert len({shard.name for shard in shards}) == 3
  assert {"l14_img", "url", "width"} <= opened.columns
  assert not {"image", "other", "short"} & opened.columns
  columns = ("width", "l14_img", "clip_l14_similarity_score", "url")
  found = rows_of(opened, shards, columns, max_rows=4)
  assert [row["uid"].hex() for row in found] == uids
  np.testing.assert_array_equal([row["l14_img"] for row in found], embeddings)
  assert [row["width"] for row in found] == list(range(num_rows))
  # Of the second shard, of the first row group and of the last.
  rows = np.array([1, 13]) << pool.CAPTION_BITS
  chosen = rows_of(opened, shards[1:2], columns, rows=rows)
  assert chosen == [found[19], found[31]]


LINES = [
  '{"uid": "k0", "text": "first", "width": 3, "height": 4}',
  "",
  '{"uid": "k1", "text": "2020-01-01 00:00:00", "width": 3}',
  '{"uid": 12, "text": "number", "width": 3, "height": 4}',
  "{broken",
  '{"text": "without a key", "width": 3, "height": 4}',
  '{"uid": "k5", "text": ["one", "two"], "width": 3, "height": 4}',
  '{"uid": "k6", "text": "half \\ud800", "width": 3, "height": 4}',
  '{"uid": "k7", "text": null, "width": 3, "height": 4}',
  '{"uid": "k8", "text": "last", "width": null, "height": 4}',
]


def test_lines_that_arrow_cannot_read_as_python_does(tmp_path, monkeypatch):
  (tmp_path / "a.jsonl").write_text("\n".join(LINES))
  (tmp_path / "b.jsonl").write_text(LINES[0] + "\n" + LINES[-1])
  source = pairs.source("jsonl", tmp_path / "*.jsonl")
  opened, shards = open_pool(source, tmp_path)
  found = rows_of(opened, shards[:1], ("text", "width"))
  shown = [
    (row["text"], (row["fault"] or "").partition(":")[0]) for row in found
  ]
  assert shown == [
    ("first", ""),
    ("2020-01-01 00:00:00", ""),
    ("number", ""),
    (None, "record_broken"),
    ("without a key", ""),
    ("one", ""),
    ("two", ""),
    ("half ?", ""),
    (None, "caption_missing"),
    ("last", "record_broken"),
  ]
  offset = sum(len(line) + 1 for line in LINES[:5])
  expected = record.uid(f"a.jsonl:{offset}"), record.uid("12")
  assert (found[4]["pair"], found[2]["pair"]) == expected
  # Wherever a shard or what is read at once ends, every line is in one.
  monkeypatch.setattr(formats.jsonl, "_READ_BYTES", 50)
  for size in (7, 64, 100):
    monkeypatch.setattr(formats.jsonl, "SHARD_BYTES", size)
    opened, shards = open_pool(source, tmp_path)
    shards = [shard for shard in shards if shard.path.endswith("a.jsonl")]
    again = rows_of(opened, shards, ("text", "width"))
    assert [{k: v for k, v in row.items() if k != "row"} for row in again] == [
      {k: v for k, v in row.items() if k != "row"} for row in found
    ]


def test_lines_of_one_type_are_the_same_read_by_arrow(tmp_path, monkeypatch):
  lines = [
    json.dumps(
      {"uid": f"{i:032x}", "text": [f"{i} é", "x"], "score": i / 3, "n": i}
    )
    for i in range(20)
  ]
  (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
  source = pairs.source("jsonl", tmp_path / "a.jsonl")
  opened, shards = open_pool(source, tmp_path)
  columns = ("text", "caption", "score", "n")
  fast = rows_of(opened, shards, columns)
  assert len(fast) == 40
  assert fast[2]["text"] == "1 é"
  monkeypatch.setattr(formats.lines.Form, "_rows", None)  # not used
  assert rows_of(opened, shards, columns) == fast
  monkeypatch.undo()
  monkeypatch.setattr(formats.lines.Form, "_read_json", lambda *_: None)
  assert rows_of(opened, shards, columns) == fast


def test_uids_of_keys_are_those_of_record(tmp_path):
  rng = np.random.default_rng(0)
  texts = [rng.bytes(16).hex() for _ in range(20)]
  texts[3] = texts[3].upper()  # hashed, as everything that is not lower-case
  texts[5:8] = ["", "short", "é" * 16]
  expected = [record.uid(text or "other 5") for text in texts]
  for kind in (pa.string(), pa.large_string()):
    column = pa.array([None, *texts], kind)[1:]
    found = uids.of_keys(column, lambda place: f"other {place}")
    assert found.tolist() == expected
  data = [bytes.fromhex(text) for text in texts[8:]]
  for kind in (pa.binary(), pa.binary(16), pa.large_binary()):
    found = uids.of_keys(pa.array([None, *data], kind)[1:])
    assert found.tolist() == expected[8:]
  numbers = uids.of_keys(pa.array([7, 8]))
  assert numbers.tolist() == [record.uid("7"), record.uid("8")]
  column = pool.uid_column(numbers)
  table = pa.table({"uid": pa.chunked_array([column[:1], column[1:]])})
  assert pool.uids(table.slice(1)).tolist() == [record.uid("8")]
  assert column[0].as_py().hex() == "".join(
    f"{half:016x}" for half in record.uid("7")
  )


def test_sizes_of_tars_are_those_before_they_were_made_smaller(tmp_path):
  fields = {"original_width": 500, "width": 4, "height": 3, "url": "u"}
  tars.write(
    tmp_path / "0.tar",
    {
      "a.png": pairs.png(1),
      "a.json": json.dumps(fields).encode(),
      "a.txt": b"a",
      "b.png": pairs.png(2),
      "b.json": json.dumps({"width": 4}).encode(),
      "b.txt": b"b",
    },
  )
  source = pairs.source("webdataset", tmp_path / "0.tar")
  opened, shards = open_pool(source, tmp_path)
  found = rows_of(opened, shards, ("width", "height", "url"))
  assert (found[0]["width"], found[0]["height"]) == (500, 3)
  assert found[0]["url"] == "u"
  assert found[1]["fault"].startswith("record_")


def test_images_of_tars_are_passed_over(tmp_path, monkeypatch):
  members = {}
  for i in range(20):
    members[f"{i}.jpg"] = bytes(100_000)
    members[f"{i}.txt"] = b"caption %d" % i
  tars.write(tmp_path / "0.tar", members)
  source = pairs.source("webdataset", tmp_path / "0.tar")
  opened, shards = open_pool(source, tmp_path)
  read, read_range = [], files.read_range

  def counted(path, start, stop):
    read.append(stop - start)
    return read_range(path, start, stop)

  monkeypatch.setattr(files, "read_range", counted)
  assert len(rows_of(opened, shards, ("text",))) == 20
  assert sum(read) < 20 * 20_000
  read.clear()
  rows = np.array([2, 3, 15]) << pool.CAPTION_BITS
  assert len(rows_of(opened, shards, ("image",), rows=rows)) == 3
  assert len(read) == 2
  assert sum(read) < 320_000


def test_messages_name_the_field(tmp_path):
  (tmp_path / "a.parquet").write_bytes(b"nothing" * 200)
  for format, path, message in (
    ("parquet", "a.parquet", "pool.path: .* cannot be read as Parquet"),
    ("parquet", "b.parquet", "pool.path lists 1 files, of which 1"),
    ("webdataset", "a.parquet", "pool: .* is not a tar"),
    ("table", "a.parquet", "pool.path must be"),
    ("jsonl", "a.parquet", "pool.path: .* begins with no JSON objects"),
    ("emoji", "a.parquet", "pool.path is not used by"),
  ):
    with pytest.raises(ValueError, match=message):
      open_pool(pairs.source(format, tmp_path / path), tmp_path)


def test_captions_in_files_of_their_own(tmp_path):
  texts = {
    "0": [["one", "en", [3, 5]], ["eins", "de", [1]], ["uno", "en", []]],
    "1": [],
    "2": ["plain", ["", "fr", []]],
  }
  for name in ("images/20", "json/20"):
    (tmp_path / name).mkdir(parents=True)
  members = {f"{i}.png": pairs.png(i) for i in range(4)}
  tars.write(tmp_path / "images/20/21.tar", members)
  path = tmp_path / "json/20/21.json"
  path.write_text(json.dumps(texts))
  source = pairs.source(
    *("webdataset", tmp_path / "images/*/*.tar"),
    caption=("../../json/{folder}/{tar}.json",),
  )
  records = sources.FORMATS["webdataset"].open_split(
    source, "", pairs.place(tmp_path)
  )
  assert records[0].texts == {"en": ("one", "uno"), "de": ("eins",)}
  opened, shards = open_pool(source, tmp_path)
  found = rows_of(opened, shards, ("text", "language", "image"))
  assert [
    (row["pair"], row["fault"].partition(":")[0])
    if row["fault"]
    else (row["pair"], row["language"], row["text"], row["image"])
    for row in found
  ] == expected_of(records)
  assert [row["text"] for row in found][:3] == ["eins", "one", "uno"]
  version = shards[0].version
  path.write_text(json.dumps(texts | {"3": ["late"]}))
  assert open_pool(source, tmp_path)[1][0].version != version
  path.unlink()
  with pytest.raises(ValueError, match=r"pool.caption=.*No such file"):
    open_pool(source, tmp_path)


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
  local, shards = open_pool(case.source, tmp_path)
  expected = rows_of(local, shards, columns)
  path = case.source.path.replace(str(tmp_path), "memory://pool")
  source = dataclasses.replace(case.source, path=path)
  opened, shards = open_pool(source, tmp_path / "remote")
  found = rows_of(opened, shards, columns)
  for one, other in zip(found, expected, strict=True):
    assert bool(one.pop("fault")) == bool(other.pop("fault"))
    assert one == other
  if name != "jsonl":  # which is one table
    return
  memory.pipe("/lines/a.jsonl", LINES[0].encode())
  source = pairs.source("jsonl", "memory://lines/*.jsonl")
  opened, shards = open_pool(source, tmp_path)
  (row,) = rows_of(opened, shards, ("text",))
  assert row["text"] == "first"
