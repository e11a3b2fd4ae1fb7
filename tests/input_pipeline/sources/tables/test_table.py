"""Tests of tables of captions alone: rows, paths, and broken files."""

import csv
import json
import os
import pickle

import fsspec
import numpy as np
import pytest

from input_pipeline import faults
from input_pipeline.sources import named_file
from input_pipeline.sources.tables import table, table_index
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
    {"image": "a.png", "caption": ["one", "", 3, "\u200b"], "key": 7},
    '{"image": "a.png", "caption": ',
    "[1]",
    {"image": ["a.png"], "caption": "a"},
    {"image": "a.png"},
    "[" * 100_000,
    {"image": "a.png", "caption": ["one", "two\ud800"]},
    {"image": "a.png", "caption": ["\ufeff\u00ad", "\u2060 "]},
  )
  (tmp_path / "a.png").write_bytes(b"image")
  records = _open(tmp_path)
  assert records[0].texts == {"en": ("one",)}
  assert records[0].key == "7"
  found = [_kind(records, index) for index in range(1, 8)]
  assert found == [
    *("record_broken", "record_broken", "image_missing", "caption_missing"),
    *("record_broken", "caption_broken", "caption_missing"),
  ]
  assert len(np.unique(records.uids())) == 8


def test_separated_rows_that_break(tmp_path):
  (tmp_path / "a.csv").write_bytes(
    b"filepath,title,note\r\na.png,one,\xff\r\na.png,two,more,x\r\n\r\n"
    b'a.png,\xff,\r\na.png,a\0b,\r\n"a.png" x,"two\nlines",\r\na.png,last,'
  )
  (tmp_path / "a.png").write_bytes(b"image")
  records = _open(tmp_path, path=tmp_path / "a.csv")
  found = []
  for index in range(len(records)):
    try:
      found.append(records[index].texts["en"])
    except faults.ExampleError as error:
      found.append(f"{error.kind}: {error}".replace(str(tmp_path), ""))
  assert found == [
    ("one",),
    "record_broken: line 3 of /a.csv: expected 3 fields; got 4",
    "caption_broken: line 5 of /a.csv: title has byte 0xff, at byte 6 of the "
    'row, which is not UTF-8; format="table" reads other encodings, as '
    'encoding="latin-1"',
    "record_broken: line 6 of /a.csv: a NUL byte at byte 7 of the row",
    "record_broken: line 7 of /a.csv: ',' expected after '\"'",
    "record_broken: line 8 of /a.csv: expected 3 fields; got 2",
    ("last",),
  ]


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (b'a,b\n1,2\n3,"4\n5,6\n', "line 3: a quote is opened"),
    (b'a,b\n1,"2\n3,"4"\n5,6\n', "line 2: a quote is opened"),
    (b'a,b\n1,"' + b"2\n3,4\n" * 20, "line 2: a quote .* limit"),
    ("a,b\n1,2\n".encode("utf-16"), 'UTF-16, not.*encoding="utf-16"'),
    ("a,b\n1,2\n".encode("utf-16-le"), 'encoding="utf-16-le"'),
    ("a,b\n1,2\n".encode("utf-16-be"), 'encoding="utf-16-be"'),
    ("a,b\n1,2\n".encode("utf-32"), 'encoding="utf-32"'),
    (b"a,b\r1,2\r3,4\r", "carriage returns alone, as on old Macs"),
    (b"\0" * 9000, "no table but nothing but zeros"),
    (b"PK\3\4" + bytes(99), "no table but a zip file"),
    (b"<!DOCTYPE html>\n<p>", "no table but an HTML page"),
    (
      b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
      "no table but a Git LFS pointer .*`git lfs pull`",
    ),
    (b"a,\xe9\n1,2\n", "the header has byte 0xe9 at byte 2"),
    (b"caption,image,caption\n1,2,3\n", "the column caption 2 times"),
  ],
)
def test_tables_that_are_named_as_what_they_are(tmp_path, data, message):
  (tmp_path / "a.csv").write_bytes(data)
  limit = csv.field_size_limit(60)
  try:
    with pytest.raises(ValueError, match=f"main.path: .*a.csv.*{message}"):
      _open(tmp_path, path=tmp_path / "a.csv")
  finally:
    csv.field_size_limit(limit)


def test_quotes_between_tabs_are_letters(tmp_path, caplog):
  (tmp_path / "a.png").write_bytes(b"image")
  texts = ['"open', 'a 5" pipe', '"whole"', '"a ""b"" c"']
  rows = "".join(f"a.png\t{text}\n" for text in texts)
  (tmp_path / "a.tsv").write_text("image\tcaption\n" + rows)
  records = _open(tmp_path, path=tmp_path / "a.tsv")
  assert [records[i].texts["en"][0] for i in range(4)] == texts
  assert "1 lines have a field in quotes" in caplog.text


@pytest.mark.parametrize(
  ("encoding", "caption"),
  [
    *(("latin-1", "caf\u00e9"), ("cp1252", "\u20ac 5"), ("utf-16", "\u732b")),
    *(("utf-16-le", "\u732b"), ("gb18030", "\u732b"), ("shift_jis", "\u732b")),
    ("iso2022_jp", "\u732b, \u732b"),
  ],
)
def test_encodings(tmp_path, encoding, caption):
  (tmp_path / "a.png").write_bytes(b"image")
  for name, text in (
    ("a.csv", f'image,caption\na.png,"{caption}"\n'),
    ("a.tsv", f"image\tcaption\na.png\t{caption}\n"),
    ("a.jsonl", f'{{"image": "a.png", "caption": "{caption}"}}\n'),
  ):
    (tmp_path / name).write_bytes(text.encode(encoding))
    records = _open(tmp_path, path=tmp_path / name, encoding=encoding)
    assert records[0].texts == {"en": (caption,)}
    copy = pickle.loads(pickle.dumps(records))
    assert copy[0].texts == {"en": (caption,)}


def test_bytes_that_a_stated_encoding_lacks(tmp_path):
  (tmp_path / "a.png").write_bytes(b"image")
  text = b"image,caption\na.png,one\na.png,t\x81wo\n"
  (tmp_path / "a.csv").write_bytes(text)
  records = _open(tmp_path, path=tmp_path / "a.csv", encoding="cp1252")
  assert records[0].texts == {"en": ("one",)}
  assert _kind(records, 1) == "caption_broken"
  with pytest.raises(ValueError, match=r"a.csv: .*line 1 .*is not utf-32"):
    _open(tmp_path, path=tmp_path / "a.csv", encoding="utf-32")


def test_fields_of_any_length_and_lines_far_away(tmp_path, monkeypatch):
  monkeypatch.setattr(table_index, "EVERY", 4)
  rows = ['a.png,"two\nlines"'] * 9 + ["a.png," + "x" * 200_000] + ["a.png"]
  (tmp_path / "a.csv").write_text("image,caption\n" + "\n".join(rows))
  (tmp_path / "a.png").write_bytes(b"image")
  records = _open(tmp_path, path=tmp_path / "a.csv")
  assert len(records[9].texts["en"][0]) == 200_000
  assert [records.where(i).split(" of")[0] for i in (0, 3, 4, 10)] == [
    *("line 2", "line 8", "line 10", "line 21")
  ]


@pytest.mark.parametrize(
  ("path", "fields", "message"),
  [
    ("none", {}, "main.path must be a .jsonl.*captions.jsonl.*none"),
    ("none.csv", {}, "main.path"),
    ("*.jsonl", {}, "main.path must be one table"),
    ("empty.jsonl", {}, "empty.jsonl has no rows; write them"),
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

  monkeypatch.setattr(table_index, "make", None)  # not made again
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


def test_captions_by_language(tmp_path):
  _write(
    tmp_path,
    {"image": "a.png", "texts": {"zh_CN": "\u4e00", "en": ["one", "a one"]}},
    {"image": "a.png", "texts": [{"de": "eins"}, "two"]},
    {"image": "a.png", "texts": {"en": "", "de": None}},
  )
  (tmp_path / "a.png").write_bytes(b"image")
  records = _open(tmp_path)
  assert records[0].texts == {"zh_CN": ("\u4e00",), "en": ("one", "a one")}
  assert records[1].texts == {"de": ("eins",), "en": ("two",)}
  assert _kind(records, 2) == "caption_missing"


def test_captions_in_brackets_are_told_of(tmp_path, caplog):
  for text, is_told in (
    ("\"['a', 'b']\"", True),
    ('"{""en"": ""a""}"', True),
    ("[a] b", False),
  ):
    caplog.clear()
    (tmp_path / "a.csv").write_text(f"image,caption\n1.png,{text}\n2.png,\n")
    source = pairs.source("table", tmp_path / "a.csv")
    table.open_split(source, "", pairs.context(tmp_path))
    assert ("in brackets" in caplog.text) == is_told
