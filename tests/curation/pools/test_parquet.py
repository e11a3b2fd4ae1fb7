"""Parquet files as a pool."""

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from curation import pool, pools
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
