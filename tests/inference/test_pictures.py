"""Pictures of folders, patterns, tars, Parquet and tables, with names."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from inference import pictures
from input_pipeline import faults


def _png(seed):
  pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "PNG")
  return file.getvalue()


def _tar(path, members):
  with tarfile.open(path, "w") as tar:
    for name, data in members:
      info = tarfile.TarInfo(name)
      info.size = len(data)
      tar.addfile(info, io.BytesIO(data))


def _read(pattern, tmp_path, **fields):
  found = pictures.find(str(pattern), cache_dir=tmp_path / "cache", **fields)
  return [found[n] for n in range(len(found))]


@pytest.fixture
def folder(tmp_path):
  made = tmp_path / "photos"
  (made / "deep").mkdir(parents=True)
  for n in range(3):
    (made / f"{n}.png").write_bytes(_png(n))
  (made / "0.txt").write_text("a cat\n")
  (made / "deep" / "3.png").write_bytes(_png(3))
  return made


def test_a_folder_and_a_pattern(folder, tmp_path):
  found = _read(folder, tmp_path)
  assert [x.name for x in found] == [f"{folder}/{n}.png" for n in range(3)]
  assert [x.data for x in found] == [_png(n) for n in range(3)]
  assert all(not x.captions for x in found)
  deep = _read(folder, tmp_path, recursive=True)
  assert [x.name for x in deep][3:] == [f"{folder}/deep/3.png"]
  assert _read(f"{folder}/[12].png", tmp_path) == found[1:]
  spoken = _read(folder, tmp_path, captions=())
  assert [x.captions for x in spoken] == [("a cat",), (), ()]
  (folder / "1.txt").write_bytes(b"\xff")
  with pytest.raises(faults.ExampleError, match="not UTF-8"):
    _read(folder, tmp_path, captions=())


@pytest.mark.parametrize("as_folder", [False, True])
def test_tars(tmp_path, as_folder):
  """A caption is optional, and a member that is no picture is a fault."""
  place = tmp_path / "shards"
  place.mkdir()
  first = [("a.png", _png(0)), ("a.txt", b"a dog"), ("b.png", _png(1))]
  _tar(place / "0.tar", first)
  _tar(place / "1.tar", [("c.txt", b"alone"), ("d.png", _png(2))])
  pattern = place if as_folder else place / "{0..1}.tar"
  found = pictures.find(str(pattern), cache_dir=tmp_path / "cache")
  names = [f"{place}/0.tar#a", f"{place}/0.tar#b", f"{place}/1.tar#d"]
  read = [found[n] for n in (0, 1, 3)]
  assert [x.name for x in read] == names
  assert [x.captions for x in read] == [("a dog",), (), ()]
  assert [x.data for x in read] == [_png(n) for n in range(3)]
  with pytest.raises(faults.ExampleError, match="none of them is one of jpg"):
    found[2]
  assert found.name(2) == f"{place}/1.tar#2"
  before = found.fingerprint()
  _tar(place / "1.tar", [("e.png", _png(2)), ("f.png", _png(3))])
  again = pictures.find(str(pattern), cache_dir=tmp_path / "cache")
  assert again.fingerprint() != before


@pytest.mark.parametrize("captions", [None, ["a", "b", None]])
def test_parquet(tmp_path, captions):
  columns = {"image": [_png(n) for n in range(3)], "key": ["x", "y", "z"]}
  if captions:
    columns["caption"] = captions
  pq.write_table(pa.table(columns), tmp_path / "a.parquet")
  found = _read(tmp_path / "*.parquet", tmp_path)
  assert [x.name for x in found] == [f"{tmp_path}/a.parquet#{k}" for k in "xyz"]
  expected = [("a",), ("b",), ()] if captions else [(), (), ()]
  assert [x.captions for x in found] == expected


def test_tables(folder, tmp_path):
  """Several tables, each with its images beside it."""
  rows = [{"file_name": "1.png", "label": "x"}, {"file_name": "gone.png"}]
  text = "".join(json.dumps(row) + "\n" for row in rows)
  (folder / "metadata.jsonl").write_text(text)
  (folder / "deep" / "list.csv").write_text("path,label\n3.png,y\n")
  found = pictures.find(
    f"{folder}/{{metadata.jsonl,deep/list.csv}}",
    captions=["label"],
    cache_dir=tmp_path / "cache",
  )
  assert found[0] == pictures.Picture(f"{folder}/deep/3.png", _png(3), ("y",))
  assert found[1] == pictures.Picture(f"{folder}/1.png", _png(1), ("x",))
  with pytest.raises(faults.ExampleError, match=r"gone\.png[^;]*$"):
    found[2]
  with pytest.raises(ValueError, match=r"^--captions must be among the colu"):
    _read(folder / "metadata.jsonl", tmp_path, captions=["no_such"])
  assert found.name(2) == f"{folder}/gone.png"


def test_what_is_refused(folder, tmp_path):
  _tar(folder / "0.tar", [("a.png", _png(0))])
  with pytest.raises(ValueError, match=r"holds 3 images and 1 tars; name one"):
    _read(folder, tmp_path)
  with pytest.raises(ValueError, match=r"files of several kinds: .*0\.tar"):
    _read(f"{folder}/*.[tp]*", tmp_path)
  with pytest.raises(ValueError, match=r"--images=.*nowhere is no image"):
    _read(tmp_path / "nowhere", tmp_path)
  empty = tmp_path / "empty"
  (empty / "below").mkdir(parents=True)
  (empty / "below" / "a.png").write_bytes(_png(0))
  (empty / "metadata.csv").write_text("file_name\nbelow/a.png\n")
  with pytest.raises(ValueError, match=r"metadata\.csv; --recursive reads"):
    _read(empty, tmp_path)
  assert len(_read(empty, tmp_path, recursive=True)) == 1
  assert "2 sub-folders" in "".join(pictures.unread(str(tmp_path)))
