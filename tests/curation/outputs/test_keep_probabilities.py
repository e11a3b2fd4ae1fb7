"""keep.npy of the signals of a curation."""

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from curation import pool
from curation.outputs import keep_probabilities
from input_pipeline.selecting import balanced
from input_pipeline.storage import uids as uids_lib


def write_signals(path, rows):
  """Write (key, place, caption, dropped_by, keep_probability)."""
  uids = np.array([uids_lib.uid(key) for key, *_ in rows], uids_lib.UID)
  numbers = [place << pool.CAPTION_BITS | n for _, place, n, *_ in rows]
  table = {
    "uid": pool.uid_column(uids),
    "row": pa.array(numbers, pa.int64()),
    "dropped_by": pa.array([row[3] for row in rows], pa.string()),
    "keep_probability": pa.array([row[4] for row in rows], pa.float32()),
  }
  parquet.write_table(pa.table(table), path)
  return path


ROWS = [
  ("a", 0, 0, "size", None),  # of an image that has another caption
  ("a", 0, 1, None, 0.25),
  ("b", 1, 0, "balance", 0.5),  # by the draw, which the loader does anew
  ("c", 2, 0, "balance", 0.0),
  ("d", 3, 0, "later", 0.75),
  ("e", 4, 0, "read", None),
]


def test_file_has_all_captions_of_images_that_may_be_kept(tmp_path):
  first = write_signals(tmp_path / "0", ROWS)
  # Equal captions in two shards: the more probable one is written.
  second = write_signals(
    tmp_path / "1",
    [("f", 0, 0, None, 1.0), ("a", 1, 1, None, 0.5), ("b", 2, 0, None, 0.1)],
  )
  files = []
  for parts in ([first, second], [second, first]):
    path = tmp_path / "keep.npy"
    assert keep_probabilities.write(parts, path, "balance") == 4
    files.append(path.read_bytes())
  assert files[0] == files[1]
  keep = np.load(path, allow_pickle=False)
  assert keep.dtype == balanced.KEEP
  expected = sorted(
    (*uids_lib.uid(key), number, chance)
    for key, number, chance in (
      *(("a", 0, 0.0), ("a", 1, 0.5)),
      *(("b", 0, 0.5), ("f", 0, 1.0)),
    )
  )
  assert keep.tolist() == expected
  nothing = write_signals(tmp_path / "2", ROWS[3:])
  assert keep_probabilities.write([nothing], path, "balance") == 0
  assert len(np.load(path)) == 0


def test_file_of_many_captions_is_sorted(tmp_path):
  rng = np.random.default_rng(0)
  rows = [
    (str(i), i, 0, None, chance) for i, chance in enumerate(rng.random(999))
  ]
  parts = [write_signals(tmp_path / str(i), rows[i::3]) for i in range(3)]
  path = tmp_path / "keep.npy"
  assert keep_probabilities.write(parts, path, "balance") == 999
  keep = np.load(path)
  assert keep.tolist() == sorted(keep.tolist())
  found = {(row[0], row[1]): row[3] for row in keep.tolist()}
  for key, *_, chance in rows:
    assert found[uids_lib.uid(key)] == np.float32(chance)
