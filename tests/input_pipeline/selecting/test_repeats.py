"""Selections by UIDs that several examples have are refused, and a way out."""

import csv
import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from input_pipeline import sources
from input_pipeline.selecting import balanced, repeats, subset
from input_pipeline.sources import array_record, record
from tests.input_pipeline.sources import pairs, tars

NUM = 6


def _tars(folder):
  """Write two folders of a tar, both numbered from 000000000."""
  for name in ("cc3m", "cc12m"):
    (folder / name).mkdir()
    members = {}
    for i in range(NUM):
      members[f"{i:09d}.png"] = pairs.png(i)
      members[f"{i:09d}.txt"] = f"{name} {i}".encode()
      members[f"{i:09d}.json"] = json.dumps({"id": i}).encode()
    tars.write(folder / name / "00000.tar", members)
  return "webdataset", folder / "{cc3m,cc12m}" / "*.tar"


def _parquet(folder):
  for name in ("a", "b"):
    rows = [
      {"key": i, "jpg": pairs.png(i), "caption": f"{name} {i}"}
      for i in range(NUM)
    ]
    parquet.write_table(
      pa.Table.from_pylist(rows), folder / f"{name}.parquet", row_group_size=4
    )
  return "parquet", folder / "*.parquet"


def _rows(folder):
  (folder / "0.png").write_bytes(pairs.png(0))
  return [
    {"image": "0.png", "caption": f"caption {i}", "key": str(i // 2)}
    for i in range(2 * NUM)
  ]


def _jsonl(folder):
  lines = [json.dumps(row) + "\n" for row in _rows(folder)]
  (folder / "rows.jsonl").write_text("".join(lines))
  return "table", folder / "rows.jsonl"


def _csv(folder):
  with open(folder / "rows.csv", "w", newline="") as file:
    writer = csv.DictWriter(file, ["image", "caption", "key"])
    writer.writeheader()
    writer.writerows(_rows(folder))
  return "table", folder / "rows.csv"


def _folder(folder):
  """Write two folders of images, each with a table that numbers from 0."""
  for name in ("a", "b"):
    (folder / "images" / name).mkdir(parents=True)
    lines = []
    for i in range(NUM):
      (folder / "images" / name / f"{i}.png").write_bytes(pairs.png(i))
      row = {"file_name": f"{i}.png", "text": f"{name} {i}", "key": float(i)}
      lines.append(json.dumps(row) + "\n")
    path = folder / "images" / name / "metadata.jsonl"
    path.write_text("".join(lines))
  return "folder", folder / "images"


def _json_beside(folder):
  (folder / "images").mkdir()
  for i in range(2 * NUM):
    (folder / "images" / f"{i}.png").write_bytes(pairs.png(i))
    facts = {"caption": f"a {i}", "id": i // 2}
    (folder / "images" / f"{i}.json").write_text(json.dumps(facts))
  return "folder", folder / "images"


def _prepared(folder):
  array_record.write(
    folder / "a.array_record",
    [
      record.Record(str(i // 2), pairs.png(0), {"en": ("a",)})
      for i in range(2 * NUM)
    ],
  )
  return "array_record", folder / "*.array_record"


def _open(source, folder):
  place = pairs.context(folder)
  opened = sources.FORMATS[source.format].open_split(source, "", place)
  return opened, place


def _select(folder, format, path, uids, **fields):
  np.save(folder / "subset.npy", np.sort(uids))
  source = pairs.source(
    format, path, subset=str(folder / "subset.npy"), **fields
  )
  opened, place = _open(source, folder)
  return subset.select(opened, source, place)


@pytest.mark.parametrize(
  ("make", "uid", "message"),
  [
    (_tars, "file+key", r"cc3m/00000\.tar .*/cc12m/00000\.tar.*\n.*file\+key"),
    (_tars, "file+json.id", r"cc3m/00000\.tar .*\n.*file\+key"),
    (_parquet, "file+key", r"a\.parquet .*/b\.parquet.*\n.*file\+key"),
    (_parquet, "file+row", r"a\.parquet .*/b\.parquet.*\n.*file\+key"),
    (_jsonl, "file+row", r"rows\.jsonl and .*/rows\.jsonl.*\n.*file\+row"),
    (_csv, "file+row", r"rows\.csv and .*/rows\.csv.*\n.*file\+row"),
    (_folder, "file+key", r"/a/0\.png .*/b/0\.png.*\n.*file\+key"),
    (_folder, "file+row", r"/a/0\.png .*/b/0\.png.*\n.*file\+key"),
    (_prepared, None, r"a\.array_record and .*\n.*Prepare the data again"),
  ],
)
def test_are_named_and_the_way_out_works(tmp_path, make, uid, message):
  format, path = make(tmp_path)
  opened, _ = _open(pairs.source(format, path), tmp_path)
  uids = opened.uids()
  assert len(np.unique(uids)) == NUM
  assert len(opened) == 2 * NUM  # without a selection it costs nothing
  expected = rf"main\.subset: {NUM} UIDs .*example \d+ of the source in .*"
  with pytest.raises(ValueError, match=expected + message) as error:
    _select(tmp_path, format, path, uids)
  assert len(str(error.value).splitlines()) <= 3
  if uid is None:
    return
  whole, _ = _open(pairs.source(format, path, uid=uid), tmp_path)
  other = whole.uids()
  assert len(np.unique(other)) == 2 * NUM
  kept = [1, 2, 7]
  chosen = _select(tmp_path, format, path, other[kept], uid=uid)
  assert [tuple(chosen[i].texts["en"]) for i in range(3)] == [
    tuple(opened[i].texts["en"]) for i in kept
  ]
  assert chosen.path_of(2) == opened.path_of(7)
  # The same key in the same file has the same UID, in whatever order.
  np.testing.assert_array_equal(chosen.uids(), other[kept])


def test_only_those_of_the_selection_matter(tmp_path):
  """Old selections go on where they name no UID of several examples."""
  rows = [
    {"key": key, "jpg": pairs.png(0), "caption": f"row {i}"}
    for i, key in enumerate(["a", "b", "b", "c"])
  ]
  path = tmp_path / "a.parquet"
  parquet.write_table(pa.Table.from_pylist(rows), path)
  opened, _ = _open(pairs.source("parquet", path), tmp_path)
  chosen = _select(tmp_path, "parquet", path, opened.uids()[[0, 3]])
  assert [chosen[i].texts["en"][0] for i in range(2)] == ["row 0", "row 3"]
  with pytest.raises(ValueError, match=r": 1 UIDs .*example 1 .*example 2 of"):
    _select(tmp_path, "parquet", path, opened.uids()[[0, 1]])


def test_keep_probabilities_too(tmp_path):
  format, path = _tars(tmp_path)
  opened, _ = _open(pairs.source(format, path), tmp_path)
  rows = [(*uid, 0, 0.5) for uid in np.unique(opened.uids()).tolist()]
  np.save(tmp_path / "keep.npy", np.array(rows, balanced.KEEP))
  keep = str(tmp_path / "keep.npy")
  source = pairs.source(format, path, keep=keep)
  opened, place = _open(source, tmp_path)
  with pytest.raises(ValueError, match=r"main\.keep: 6 UIDs .*cc12m"):
    balanced.select(opened, source, place)
  source = pairs.source(format, path, keep=keep, uid="file+key")
  opened, place = _open(source, tmp_path)
  rows = [(*uid, 0, 0.5) for uid in np.unique(opened.uids()).tolist()]
  np.save(tmp_path / "keep.npy", np.array(rows, balanced.KEEP))
  assert len(balanced.select(opened, source, place)) == 2 * NUM
  for wrong in (float("nan"), float("inf"), -0.1, 1.5):
    rows[3] = (*rows[3][:3], wrong)
    np.save(tmp_path / "keep.npy", np.array(rows, balanced.KEEP))
    with pytest.raises(ValueError, match=r"from 0 to 1; row 3 has "):
      balanced.select(opened, source, place)


def test_counter():
  rng = np.random.default_rng(0)
  index = rng.integers(0, 50, 60)
  expected = np.flatnonzero(np.bincount(index, minlength=50) > 1)
  for size in (1, 7, 60):
    counter = repeats.Counter(50)
    for start in range(0, 60, size):
      counter.add(index[start : start + size])
    assert counter.repeated().tolist() == expected.tolist()
  many = repeats.Counter(1)
  for _ in range(300):  # more than a byte counts
    many.add(np.zeros(1, np.int64))
  assert many.repeated().tolist() == [0]


def test_uid_is_of_known_forms(tmp_path):
  format, path = _tars(tmp_path)
  with pytest.raises(ValueError, match=r'main.uid must be .*"file\+key"'):
    _open(pairs.source(format, path, uid="file+row"), tmp_path)
  format, path = _parquet(tmp_path)
  with pytest.raises(ValueError, match=r"main.uid must be .*got 'none'"):
    _open(pairs.source(format, path, uid="file+none"), tmp_path)


def test_ids_beside_images(tmp_path):
  """0 is an id too."""
  format, path = _json_beside(tmp_path)
  opened, _ = _open(pairs.source(format, path, uid="json.id"), tmp_path)
  assert opened[0].key == "0"
  with pytest.raises(
    ValueError, match=r"6 UIDs .*/images/0\.png .*/images/1\.png"
  ):
    _select(tmp_path, format, path, opened.uids(), uid="json.id")
  plain, _ = _open(pairs.source(format, path), tmp_path)
  opened, _ = _open(pairs.source(format, path, uid="file+key"), tmp_path)
  np.testing.assert_array_equal(opened.uids(), plain.uids())
  with pytest.raises(ValueError, match=r'"folder"; got .file\+id.'):
    _open(pairs.source(format, path, uid="file+id"), tmp_path)
