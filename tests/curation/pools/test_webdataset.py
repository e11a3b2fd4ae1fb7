"""Tars as a pool."""

import json

import numpy as np
import pytest

from curation import pool
from input_pipeline import sources
from input_pipeline.storage import files
from tests.curation.pools import reading
from tests.input_pipeline.sources import pairs, tars


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
  opened, shards = reading.open_pool(source, tmp_path)
  found = reading.rows_of(opened, shards, ("width", "height", "url"))
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
  opened, shards = reading.open_pool(source, tmp_path)
  read, read_range = [], files.read_range

  def counted(path, start, stop):
    read.append(stop - start)
    return read_range(path, start, stop)

  monkeypatch.setattr(files, "read_range", counted)
  assert len(reading.rows_of(opened, shards, ("text",))) == 20
  assert sum(read) < 20 * 20_000
  read.clear()
  rows = np.array([2, 3, 15]) << pool.CAPTION_BITS
  assert len(reading.rows_of(opened, shards, ("image",), rows=rows)) == 3
  assert len(read) == 2
  assert sum(read) < 320_000


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
    source, "", pairs.context(tmp_path)
  )
  assert records[0].texts == {"en": ("one", "uno"), "de": ("eins",)}
  opened, shards = reading.open_pool(source, tmp_path)
  found = reading.rows_of(opened, shards, ("text", "language", "image"))
  assert reading.as_pairs(found) == reading.expected_of(records)
  assert [row["text"] for row in found][:3] == ["eins", "one", "uno"]
  version = shards[0].version
  path.write_text(json.dumps(texts | {"3": ["late"]}))
  assert reading.open_pool(source, tmp_path)[1][0].version != version
  path.unlink()
  with pytest.raises(ValueError, match=r"pool.caption=.*No such file"):
    reading.open_pool(source, tmp_path)


def test_pairs_that_turn_out_to_have_no_image(tmp_path):
  members = {}
  for i in range(3):
    texts = [f"{i} a", f"{i} b", f"{i} c"]
    members[f"{i}.json"] = json.dumps({"texts": texts}).encode()
    if i != 1:
      members[f"{i}.png"] = pairs.png(i)
  tars.write(tmp_path / "0.tar", members)
  source = pairs.source("webdataset", tmp_path / "0.tar")
  opened, shards = reading.open_pool(source, tmp_path)
  whole = reading.rows_of(opened, shards, ("text",))
  assert not any(row["fault"] for row in whole)
  rows = np.array([row["row"] for row in whole])[[1, 4, 5, 6]]
  for columns in (("image",), ("width",), ("image", "text")):
    found = reading.rows_of(opened, shards, columns, rows=rows, max_rows=2)
    # Each row comes back, as the signals of steps before are by their order.
    assert [row["row"] for row in found] == rows.tolist()
    kinds = [(row["fault"] or "").partition(":")[0] for row in found]
    assert kinds == ["", "image_missing", "image_missing", ""]
