"""JSON lines as a pool."""

import dataclasses
import json
import re

import numpy as np
import pytest

from curation import pools
from input_pipeline import faults
from input_pipeline.sources import table_layout
from input_pipeline.storage import files
from input_pipeline.storage import uids as uids_lib
from tests.curation.pools import reading
from tests.input_pipeline.sources import pairs

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
  opened, shards = reading.open_pool(source, tmp_path)
  found = reading.rows_of(opened, shards[:1], ("text", "width"))
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
    (None, "caption_broken"),
    (None, "caption_missing"),
    ("last", "record_broken"),
  ]
  assert f"line 5 of {tmp_path}/a.jsonl: no JSON" in found[3]["fault"]
  offset = sum(len(line) + 1 for line in LINES[:5])
  expected = uids_lib.uid(f"a.jsonl:{offset}"), uids_lib.uid("12")
  assert (found[4]["pair"], found[2]["pair"]) == expected
  # Wherever a shard or what is read at once ends, every line is in one.
  monkeypatch.setattr(pools.jsonl, "_READ_BYTES", 50)
  for size in (7, 64, 100):
    monkeypatch.setattr(pools.jsonl, "SHARD_BYTES", size)
    opened, shards = reading.open_pool(source, tmp_path)
    shards = [shard for shard in shards if shard.path.endswith("a.jsonl")]
    again = reading.rows_of(opened, shards, ("text", "width"))
    assert list(map(_without_place, again)) == list(map(_without_place, found))


def test_lines_that_arrow_dies_of(tmp_path):
  lines = ["null", '{"text": "a"}', "[" * 100_000, '{"a":' * 50_000]
  path = tmp_path / "a.jsonl"
  path.write_text("\n".join(['{"text": "first"}', *lines, "null"]))
  source = pairs.source("jsonl", path)
  opened, shards = reading.open_pool(source, tmp_path)
  rows = reading.rows_of(opened, shards, ("text",), max_rows=1)
  assert [row["text"] for row in rows if not row["fault"]] == ["first", "a"]
  assert len(rows) == 6


@pytest.mark.parametrize("format", ["jsonl", "table"])
def test_captions_by_language(format, tmp_path):
  lines = [
    {
      "key": "a",
      "image": "a",
      "texts": {"zh_CN": ["\u4e00", "\u4e8c"], "en": "one"},
    },
    {"key": "b", "image": "b", "texts": {"de": "eins", "en": "\u200b"}},
    {"key": "c", "image": "c", "texts": "two"},
  ]
  (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
  source = pairs.source(format, tmp_path / "a.jsonl")
  # In the order of their languages, as training numbers them.
  expected = [
    *(("en", "one", 0), ("zh_CN", "\u4e00", 1), ("zh_CN", "\u4e8c", 2)),
    *(("de", "eins", 0), ("en", "two", 0)),
  ]
  opened, shards = reading.open_pool(source, tmp_path)
  columns = ("language", "text", "caption")
  rows = reading.rows_of(opened, shards, columns)
  assert [tuple(row[name] for name in columns) for row in rows] == expected
  chosen = np.array([rows[2]["row"], rows[3]["row"]])
  for some in (columns, ("language",)):
    again = reading.rows_of(opened, shards, some, rows=chosen)
    assert [row["language"] for row in again] == ["zh_CN", "de"]

  config = dataclasses.replace(
    reading.config_of(source), languages=("zh-Hans", "de")
  )
  opened = pools.FORMATS[format].open_pool(config, tmp_path)
  rows = reading.rows_of(opened, opened.shards, columns)
  assert [tuple(row[name] for name in columns) for row in rows[:3]] == [
    expected[n] for n in (1, 2, 3)
  ]
  assert rows[3]["fault"].startswith("caption_missing: there is no caption in")


def _without_place(row):
  # Lines are counted from where a shard begins.
  fault = re.sub(r"line \d+( from byte \d+ on)? of", "", row["fault"] or "")
  return row | {"row": 0, "fault": fault}


def test_lines_of_one_type_are_the_same_read_by_arrow(tmp_path, monkeypatch):
  lines = [
    json.dumps(
      {"uid": f"{i:032x}", "text": [f"{i} é", "x"], "score": i / 3, "n": i}
    )
    for i in range(20)
  ]
  (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
  source = pairs.source("jsonl", tmp_path / "a.jsonl")
  opened, shards = reading.open_pool(source, tmp_path)
  columns = ("text", "caption", "score", "n")
  fast = reading.rows_of(opened, shards, columns)
  assert len(fast) == 40
  assert fast[2]["text"] == "1 é"
  monkeypatch.setattr(table_layout.Layout, "rows", None)  # not used
  assert reading.rows_of(opened, shards, columns) == fast
  monkeypatch.undo()
  monkeypatch.setattr(pools.lines.Form, "_read_json", lambda *_: None)
  assert reading.rows_of(opened, shards, columns) == fast


@pytest.mark.parametrize("folder", ["http://example.com", "gs://bucket"])
def test_images_on_the_web_may_be_gone(folder, tmp_path, monkeypatch):
  def fail(path):
    raise faults.ExampleError("read_failed", f"{path} does not answer")

  monkeypatch.setattr(files, "read", fail)
  line = {"uid": "a", "text": "a", "image": f"{folder}/1.jpg"}
  (tmp_path / "a.jsonl").write_text(json.dumps(line))
  source = pairs.source("jsonl", tmp_path / "a.jsonl")
  opened, shards = reading.open_pool(source, tmp_path)
  if folder.startswith("http"):
    (row,) = reading.rows_of(opened, shards, ("image",))
    assert row["fault"].startswith("read_failed")
  else:
    # The whole shard is tried again.
    with pytest.raises(faults.ExampleError, match="does not answer"):
      reading.rows_of(opened, shards, ("image",))
