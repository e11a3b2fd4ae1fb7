import pathlib

import hypothesis
import msgpack
import numpy as np
import pytest
from hypothesis import strategies

from input_pipeline import faults
from input_pipeline.sources import array_record

RECORDS = strategies.builds(
  array_record.Record,
  key=strategies.text(),
  image=strategies.binary(),
  texts=strategies.dictionaries(
    strategies.sampled_from(["en", "de", "zh"]),
    strategies.lists(strategies.text()).map(tuple),
  ),
)


@hypothesis.given(RECORDS)
def test_pack_round_trip(record):
  assert array_record.unpack(array_record.pack(record)) == record


@hypothesis.given(strategies.binary())
def test_unpack_refuses_bytes(data):
  with pytest.raises(ValueError, match="not a record"):
    array_record.unpack(data)


@pytest.mark.parametrize(
  "fields",
  [
    {"key": "a"},
    {"key": "a", "image": b"", "texts": {}, "x": 1},
    [1],
    {"key": 1, "image": b"", "texts": {}},
    {"key": "a", "image": "a", "texts": {}},
    {"key": "a", "image": b"", "texts": {"en": [1]}},
  ],
)
def test_unpack_refuses_other_fields(fields):
  with pytest.raises(ValueError, match="expected a msgpack map of key, image"):
    array_record.unpack(msgpack.packb(fields))


def _records(num: int, start: int = 0) -> list[array_record.Record]:
  return [
    array_record.Record(str(i), bytes(i), {"en": (f"name {i}",)})
    for i in range(start, start + num)
  ]


def test_random_access_over_files(tmp_path):
  paths = [tmp_path / name for name in ("a", "empty", "b")]
  for path, records in zip(
    paths, (_records(5), [], _records(4, 5)), strict=True
  ):
    assert array_record.write(path, records) == len(records)
  records = array_record.Records(*paths)
  assert len(records) == 9
  for index in (8, 0, 5, 4):
    assert records[index] == _records(9)[index]
  assert list(records) == _records(9)


def test_empty(tmp_path):
  array_record.write(tmp_path / "a", [])
  assert list(array_record.Records(tmp_path / "a")) == []


def test_missing_file(tmp_path):
  with pytest.raises(FileNotFoundError, match="no record file .*gone"):
    array_record.Records(tmp_path / "gone")


def test_broken_files_and_records(tmp_path):
  path = tmp_path / "a"
  image = bytes(range(256)) * 100
  some = [array_record.Record(key, image, {}) for key in "abc"]
  array_record.write(path, some, array_record.UNCOMPRESSED)
  data = bytearray(path.read_bytes())
  assert image in data  # neither compressed nor cut up
  data[len(image) + 1000] ^= 1  # in the second record
  path.write_bytes(data)
  records = array_record.Records(path)
  assert [records[0], records[2]] == [some[0], some[2]]
  with pytest.raises(faults.ExampleError, match="record 1 of .*hash") as caught:
    records[1]
  assert caught.value.kind == "record_broken"
  assert len(np.unique(records.uids())) == 3
  with pytest.raises(IndexError):
    records[-1]

  records = array_record.Records(path)
  path.unlink()
  with pytest.raises(faults.ExampleError, match="is gone") as caught:
    records[0]
  assert caught.value.kind == "file_missing"
  path.write_bytes(data[:30_000])
  with pytest.raises(
    ValueError, match="a is not an ArrayRecord file, or .* cut"
  ):
    array_record.Records(path)
  path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid 1\n")
  with pytest.raises(ValueError, match="no ArrayRecord .* a Git LFS pointer"):
    array_record.Records(path)


def test_cannot_write(tmp_path):
  with pytest.raises(OSError, match="gone"):
    array_record.write(tmp_path / "gone" / "a", _records(1))


@pytest.mark.skipif(
  not pathlib.Path("/dev/full").exists(), reason="a device of Linux"
)
def test_full_disk():
  with pytest.raises(OSError, match="No space left"):
    array_record.write(pathlib.Path("/dev/full"), _records(10))
