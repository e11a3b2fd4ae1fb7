"""Images of a table are read below one folder, which a section may name."""

import json
import os
import unicodedata

import pyarrow
import pytest
from pyarrow import parquet

from input_pipeline import faults, sources
from input_pipeline.sources import named_file
from tests.curation.pools import reading
from tests.input_pipeline.sources import pairs

FORMATS = ("jsonl", "csv", "tsv", "parquet")


@pytest.fixture
def photos(tmp_path):
  """Return a folder of images that is not below that of the tables."""
  folder = tmp_path / "photos"
  (folder / "a").mkdir(parents=True)
  (folder / "a" / "0.png").write_bytes(pairs.png(0))
  (tmp_path / "secret.png").write_bytes(pairs.png(1))
  (folder / "out.png").symlink_to(tmp_path / "secret.png")
  (tmp_path / "link").symlink_to(folder)
  return folder


def _table(tmp_path, form, names, **fields):
  """Return a source of a table in open_clip's columns, and its records."""
  folder = tmp_path / "tables"
  folder.mkdir(exist_ok=True)
  path = folder / f"train.{form}"
  rows = [{"filepath": str(name), "title": "a cat"} for name in names]
  if form == "parquet":
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
  elif form == "jsonl":
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
  else:
    mark = {"csv": ",", "tsv": "\t"}[form]
    lines = [mark.join(row.values()) for row in rows]
    path.write_text("\n".join([f"filepath{mark}title", *lines]) + "\n")
  format = "parquet" if form == "parquet" else "table"
  source = pairs.source(format, path, **fields)
  opened = sources.FORMATS[format].open_split(
    source, "", pairs.context(tmp_path)
  )
  return source, opened


def _where(form, index):
  """Return how a message names a row."""
  first = {"jsonl": 1, "csv": 2, "tsv": 2}  # behind the header
  return f"line {index + first[form]} of" if form in first else f"row {index}"


@pytest.mark.parametrize("form", FORMATS)
def test_image_root(tmp_path, photos, form):
  names = (
    *(photos / "a" / "0.png", "a/0.png", f"file://{photos}/a/0.png"),
    *(tmp_path / "link" / "a" / "0.png", f"{photos}/./b/../a/0.png"),
  )
  (photos / "b").mkdir()
  for root in (photos, tmp_path / "link", f"{photos}/", f"file://{photos}"):
    source, records = _table(tmp_path, form, names, image_root=str(root))
    for index in range(len(names)):
      assert records[index].image == pairs.png(0), (root, names[index])
    opened, shards = reading.open_pool(source, tmp_path)
    rows = reading.rows_of(opened, shards, ("image",))
    assert [row["image"] for row in rows] == [pairs.png(0)] * len(names)


@pytest.mark.parametrize("form", FORMATS)
def test_outside_of_image_root(tmp_path, photos, form):
  names = (
    *(tmp_path / "secret.png", photos / "out.png", "../secret.png"),
    *(f"{photos}/../secret.png", f"file://{tmp_path}/secret.png", photos),
  )
  source, records = _table(tmp_path, form, names, image_root=str(photos))
  for index, name in enumerate(names):
    plain = str(name).removeprefix("file://")
    with pytest.raises(
      faults.ExampleError,
      match=f"{_where(form, index)}.*train.{form}: '{plain}'.* is not below "
      f"the folder {photos}; name one above it in data.sources.main.image_root",
    ) as caught:
      records[index]
    assert caught.value.kind == "unsafe_member"
  opened, shards = reading.open_pool(source, tmp_path)
  for row in reading.rows_of(opened, shards, ("image",)):
    assert row["fault"].startswith("unsafe_member: '")
    assert "in pool.image_root" in row["fault"]


@pytest.mark.parametrize("form", FORMATS)
def test_an_absolute_path_without_image_root(tmp_path, photos, form):
  name = photos / "a" / "0.png"
  _, records = _table(tmp_path, form, [name])
  with pytest.raises(
    faults.ExampleError,
    match=f"{_where(form, 0)}.*train.{form}: '{name}' is not below the folder "
    ".*tables; name one above it in data.sources.main.image_root",
  ):
    records[0]


def test_image_root_must_be_a_folder(tmp_path, photos):
  for fields, message in (
    ({"image_root": str(tmp_path / "none")}, "main.image_root must be a fold"),
    ({"image_root": str(photos / "out.png")}, "main.image_root must be a fold"),
  ):
    with pytest.raises(ValueError, match=message):
      pairs.source("table", "x.csv", **fields).check("main")
  with pytest.raises(ValueError, match='not used by format="webdataset"'):
    pairs.source("webdataset", "x", image_root=str(photos)).check("main")
  pairs.source("table", "x.csv", image_root="s3://bucket/x").check("main")


def test_image_root_changes_the_fingerprint(tmp_path, photos):
  for form in FORMATS:
    prints = {
      _table(tmp_path, form, ["0.png"], image_root=root)[1].fingerprint()
      for root in ("", str(photos), str(tmp_path))
    }
    assert len(prints) == 3


def test_both_forms_of_accents(tmp_path):
  composed, decomposed = (
    unicodedata.normalize(form, "\u00e9.png") for form in ("NFC", "NFD")
  )
  for name, other in ((composed, decomposed), (decomposed, composed)):
    (tmp_path / name).write_bytes(name.encode())
    read = named_file.read(other, str(tmp_path), "main")
    assert read == name.encode()
    os.remove(tmp_path / name)
  with pytest.raises(faults.ExampleError, match="there is no"):
    named_file.read(composed, str(tmp_path), "main")


@pytest.mark.parametrize(
  "name", ["a b.png", "a#1.png", "50%.png", "%20.png", "a?.png", "[1]*{2}.png"]
)
def test_letters_of_names(tmp_path, name):
  (tmp_path / name).write_bytes(b"image")
  assert named_file.read(name, str(tmp_path), "main") == b"image"
  (tmp_path / "a::b.png").write_bytes(b"colons")
  assert named_file.read("a::b.png", str(tmp_path), "main") == b"colons"


def test_names_below_an_address():
  folder = "http://h/x"
  for name, path in (
    ("a#1.png", "http://h/x/a%231.png"),
    ("50%.png", "http://h/x/50%25.png"),
    ("a%20b.png", "http://h/x/a%20b.png"),
    ("HTTP://g/1.png", "HTTP://g/1.png"),
  ):
    assert named_file.resolve(name, folder, "main") == path
