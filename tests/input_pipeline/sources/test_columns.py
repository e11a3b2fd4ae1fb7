"""Columns of a table are chosen by their usual names, in one order."""

import json

import pyarrow
import pytest
from pyarrow import parquet as pyarrow_parquet

from input_pipeline import faults
from input_pipeline.sources import columns
from input_pipeline.sources.arrow import parquet
from input_pipeline.sources.tables import table
from tests.input_pipeline.sources import pairs


def _choose(names, *, needs_image=True, **fields):
  source = pairs.source("table", "", **fields)
  return columns.choose(source, names, "main", needs_image=needs_image)


@pytest.mark.parametrize("image", [*columns.IMAGES, *columns.ADDRESSES])
@pytest.mark.parametrize("caption", columns.CAPTIONS)
def test_each_usual_name_in_each_case(image, caption):
  for change in (str, str.upper, str.title, lambda name: f" {name} "):
    names = [change(caption), "other", change(image)]
    found = _choose(names)
    assert (found.image, found.captions) == (names[2], (names[0],))


@pytest.mark.parametrize(
  ("names", "image", "caption"),
  [
    (["title", "filepath"], "filepath", "title"),  # open_clip
    (["URL", "TEXT", "WIDTH"], "URL", "TEXT"),  # LAION's metadata
    (["url", "jpg", "caption", "text"], "jpg", "caption"),  # img2dataset
    (["path", "file_name", "text"], "file_name", "text"),
    (["image_url", "url", "file", "title", "text"], "file", "text"),
    (["image_url", "url", "text"], "url", "text"),
    # Names in exactly this case come first.
    (["Image", "filepath", "Caption", "title"], "filepath", "title"),
    # Two that differ in case only are no choice.
    (["IMAGE", "Image", "Path", "TEXT", "Text", "Title"], "Path", "Title"),
  ],
)
def test_one_order(names, image, caption):
  found = _choose(names)
  assert (found.image, found.captions) == (image, (caption,))


def test_named_columns_in_any_case():
  found = _choose(
    ["A", "b", "lang", "ID"],
    image=("a",),
    caption=("B", "a"),
    language_field="Lang",
    uid="id",
  )
  assert found == columns.Columns("A", ("b", "A"), "lang", "ID")
  with pytest.raises(ValueError, match=r"main.uid .* \['A', 'a'\]; got 'x'"):
    _choose(["A", "a"], image=("a",), caption=("A",), uid="x")


def test_curation_fetches_no_addresses_unasked():
  names = ["uid", "url", "text"]
  found = _choose(names, needs_image=False)
  assert found == columns.Columns("", ("text",), None, "uid")
  assert found.named_by == "url"
  found = _choose(names, needs_image=False, image=("url",))
  assert found == columns.Columns("url", ("text",), None, "uid")
  # Training, whose UIDs a selection has, fetches them.
  assert _choose(names) == found


def test_messages_say_why_a_column_was_chosen(tmp_path):
  rows = [{"path": "a.png", "title": ""}, {"path": "", "title": "b"}]
  (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
  pyarrow_parquet.write_table(
    pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet"
  )
  for module, name, first, second in (
    (table, "a.jsonl", "line 1", "line 2"),
    (parquet, "a.parquet", "row 0", "row 1"),
  ):
    source = pairs.source(name.partition(".")[2], tmp_path / name)
    records = module.open_split(source, "", pairs.context(tmp_path))
    (tmp_path / "a.png").write_bytes(b"image")
    with pytest.raises(
      faults.ExampleError,
      match=rf"{first}.* title \(chosen as the first of caption, captions, "
      r"text, title, texts, .* among the columns \['path', 'title'\]; "
      r"data.sources.main.caption names another\)",
    ):
      records[0]
    with pytest.raises(
      faults.ExampleError,
      match=rf"{second}.* path \(chosen as the first of image, jpg, .*, path, "
      r".*url, image_url among the columns \['path', 'title'\]; ",
    ):
      records[1]
  pyarrow_parquet.write_table(
    pyarrow.table({"file": [1], "text": ["a"]}), tmp_path / "b.parquet"
  )
  source = pairs.source("parquet", tmp_path / "b.parquet")
  with pytest.raises(
    ValueError,
    match=r"must be binary.*; got int64 in column file \(chosen as the first .*"
    r"\['file', 'text'\]",
  ):
    parquet.open_split(source, "", pairs.context(tmp_path))


def test_reasons_are_no_part_of_a_fingerprint():
  found = _choose(["path", "title"])
  assert "chosen" in found.about_image
  assert (
    "named by main.caption"
    in _choose(["path", "title"], caption=("title",)).about_captions
  )
  assert repr(found) == (
    "Columns(image='path', captions=('title',), language=None, key=None)"
  )


@pytest.mark.parametrize(
  ("value", "text"),
  [
    (7, "7"),
    (7.0, "7"),
    (-0.0, "0"),
    (7.5, "7.5"),
    (2.0**53 - 1, "9007199254740991"),
    (10**20, "1" + 20 * "0"),
    (float("nan"), ""),
    (None, ""),
    ("7.0", "7.0"),
    (b"\x01\xff", "01ff"),
  ],
)
def test_keys_that_are_numbers(value, text):
  assert columns.key_text(value) == text


@pytest.mark.parametrize("value", [2.0**53, 1e17, -1e17, float("inf")])
def test_keys_that_may_be_several_numbers(value):
  with pytest.raises(faults.ExampleError, match=r"2\^53 or more") as error:
    columns.key_text(value)
  assert error.value.kind == "record_broken"


@pytest.mark.parametrize("kind", ["float", "halffloat"])
def test_short_floats_are_no_keys(tmp_path, kind):
  table_ = pyarrow.table(
    {
      "image": pyarrow.array([pairs.png(0)]),
      "text": ["a"],
      "id": pyarrow.array([1.0]).cast(kind),
    }
  )
  path = tmp_path / "a.parquet"
  pyarrow_parquet.write_table(table_, path)
  with pytest.raises(ValueError, match=r"main.uid must be .*in column id"):
    parquet.open_split(
      pairs.source("parquet", path, uid="id"), "", pairs.context(tmp_path)
    )


@pytest.mark.parametrize(
  ("value", "text"), [(7, "7"), (7.0, "7"), ("7", "7"), ("owl", "owl")]
)
def test_numbers_are_their_digits(value, text):
  source = pairs.source("table", "x", caption=("y:number",))
  found = columns.choose(source, ["image", "y"], "data.sources.x")
  assert found.captions == ("y",)
  row = {"image": "a.jpg", "y": value}
  assert columns.texts(found, row, "en", "row 1") == {"en": (text,)}
  for missing in (None, float("nan"), ""):
    with pytest.raises(faults.ExampleError, match="no text in column y"):
      columns.texts(found, {"y": missing}, "en", "row 1")


def test_curation_reads_no_numbers():
  source = pairs.source("table", "x", caption=("y:number",))
  with pytest.raises(ValueError, match="must be columns of text; got"):
    columns.choose(source, ["image", "y"], "pool", needs_image=False)


@pytest.mark.parametrize(
  ("value", "text"),
  [
    ("left  hand ", "=left hand"),
    ("=", "=="),
    (True, "=True"),
    (7.0, "=7"),
    (1.5, "=1.5"),
    (None, "="),
    (float("nan"), "="),
    (" ", "="),
  ],
)
def test_values_keep_their_position(value, text):
  source = pairs.source(
    "table", "x", caption=("y:number", "z:value", "w:value")
  )
  names = ["image", "y", "z", "w"]
  found = columns.choose(source, names, "data.sources.x")
  assert found.captions == ("y", "z", "w")
  row = {"y": 3, "z": value, "w": "a"}
  got = columns.texts(found, row, "en", "row 1")
  assert got == {"en": ("3", text, "=a")}
  # A column of that very name is a caption like others.
  found = columns.choose(source, [*names, "z:value"], "data.sources.x")
  assert found.captions == ("y", "z:value", "w")
  with pytest.raises(ValueError, match="must be columns of text; got"):
    columns.choose(source, names, "pool", needs_image=False)


@pytest.mark.parametrize("value", [["a"], {"en": "a"}])
def test_a_value_is_one_text_or_number(value):
  source = pairs.source("table", "x", caption=("z:value",))
  found = columns.choose(source, ["image", "z"], "data.sources.x")
  with pytest.raises(faults.ExampleError, match="one text or number at z; got"):
    columns.texts(found, {"z": value}, "en", "row 1")
