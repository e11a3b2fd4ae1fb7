"""Tests of tables of captions alone: rows, paths, and broken files."""

import json
import os
import pickle

import fsspec
import numpy as np
import pytest

from input_pipeline import faults
from input_pipeline.sources import named_file, table
from input_pipeline.storage import files
from tests.input_pipeline.sources import pairs


def _write(folder, *rows, name="captions.jsonl"):
  lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
  (folder / name).write_text("\n".join(lines) + "\n")


def _open(folder, path=None, **fields):
  source = pairs.source("table", path or folder, **fields)
  return table.open_split(source, "", pairs.context(folder))


def _kind(records, index):
  with pytest.raises(faults.ExampleError) as caught:
    records[index]
  return caught.value.kind


@pytest.mark.parametrize(
  "name", ["../a.png", "/etc/passwd", "x/../../a.png", "file:///a", "a::s3://b"]
)
def test_paths_stay_in_the_folder(tmp_path, name):
  (tmp_path / "in").mkdir()
  (tmp_path / "a.png").write_bytes(b"outside")
  _write(tmp_path / "in", {"image": name, "caption": "a"})
  assert _kind(_open(tmp_path / "in"), 0) == "unsafe_member"


def test_paths_within_the_folder(tmp_path, monkeypatch):
  (tmp_path / "x").mkdir()
  (tmp_path / "a.png").write_bytes(b"inside")
  names = ("a.png", "./x/../a.png", str(tmp_path / "a.png"), "b.png")
  _write(tmp_path, *({"image": name, "caption": "a"} for name in names))
  records = _open(tmp_path)
  assert [records[i].image for i in range(3)] == [b"inside"] * 3
  assert _kind(records, 3) == "file_missing"
  # A table that is named by a relative path.
  monkeypatch.chdir(tmp_path)
  assert _open(tmp_path, path="captions.jsonl")[0].image == b"inside"
  assert _open(tmp_path, path=".")[2].image == b"inside"


@pytest.mark.parametrize(
  ("name", "folder", "path"),
  [
    ("a/1.png", "s3://b/x", "s3://b/x/a/1.png"),
    ("https://h/1.png", "s3://b/x", "https://h/1.png"),
    ("memory://b/x/1.png", "memory://b/x", "memory://b/x/1.png"),
    ("s3://other/1.png", "/x", "s3://other/1.png"),
  ],
)
def test_urls(name, folder, path):
  assert named_file.resolve(name, folder, "main") == path


@pytest.mark.parametrize(
  ("name", "folder"),
  [
    ("../1.png", "s3://b/x"),
    ("memory://b/y/1.png", "memory://b/x"),
    ("memory://b/x/1.png", "/x"),
    ("zip://1.png::s3://b/x.zip", "s3://b"),
    (".", "/x"),
  ],
)
def test_urls_that_are_refused(name, folder):
  with pytest.raises(faults.ExampleError) as caught:
    named_file.resolve(name, folder, "main")
  assert caught.value.kind == "unsafe_member"


def test_rows_that_break(tmp_path):
  _write(
    tmp_path,
    {"image": "a.png", "caption": ["one", "", 3, "two\ud800"], "key": 7},
    '{"image": "a.png", "caption": ',
    "[1]",
    {"image": ["a.png"], "caption": "a"},
    {"image": "a.png"},
    "[" * 100_000,
  )
  (tmp_path / "a.png").write_bytes(b"image")
  records = _open(tmp_path)
  assert records[0].texts == {"en": ("one", "two?")}  # half a surrogate pair
  assert records[0].key == "7"
  found = [_kind(records, index) for index in range(1, 6)]
  assert found == [
    *("record_broken", "record_broken", "image_missing", "caption_missing"),
    "record_broken",
  ]
  assert len(np.unique(records.uids())) == 6


def test_separated_rows_that_break(tmp_path):
  (tmp_path / "a.csv").write_bytes(
    b"filepath,title\r\na.png,one\r\na.png,t\xffwo,more\r\n\r\na.png,\xff\r\n"
  )
  (tmp_path / "a.png").write_bytes(b"image")
  records = _open(tmp_path, path=tmp_path / "a.csv")
  assert len(records) == 3
  assert records[0].texts == {"en": ("one",)}
  assert _kind(records, 1) == "record_broken"
  assert records[2].texts == {"en": ("\ufffd",)}

  text = 'filepath,title\na.png,"open\n' + "a.png,two\n" * 20_000
  (tmp_path / "b.csv").write_text(text)
  with pytest.raises(
    ValueError, match="main.path: .*b.csv: field larger.*quote"
  ):
    _open(tmp_path, path=tmp_path / "b.csv")


@pytest.mark.parametrize(
  ("path", "fields", "message"),
  [
    ("none", {}, "main.path must be a .jsonl.*captions.jsonl.*none"),
    ("none.csv", {}, "main.path"),
    ("*.jsonl", {}, "main.path must be one table"),
    ("empty.jsonl", {}, "empty.jsonl has no rows"),
    ("empty.csv", {}, "empty.csv has no rows"),
    ("x.csv", {}, r"main.image must be given: .*\['a', 'b'\]"),
    ("x.csv", {"image": ("a",)}, "main.caption must be given"),
    ("x.csv", {"image": ("c",)}, r"main.image must be among .*\['a', 'b'\]"),
    ("x.csv", {"image": ("a", "b")}, "main.image must be one column"),
  ],
)
def test_what_does_not_fit(tmp_path, path, fields, message):
  (tmp_path / "empty.jsonl").write_text("\n \n")
  (tmp_path / "more.jsonl").write_text("\n \n")
  (tmp_path / "empty.csv").write_text("filepath,title\n")
  (tmp_path / "x.csv").write_text("a,b\n1,2\n")
  with pytest.raises(ValueError, match=message):
    _open(tmp_path, path=tmp_path / path, **fields)


def test_index_is_made_once_mapped_and_bound_to_its_table(
  tmp_path, monkeypatch
):
  rows = [{"image": "a.png", "caption": f"{i}"} for i in range(300)]
  _write(tmp_path, *rows)
  (tmp_path / "a.png").write_bytes(b"image")
  records = _open(tmp_path)
  (index,) = (tmp_path / "cache" / "tables").iterdir()
  assert index.stat().st_size < 8 * len(rows) + 200  # offsets and a header
  assert len(pickle.dumps(records)) < 2000

  monkeypatch.setattr(table, "_starts", None)  # not made again
  again = _open(tmp_path)
  assert again[299].texts == {"en": ("299",)}

  # Rows of the same length in another order: only the time tells.
  path = tmp_path / "captions.jsonl"
  path.write_text("".join(reversed(path.read_text().splitlines(True))))
  os.utime(path, ns=(0, 0))
  assert _kind(again, 5) == "shard_changed"
  path.unlink()
  assert _kind(again, 5) == "file_missing"


def test_a_table_at_a_url(tmp_path):
  fs = fsspec.filesystem("memory")
  row = json.dumps({"image": "1.png", "caption": "a"})
  fs.pipe({"/tbl/captions.jsonl": row.encode(), "/tbl/1.png": b"image"})
  assert files.read("memory://tbl/1.png") == b"image"
  records = _open(tmp_path, path="memory://tbl/captions.jsonl")
  assert pickle.loads(pickle.dumps(records))[0].image == b"image"
  assert _open(tmp_path, path="memory://tbl").uids() == records.uids()
