"""Odd tars: all examples in them, and a line that names what is odd."""

import bz2
import gzip
import lzma
import re

import pytest

from input_pipeline.storage import files, tar_index, tar_scan
from input_pipeline.storage import uids as uids_lib
from tests.input_pipeline.sources import tars
from tests.input_pipeline.storage import test_file_kinds

PAIR = {"k.jpg": b"image", "k.txt": b"a dog"}
PAIR_BYTES = tars.data(PAIR)
OTHER = tars.data({"l.jpg": b"image", "l.txt": b"a cat"})


def _scan(tmp_path, data: bytes) -> tar_scan.Scan:
  path = tmp_path / "x.tar"
  path.write_bytes(data)
  return tar_scan.scan(files.facts(str(path)), "")


@pytest.mark.parametrize(
  ("data", "starts", "warning"),
  [
    (PAIR_BYTES, [0], ""),
    # Padding of any length is no news.
    (PAIR_BYTES[:3072], [0], ""),
    (PAIR_BYTES[:2560], [0], ""),
    (PAIR_BYTES[:2300], [0], ""),
    (PAIR_BYTES + bytes(2_000_000), [0], ""),
    (PAIR_BYTES + bytes(777), [0], ""),
    (PAIR_BYTES[:2048], [0], r"no end mark at byte 2048: is it cut short\?"),
    (
      PAIR_BYTES[:1540],
      [0],
      "cut short: it ends at byte 1540, within 'k.txt' of bytes 1536 to 1541",
    ),
    (
      PAIR_BYTES[:1200],
      [0, 1024],
      r"ends within the header at byte 1024; bytes 1024 to 1200 are not used",
    ),
    (
      PAIR_BYTES[:1024] + b"x" * 512 + PAIR_BYTES,
      [0, 1024],
      "no header at byte 1024; bytes 1024 to 11776 are not used",
    ),
    # Joined by cat, however small.
    (PAIR_BYTES + OTHER, [0, 10240], "2 tars joined.* begins at byte 10240"),
    (PAIR_BYTES[:3072] + OTHER[:3072], [0, 3072], "joined.* at byte 3072"),
    (PAIR_BYTES[:2560] + OTHER, [0, 2560], "joined.* at byte 2560"),
    (PAIR_BYTES[:3000] + OTHER, [0, 3000], "joined.* at byte 3000"),
    (PAIR_BYTES + bytes(99_999) + OTHER, [0, 110_239], "at byte 110239"),
    (bytes(1024) + OTHER, [1024], "joined.* at byte 1024"),
    (PAIR_BYTES[:2048] + OTHER, [0, 2048], ""),
    (
      PAIR_BYTES + b"garbage",
      [0],
      "bytes 10240 to 10247, behind the end of the tar, are not used: they "
      "begin with b'garbage'",
    ),
    (
      PAIR_BYTES[:3072] + gzip.compress(OTHER, mtime=0),
      [0],
      "they are gzip data",
    ),
    (bytes(10240), [], "has no example, .*; it has no file"),
    (tars.data({"a": b"", "d/b": b""}), [], "has no example.* it has a, d/b$"),
  ],
)
def test_ends(tmp_path, data, starts, warning):
  spans, pieces, warnings = _scan(tmp_path, data)
  assert spans["start"].tolist() == starts
  assert not len(pieces)
  if not warning:
    assert warnings == []
  else:
    assert re.search(warning, warnings[-1])
    assert all("x.tar" in text for text in warnings)


def test_three_joined_tars_of_the_same_keys(tmp_path):
  spans, pieces, warnings = _scan(tmp_path, PAIR_BYTES * 3)
  assert spans["start"].tolist() == [0, 10240, 20480]
  assert not len(pieces)
  assert "3 tars joined" in warnings[0]
  assert "in several of its joined tars: 2, 'k' the first" in warnings[1]


def test_members_apart(tmp_path):
  members = [("a.jpg", b"A"), ("b.jpg", b"B"), ("c.jpg", b"C")]
  members += [("c.txt", b"c"), ("b.txt", b"b"), ("a.txt", b"a")]
  members += [("a.json", b"{}"), ("d.jpg", b"D"), ("b.json", b"{}")]
  spans, pieces, warnings = _scan(tmp_path, tars.data(members))
  assert spans["start"].tolist() == [0, 1024, 2048, 7168]
  # c.jpg is followed by c.txt, and a.txt by a.json.
  assert spans["length"].tolist() == [513, 513, 1537, 513]
  assert pieces.tolist() == [(0, 5120, 1538), (1, 4096, 513), (1, 8192, 514)]
  assert warnings == [
    f"{tmp_path}/x.tar: examples whose members do not follow each other, so "
    "that each takes several reads: 2; `tar --sort=name` writes them together"
  ]


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (
      gzip.compress(PAIR_BYTES, mtime=0),
      "no tar but gzip data, .*: gunzip it first",
    ),
    (bz2.compress(PAIR_BYTES), "no tar but bzip2 data, .*: bunzip2 it"),
    (lzma.compress(PAIR_BYTES), "no tar but xz data, .*: unxz it first"),
    (
      b"\x28\xb5\x2f\xfd" + bytes(999),
      "no tar but zstd data, .*: unzstd it first",
    ),
    (
      test_file_kinds._zip(),
      "no tar but a zip file: unpack it, and write a tar",
    ),
    (
      test_file_kinds._parquet(),
      "no tar but a Parquet file: format=parquet reads it",
    ),
    (
      b"<!DOCTYPE html>" * 9,
      "no tar but an HTML page, such as that of a failed",
    ),
    (
      b"<!DOCTYPE html>" * 99,
      "no tar but an HTML page, such as that of a failed",
    ),
    (
      test_file_kinds._LFS,
      "no tar but a Git LFS pointer .*`git lfs pull` fetches it",
    ),
    (b"", "no tar but an empty file"),
    (b"Not Found", "no tar: it begins with b'Not Found'"),
    (b"\1" * 600, r"no tar: it begins with b'\\x01"),
    (b"l" + PAIR_BYTES[1:], "a broken tar: no header at byte 0"),
  ],
)
def test_what_is_no_tar(tmp_path, data, message):
  spans, pieces, warnings = _scan(tmp_path, data)
  assert spans.tolist() == [(0, 0, (0, 0))]
  assert not len(pieces)
  (warning,) = warnings
  assert re.search(f"x.tar is {message}", warning)
  # Wrong files are named each time, and alone they are refused.
  path = tars.write(tmp_path / "good.tar", PAIR)
  for _ in range(2):
    with pytest.raises(ValueError, match=f"x.tar is {message}"):
      _prepare(tmp_path, "x.tar")
  both = tar_index.read(_prepare(tmp_path, "{x,good}.tar"))
  assert both.stops == (1, 2)
  assert both.warnings == ((warning,), ())
  path.write_bytes(data)
  with pytest.raises(ValueError, match="; nor is another of the 2 files a tar"):
    _prepare(tmp_path, "{x,good}.tar")


def _prepare(folder, pattern):
  return tar_index.prepare(
    files.find(f"{folder}/{pattern}", "path"),
    uid_field="",
    cache_dir=folder / "cache",
    name="data.sources.main",
  )


@pytest.mark.parametrize(
  ("value", "key"),
  [
    ("7", "7"),
    ("7.0", "7"),
    ("-0.0", "0"),
    ('"7.0"', "7.0"),
    (str(2**53 - 1) + ".0", str(2**53 - 1)),
    (str(10**20), str(10**20)),
    ("7.5", "7.5"),
    # Floats that may be several whole numbers, and no names.
    *((text, None) for text in ("1e17", "NaN", "Infinity", "null", "true")),
  ],
)
def test_uids_of_numbers(value, key):
  found = tar_scan.uid("0", "id", f'{{"id": {value}}}'.encode())
  assert found == ((0, 0) if key is None else uids_lib.uid(key))


@pytest.mark.parametrize(
  ("data", "key"),
  [
    ('{"a": {"id": "7", "id": "8"}}', None),
    ('{"a": {"id": "8"}, "a": {"id": "7"}}', None),
    ('{"a": {"id": "7", "id": "7"}, "b": 1, "b": 2}', "7"),
  ],
)
def test_uids_that_are_there_twice(data, key):
  found = tar_scan.uid("0", "a.id", data.encode())
  assert found == ((0, 0) if key is None else uids_lib.uid(key))
