"""Parquet files as a pool."""

import dataclasses
import logging

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from curation import pool, pools
from input_pipeline import faults
from input_pipeline.sources.arrow import parquet as training
from tests.curation.pools import reading
from tests.input_pipeline.sources import pairs


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
  opened, shards = reading.open_pool(source, tmp_path)
  found = reading.rows_of(opened, shards, ("text", "caption", "language"))
  assert [(row["pair"][1], row["caption"], row["text"]) for row in found] == [
    *((0, 0, "a"), (0, 1, "x"), (1, 0, "b")),
    *((2, 0, "c"), (2, 1, "d"), (2, 2, "z"), (3, 0, None)),
  ]
  assert found[-1]["fault"].startswith("caption_missing")
  rows = np.array([row["row"] for row in found])[[1, 4]]
  chosen = reading.rows_of(opened, shards, ("text",), rows=rows)
  assert [row["text"] for row in chosen] == ["x", "d"]


def test_languages_of_maps_and_structs(tmp_path):
  kind = pa.map_(pa.string(), pa.list_(pa.string()))
  texts = pa.array([[("zh_CN", ["a", "b"]), ("de", ["c"])], [], None], kind)
  parquet.write_table(pa.table({"texts": texts}), tmp_path / "0.parquet")
  texts = pa.array([{"zh-Hans": "d", "pt_BR": ""}, {"zh-Hans": None}])
  parquet.write_table(pa.table({"texts": texts}), tmp_path / "1.parquet")
  source = pairs.source("parquet", tmp_path / "*.parquet")
  opened, shards = reading.open_pool(source, tmp_path)
  columns = ("language", "caption", "text")
  found = reading.rows_of(opened, shards, columns)
  assert [tuple(row[name] for name in columns) for row in found] == [
    *(("de", 0, "c"), ("zh_CN", 1, "a"), ("zh_CN", 2, "b")),
    *(("en", 0, None), ("en", 0, None), ("zh-Hans", 0, "d"), ("en", 0, None)),
  ]
  config = dataclasses.replace(reading.config_of(source), languages=("zh",))
  opened = pools.parquet.open_pool(config, tmp_path)
  found = reading.rows_of(opened, opened.shards, columns)
  assert [row["text"] for row in found if not row["fault"]] == ["a", "b", "d"]
  assert [row["caption"] for row in found if not row["fault"]] == [1, 2, 0]


@pytest.mark.parametrize(
  "kind",
  [
    *(pa.list_(pa.float32()), pa.large_list(pa.float32())),
    *(pa.list_(pa.float32(), 2), pa.list_view(pa.float32())),
  ],
)
def test_columns_of_every_type_of_list_and_text(tmp_path, kind):
  table = pa.table(
    {
      "uid": pa.array([b"%016d" % i for i in range(3)], pa.binary_view()),
      "text": pa.array(["a", "b", "c"], pa.string_view()),
      "url": pa.array(["x", None, "x"]).dictionary_encode(),
      "l14": pa.array([[0.0, 1.0], None, [2.0, None]], kind),
    }
  )
  parquet.write_table(table, tmp_path / "a.parquet")
  source = pairs.source("parquet", tmp_path / "a.parquet")
  opened, shards = reading.open_pool(source, tmp_path)
  (made,) = opened.read(shards[0], ("url", "l14"), max_rows=9)
  assert made["url"].type == pa.string()
  assert made["l14"].type == pa.list_(pa.float32())
  for name in ("url", "l14"):
    assert made[name].to_pylist() == table[name].to_pylist()
  rows = np.array([0, 2]) << pool.CAPTION_BITS
  found = reading.rows_of(opened, shards, ("url", "l14"), rows=rows)
  assert [row["l14"] for row in found] == [[0.0, 1.0], [2.0, None]]


@pytest.mark.parametrize("is_struct", [False, True])
def test_paths_that_are_not_utf8_are_no_images(tmp_path, is_struct):
  (tmp_path / "a.png").write_bytes(pairs.png(1))
  path = pa.array([b"\xff.png", b"a.png"]).view(pa.string())
  image = pa.StructArray.from_arrays([pa.nulls(2), path], ["bytes", "path"])
  table = pa.table({"image": image if is_struct else path, "text": ["a", "b"]})
  parquet.write_table(table, tmp_path / "a.parquet")
  source = pairs.source("parquet", tmp_path / "a.parquet")
  opened, shards = reading.open_pool(source, tmp_path)
  first, second = reading.rows_of(opened, shards, ("image",))
  assert first["fault"].startswith("image_missing: ")
  assert second["image"] == pairs.png(1)
  records = training.open_split(source, "", pairs.context(tmp_path))
  with pytest.raises(faults.ExampleError, match="path is not UTF-8") as caught:
    records[0]
  assert caught.value.kind == "image_missing"
  assert records[1].image == pairs.png(1)


def test_columns_that_not_all_files_have_are_named(tmp_path, caplog):
  names = ["caption", "url", "url"]
  table = pa.table([["a"], ["x"], ["y"]], names=names)
  parquet.write_table(table, tmp_path / "0.parquet")
  parquet.write_table(table.select([0, 1]), tmp_path / "1.parquet")
  source = pairs.source("parquet", tmp_path / "*.parquet")
  with caplog.at_level(logging.WARNING):
    opened, _ = reading.open_pool(source, tmp_path)
  assert "url" not in opened.columns
  (message,) = caplog.messages
  assert "['url']" in message
  assert "url is twice in" in message
  assert message.endswith("0.parquet")


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
  monkeypatch.setattr(pools.parquet, "SHARD_ROWS", 20)
  source = pairs.source("parquet", tmp_path / "*.parquet")
  opened, shards = reading.open_pool(source, tmp_path)
  assert len(shards) == 3
  assert len({shard.name for shard in shards}) == 3
  assert {"l14_img", "url", "width"} <= opened.columns
  assert not {"image", "other", "short"} & opened.columns
  columns = ("width", "l14_img", "clip_l14_similarity_score", "url")
  found = reading.rows_of(opened, shards, columns, max_rows=4)
  assert [row["uid"].hex() for row in found] == uids
  np.testing.assert_array_equal([row["l14_img"] for row in found], embeddings)
  assert [row["width"] for row in found] == list(range(num_rows))
  # Rows of the second shard, in its first and its last row group.
  rows = np.array([1, 13]) << pool.CAPTION_BITS
  chosen = reading.rows_of(opened, shards[1:2], columns, rows=rows)
  assert chosen == [found[19], found[31]]


def test_arrays_of_another_table_are_refused(tmp_path, caplog):
  for name, num_rows, num_arrays in (("a", 3, 3), ("b", 3, 4)):
    texts = [f"{name}{i}" for i in range(num_rows)]
    parquet.write_table(
      pa.table({"uid": texts, "text": texts}), tmp_path / f"{name}.parquet"
    )
    np.savez(tmp_path / f"{name}.npz", l14_img=np.ones((num_arrays, 2)))
  source = pairs.source("parquet", tmp_path / "*.parquet")
  opened, shards = reading.open_pool(source, tmp_path)
  assert len(reading.rows_of(opened, shards[:1], ("l14_img",))) == 3
  with pytest.raises(ValueError, match=r"b.npz: l14_img has 4 rows, .* it 3"):
    reading.rows_of(opened, shards[1:], ("l14_img",))
  (tmp_path / "a.parquet").unlink()
  reading.open_pool(source, tmp_path)
  assert "b.npz: l14_img has 4 rows" in caplog.text
  (tmp_path / "b.npz").write_text("<html>")
  with pytest.raises(ValueError, match=r"pool.path: .*b.npz must be .* HTML"):
    reading.open_pool(source, tmp_path)
