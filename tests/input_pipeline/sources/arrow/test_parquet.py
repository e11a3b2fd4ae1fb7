"""Tests of Parquet alone: schemas, row groups, files that change."""

import json
import logging
import pickle
import threading
import uuid

import fsspec
import pyarrow
import pytest
from pyarrow import parquet as pq

from input_pipeline import faults
from input_pipeline.sources.arrow import parquet
from input_pipeline.storage import kept, uids
from tests.input_pipeline.sources import pairs

ROWS = [{"jpg": pairs.png(i), "caption": f"text {i}"} for i in range(6)]
OTHER = pyarrow.table(
  {"jpg": [b"i"], "caption": ["a"], "number": [1], "right": [True]}
)


def _write(path, rows=ROWS, **options):
  pq.write_table(pyarrow.Table.from_pylist(rows), path, **options)


def _open(folder, **fields):
  source = pairs.source("parquet", folder / "*.parquet", **fields)
  return parquet.open_split(source, "", pairs.context(folder))


def _kind(records, index):
  with pytest.raises(faults.ExampleError) as caught:
    records[index]
  return caught.value.kind


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (
      {"image": ("webp",)},
      r"sources.main.image .* \['jpg', 'caption', .*\].*webp",
    ),
    ({"caption": ("caption", "alt")}, "sources.main.caption .*'alt'"),
    ({"caption": ("number",)}, "main.caption .* int64 in column number.*a.par"),
    ({"language_field": "lang"}, "sources.main.language_field .*'lang'"),
    ({"language_field": "number"}, "field must be text; got int64 .* number"),
    ({"uid": "id"}, "sources.main.uid must be among .*'id', in .*a.parquet"),
    ({"uid": "right"}, "main.uid must be text, bytes, .* got bool .* right"),
  ],
)
def test_fields_that_do_not_fit(tmp_path, fields, message):
  pq.write_table(OTHER, tmp_path / "a.parquet")
  with pytest.raises(ValueError, match=message):
    _open(tmp_path, **fields)


def test_files_that_do_not_fit(tmp_path):
  _write(tmp_path / "a.parquet", [{"x": 1}])
  with pytest.raises(ValueError, match=r"main.image must be given.*\['x'\]"):
    _open(tmp_path)
  _write(tmp_path / "a.parquet", [{"image": 1, "caption": "a"}])
  with pytest.raises(ValueError, match="main.image must be binary.*int64"):
    _open(tmp_path)
  _write(tmp_path / "a.parquet")
  _write(tmp_path / "b.parquet", [{"png": b"", "caption": "a"}])
  with pytest.raises(ValueError, match="b.parquet has other columns than"):
    _open(tmp_path)
  source = pairs.source("parquet", tmp_path / "a.parquet")
  with pytest.raises(ValueError, match="split must be \"\" .*'train'"):
    parquet.open_split(source, "train", pairs.context(tmp_path))


def _begins(data: bytes) -> dict[str, tuple[bytes, str]]:
  """Return name -> bytes of a file that is no Parquet, and its message."""
  return {
    "empty": (b"", "it is an empty file"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
    "page": (b"<!DOCTYPE html><html></html>", "an HTML page"),
    "text": (b"a,b\n1,2\n", r"it begins with b'a,b"),
    "cut": (data[:-9], "ends after .* bytes without a footer"),
    "mark": (b"PAR1", "ends after 4 bytes without a footer"),
    "encrypted": (data[:-4] + b"PARE", "footer is encrypted"),
  }


@pytest.mark.parametrize("name", _begins(b""))
def test_files_that_are_no_parquet(tmp_path, name):
  path = tmp_path / "a.parquet"
  _write(path)
  data, message = _begins(path.read_bytes())[name]
  path.write_bytes(data)
  with pytest.raises(ValueError, match=f"a.parquet cannot be .*{message}"):
    _open(tmp_path)


def test_files_without_rows(tmp_path):
  table = pyarrow.Table.from_pylist(ROWS)
  pq.write_table(table[:0], tmp_path / "a.parquet")
  with pq.ParquetWriter(tmp_path / "b.parquet", table.schema):
    pass
  with pytest.raises(ValueError, match="parquet has no rows to use"):
    _open(tmp_path)
  _write(tmp_path / "c.parquet")
  assert len(_open(tmp_path)) == len(ROWS)


def test_files_without_rows_may_have_any_columns(tmp_path):
  pq.write_table(pyarrow.table({}), tmp_path / "a.parquet")
  other = pyarrow.table({"x": pyarrow.nulls(0)})
  pq.write_table(other, tmp_path / "b.parquet")
  with pytest.raises(ValueError, match="parquet has no rows to use"):
    _open(tmp_path)
  _write(tmp_path / "c.parquet")
  records = _open(tmp_path)
  assert [records[i].texts["en"] for i in range(len(ROWS))] == [
    (row["caption"],) for row in ROWS
  ]


def test_rows_without_success_are_counted(tmp_path, caplog):
  columns = {
    "image": [pairs.png(1)] * 3,
    "caption": ["a", "b", "c"],
    "error_message": [None] * 3,
  }
  status = ["success", "failed_to_download", None]
  table = pyarrow.table(columns | {"status": status})
  pq.write_table(table, tmp_path / "a.parquet")
  assert len(_open(tmp_path)) == 1
  assert "has 2 rows whose status is not success, left out" in caplog.text
  table = pyarrow.table(columns | {"status": ["OK"] * 3})
  pq.write_table(table, tmp_path / "a.parquet")
  with pytest.raises(ValueError, match="no rows to use; it has 3 rows whose"):
    _open(tmp_path)


def test_types_that_differ_from_file_to_file(tmp_path):
  image, spoken = pairs.png(1), pyarrow.map_(pyarrow.string(), pyarrow.string())
  struct = pyarrow.array([{"bytes": image, "path": None}])
  columns = (
    (struct, pyarrow.nulls(1)),
    ([image], pyarrow.array([["a", "b"]], pyarrow.list_view(pyarrow.string()))),
    (struct, pyarrow.array([[("de", "a"), ("fr", None)]], spoken)),
    ([image], [b"\xff"]),
    (pyarrow.nulls(1), ["a"]),
    (pyarrow.array([list(image)], pyarrow.list_(pyarrow.uint8())), [b"a"]),
  )
  for number, (images, captions) in enumerate(columns):
    table = pyarrow.table({"image": images, "caption": captions})
    pq.write_table(table, tmp_path / f"{number}.parquet")
  records = _open(tmp_path)
  assert _kind(records, 0) == "caption_missing"
  assert records[1].texts == {"en": ("a", "b")}
  assert records[2].texts == {"de": ("a",)}
  assert _kind(records, 3) == "caption_broken"
  assert _kind(records, 4) == "image_missing"
  assert [records[i].image for i in (1, 2, 5)] == [image] * 3


def test_tars_that_became_tables(tmp_path):
  rows = [
    {
      "__key__": "000012",
      "__url__": "x.tar",
      "jpg": {"bytes": b"image", "path": "000012.jpg"},
      "json": {"caption": "in JSON", "lang": "fr", "id": 7, "n": 1},
    }
  ]
  _write(tmp_path / "a.parquet", rows)
  record = _open(tmp_path)[0]
  assert (record.key, record.image) == ("000012", b"image")
  assert record.texts == {"en": ("in JSON",)}
  record = _open(tmp_path, language_field="json.lang", uid="json.id")[0]
  assert (record.key, record.texts) == ("7", {"fr": ("in JSON",)})
  _write(tmp_path / "a.parquet", [rows[0] | {"txt": "a text"}])
  assert _open(tmp_path)[0].texts == {"en": ("a text",)}
  # The same as text, and a column of the whole name.
  rows[0]["json"] = json.dumps(rows[0]["json"])
  _write(tmp_path / "a.parquet", rows)
  fields = {"caption": ("json.caption",), "uid": "json.id"}
  record = _open(tmp_path, **fields)[0]
  assert (record.key, record.texts) == ("7", {"en": ("in JSON",)})
  _write(tmp_path / "a.parquet", [rows[0] | {"json.caption": "a column"}])
  assert _open(tmp_path, **fields)[0].texts == {"en": ("a column",)}


def test_columns_that_are_there_twice(tmp_path):
  names = ["jpg", "caption", "json", "json"]
  table = pyarrow.table([[b"i"], ["a"], [{"text": "b"}], ["c"]], names=names)
  pq.write_table(table, tmp_path / "a.parquet")
  assert _open(tmp_path)[0].texts == {"en": ("a",)}
  with pytest.raises(ValueError, match="a.parquet has the column json 2 times"):
    _open(tmp_path, caption=("json.text",))


def test_keys_of_all_types(tmp_path):
  number = uuid.UUID(int=2**99)
  for values, key in (
    (pyarrow.array([5], pyarrow.int8()), "5"),
    (pyarrow.array([2**64 - 1], pyarrow.uint64()), str(2**64 - 1)),
    (pyarrow.array([number], pyarrow.uuid()), number.hex),
    (pyarrow.array([number.bytes], pyarrow.binary_view()), number.hex),
    (pyarrow.array([number.hex]).dictionary_encode(), number.hex),
    (pyarrow.array([b"\xff"]).view(pyarrow.string()), "a.parquet:0:0"),
    (pyarrow.nulls(1), "a.parquet:0:0"),
  ):
    table = pyarrow.table({"jpg": [b"i"], "caption": ["a"], "key": values})
    pq.write_table(table, tmp_path / "a.parquet")
    records = _open(tmp_path)
    assert records[0].key == key
    assert records.uids().tolist() == [uids.uid(key)]


def test_several_columns_of_captions(tmp_path):
  rows = [{"jpg": b"i", "a": "one", "b": ["two", None, "three"]}]
  _write(tmp_path / "a.parquet", rows)
  record = _open(tmp_path, caption=("b", "a"), language="fr")[0]
  assert record.texts == {"fr": ("two", "three", "one")}
  # Without a column of keys: where the row is, not where the folder is.
  assert record.key == "a.parquet:0:0"


def test_a_file_that_changes_or_goes(tmp_path):
  path = tmp_path / "a.parquet"
  _write(path, row_group_size=2)
  records = _open(tmp_path)
  assert records[0].image == ROWS[0]["jpg"]
  _write(path, ROWS[:5], row_group_size=2)
  assert records[1].image == ROWS[1]["jpg"]  # of the row group that is kept
  assert _kind(records, 2) == "shard_changed"
  path.unlink()
  assert _kind(records, 4) == "file_missing"
  assert len(records.uids()) == len(records)


def test_damage_is_a_fault_of_its_row_group(tmp_path):
  path = tmp_path / "a.parquet"
  _write(
    *(path, ROWS),
    row_group_size=2,
    write_page_checksum=True,
    compression="none",
    write_statistics=False,
    use_dictionary=False,
  )
  data = bytearray(path.read_bytes())
  data[data.index(b"text 3")] ^= 1
  path.write_bytes(data)
  records = _open(tmp_path)
  assert _kind(records, 2) == _kind(records, 3) == "record_broken"
  assert records[4].texts == {"en": ("text 4",)}


@pytest.mark.parametrize("name", ["../out.png", "/etc/passwd", "file:///out"])
def test_paths_stay_in_the_folder(tmp_path, name):
  _write(tmp_path / "a.parquet", [{"image": name, "caption": "a"}])
  assert _kind(_open(tmp_path), 0) == "unsafe_member"


def test_files_at_a_url(tmp_path):
  fs = fsspec.filesystem("memory")
  _write(tmp_path / "a.parquet", row_group_size=2)
  rows = [{"jpg": None, "caption": "a"}, {"jpg": b"image", "caption": "b"}]
  _write(tmp_path / "b.parquet", rows)
  for name in ("a.parquet", "b.parquet"):
    fs.pipe(f"/prq/{name}", (tmp_path / name).read_bytes())
  source = pairs.source("parquet", "memory://prq/{a,b}.parquet")
  records = parquet.open_split(source, "", pairs.context(tmp_path))
  assert len(records) == 8
  assert records[5].image == ROWS[5]["jpg"]
  assert _kind(records, 6) == "image_missing"
  assert pickle.loads(pickle.dumps(records))[7].key == "b.parquet:0:1"
  fs.rm("/prq/b.parquet")
  assert _kind(pickle.loads(pickle.dumps(records)), 7) == "file_missing"


def test_large_row_groups_are_said(tmp_path, monkeypatch, caplog):
  # Limits as if these images were large.
  monkeypatch.setattr(parquet, "_WARN_BYTES", 600)
  monkeypatch.setattr(parquet, "_CACHE_BYTES", 0)
  with caplog.at_level(logging.WARNING):
    _write(tmp_path / "a.parquet", row_group_size=1)
    _open(tmp_path)
    assert not caplog.messages
    _write(tmp_path / "a.parquet", row_group_size=6)
    _open(tmp_path)
  (message,) = caplog.messages
  assert "data.sources.main.path: row groups have 6 rows" in message
  assert "--task=prepare" in message


def test_each_row_group_is_read_once(tmp_path, monkeypatch):
  _write(tmp_path / "a.parquet", row_group_size=3)
  records = _open(tmp_path)
  read, real = [], parquet.Records._read_columns

  def counted(self, number, names):
    read.append((number, names))
    return real(self, number, names)

  monkeypatch.setattr(parquet.Records, "_read_columns", counted)
  for index in (0, 2, 1, 4, 5, 0):
    records[index]
  assert read == [(0, ["jpg", "caption"]), (1, ["jpg", "caption"])]


def test_kept_is_bounded_and_makes_once():
  made = []
  things = kept.Kept(lambda key: (made.append(key) or key, 10 * key), 45)
  for key in (1, 2, 1, 3, 2, 1):  # 10 + 20; 3 has 30 and drops 2
    assert things[key] == key
  assert made == [1, 2, 3, 2, 1]
  assert things.num_bytes() <= 45
  things[9]  # larger than all that is kept
  assert things.num_bytes() == 90

  entered, leave = threading.Event(), threading.Event()

  def slow(key):
    made.append(key)
    entered.set()
    assert leave.wait(30)
    raise OSError("no")

  del made[:]
  things, errors = kept.Kept(slow, 10), []

  def ask():
    try:
      things[0]
    except OSError as error:
      errors.append(error)

  threads = [threading.Thread(target=ask) for _ in range(3)]
  threads[0].start()
  assert entered.wait(30)
  for thread in threads[1:]:
    thread.start()
  leave.set()
  for thread in threads:
    thread.join()
  assert len(errors) == 3
