"""keep.npy of signals, and the examples that a loader draws by it."""

import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from curation import keep_probabilities, pool
from input_pipeline.sources import balanced, record
from tests.input_pipeline.sources import pairs, tars


def write_signals(path, rows):
  """Write (key, place, caption, dropped_by, keep_probability)."""
  uids = np.array([record.uid(key) for key, *_ in rows], record.UID)
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
  # Of an image that another shard has too, the more probable caption.
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
    (*record.uid(key), number, chance)
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
    assert found[record.uid(key)] == np.float32(chance)


def make_source(tmp_path, captions, chances):
  """Return the records of images with some captions, and their keep file."""
  members, rows = {}, []
  for place, (texts, some) in enumerate(zip(captions, chances, strict=True)):
    members[f"{place}.png"] = pairs.png(place)
    members[f"{place}.json"] = json.dumps({"texts": texts}).encode()
    rows += [
      (str(place), place, number, None, chance)
      for number, chance in enumerate(some)
    ]
  tars.write(tmp_path / "0.tar", members)
  part = write_signals(tmp_path / "signals", rows)
  keep_probabilities.write([part], tmp_path / "keep.npy", "balance")
  return pairs.source(
    "webdataset", tmp_path / "0.tar", keep=str(tmp_path / "keep.npy")
  )


def test_draws_are_in_proportion_to_the_probabilities(tmp_path):
  from input_pipeline.sources import webdataset

  chances = [[1.0], [0.0], [0.5, 0.1], [0.2]]
  captions = [["a"], ["b"], ["c", "d"], ["e"]]
  source = make_source(tmp_path, captions, chances)
  place = pairs.place(tmp_path)
  records = webdataset.open_split(source, "", place)
  found = balanced.select(records, source, place)
  assert [found[i].key for i in range(len(found))] == ["0", "2", "3"]
  assert found.uids().tolist() == records.uids()[[0, 2, 3]].tolist()
  assert found.mean_keep == pytest.approx((1.0 + 0.3 + 0.2) / 3)
  num = 6000
  draws = [found.draw(0, position, 0, position % 3) for position in range(num)]
  assert draws == [found.draw(0, i, 0, i % 3) for i in range(num)]
  assert draws != [found.draw(1, i, 0, i % 3) for i in range(num)]
  counts = {draw: draws.count(draw) for draw in set(draws)}
  expected = {(0, 0): 1.0, (1, 0): 0.25, (1, 1): 0.05, (2, 0): 0.2}
  assert set(counts) == set(expected)
  for draw, share in expected.items():
    share /= sum(expected.values())
    # Within four standard deviations of chance; the draws are fixed.
    deviation = np.sqrt(num * share * (1 - share))
    assert abs(counts[draw] - num * share) < 4 * deviation


def test_keep_files_of_no_use(tmp_path):
  from input_pipeline.sources import webdataset

  source = make_source(tmp_path, [["a"]], [[0.5]])
  place = pairs.place(tmp_path)
  records = webdataset.open_split(source, "", place)
  path = tmp_path / "keep.npy"
  np.save(path, np.zeros(3, record.UID))
  with pytest.raises(ValueError, match=r"data.sources.main.keep must be keep"):
    balanced.select(records, source, place)
  np.save(path, np.zeros(3, balanced.KEEP))
  with pytest.raises(ValueError, match=r"keep=.* keeps none of the 1 examples"):
    balanced.select(records, source, place)
