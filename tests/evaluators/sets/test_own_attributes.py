"""Attributes beside the labels of one's own sets, from every format."""

import json

import pyarrow
import pytest
from pyarrow import parquet

from evaluators import labelled
from evaluators.sets import kinds, labels, own
from input_pipeline import sources as formats
from input_pipeline.sources import source_config
from tests.evaluators.sets import made
from tests.evaluators.sets.test_own import _section
from tests.input_pipeline.sources import tars
from tests.input_pipeline.sources.golden import make_tfds

ROWS = (
  {"kind": "cat", "gender": "female", "age": 20},
  {"kind": "dog", "gender": "", "age": 7.0},
  {"kind": "cat", "gender": "male ", "age": None},
)
WANTED = {
  "gender": ["female", labels.NONE, "male"],
  "age": ["20", "7", labels.NONE],
}


def _open(tmp_path, source, label, *attributes, **files):
  return own.labelled(
    *("mine", source, label),
    cache_dir=str(tmp_path / "cache"),
    attributes=attributes,
    **files,
  )


def _read(tmp_path, opened):
  """Return labels and attributes: the same with the images and without."""
  source = source_config.SourceConfig(**opened.source)
  context = source_config.SourceContext("x", tmp_path / "cache", 8)
  records = formats.FORMATS[source.format].open_split(
    source, source.split, context
  )
  rows = [
    [text for texts in records[i].texts.values() for text in texts]
    for i in range(len(records))
  ]
  with_images = labels.parsed(opened, rows)
  alone = labels.read(opened, tmp_path / "cache", "--sets")
  assert alone.attributes == with_images.attributes
  assert alone.label_N.tolist() == with_images.label_N.tolist()
  return alone.label_N.tolist(), dict(alone.attributes)


def _table(tmp_path, rows=ROWS):
  made.images(tmp_path / "data", "0.png", "1.png", "2.png")
  text = "".join(
    json.dumps({"image": f"{i}.png", "caption": "x", **row}) + "\n"
    for i, row in enumerate(rows)
  )
  (tmp_path / "data/captions.jsonl").write_text(text)
  return _section("table", tmp_path / "data")


def test_table(tmp_path):
  opened = _open(tmp_path, _table(tmp_path), "kind", "gender", "age")
  assert opened.attributes == ("gender", "age")
  assert opened.classes == ("cat", "dog")
  assert _read(tmp_path, opened) == ([0, 1, 0], WANTED)


def test_labels_that_are_numbers(tmp_path):
  rows = [{**row, "kind": i} for i, row in enumerate(ROWS)]
  (tmp_path / "names.txt").write_text("a\nb\nc\n")
  opened = _open(
    *(tmp_path, _table(tmp_path, rows), "kind", "age"),
    classes=str(tmp_path / "names.txt"),
  )
  assert _read(tmp_path, opened) == ([0, 1, 2], {"age": WANTED["age"]})


def test_csv_with_empty_cells(tmp_path):
  made.images(tmp_path / "data", "0.png", "1.png")
  (tmp_path / "data/captions.csv").write_text(
    "image,y,where,flag\n0.png,b,,True\n1.png,a,Asia,\n"
  )
  source = _section("table", tmp_path / "data")
  opened = _open(tmp_path, source, "y", "where", "flag")
  wanted = {"where": [labels.NONE, "Asia"], "flag": ["True", labels.NONE]}
  assert _read(tmp_path, opened) == ([1, 0], wanted)


def test_parquet(tmp_path):
  columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
  images = [made.image(i) for i in range(3)]
  table = pyarrow.table({"image": images, "caption": ["x"] * 3, **columns})
  parquet.write_table(table, tmp_path / "x.parquet")
  source = _section("parquet", tmp_path / "x.parquet")
  opened = _open(tmp_path, source, "kind", "gender", "age")
  assert _read(tmp_path, opened) == ([0, 1, 0], WANTED)


def test_tars(tmp_path):
  members = {}
  for i, row in enumerate(ROWS):
    members[f"{i}.png"] = made.image(i)
    members[f"{i}.json"] = json.dumps({"a": row, "kind": row["kind"]}).encode()
    if row["gender"]:
      members[f"{i}.sex"] = row["gender"].encode() + b"\n"
  tars.write(tmp_path / "0.tar", members)
  source = _section("webdataset", tmp_path / "0.tar")
  opened = _open(tmp_path, source, "json.kind", ".sex", "json.a.age")
  label, values = _read(tmp_path, opened)
  assert label == [0, 1, 0]
  assert [*values.values()] == [*WANTED.values()]


@pytest.mark.parametrize("table", ["metadata.jsonl", "metadata.csv"])
def test_folders_by_class_with_a_table(tmp_path, table):
  names = ("dog/1.png", "dog/2.png", "cat/1.png")
  made.images(tmp_path / "data", *names)
  rows = [("file_name", "gender"), (names[2], "female"), (names[0], "male")]
  text = "".join(",".join(row) + "\n" for row in rows)
  if table.endswith("jsonl"):
    lines = [
      json.dumps(dict(zip(rows[0], row, strict=True))) for row in rows[1:]
    ]
    text = "\n".join(lines) + "\n"
  (tmp_path / "data" / table).write_text(text)
  source = _section("folder", tmp_path / "data")
  opened = _open(tmp_path, source, "folder", "gender")
  # In the order of the paths; dog/2.png has no row.
  wanted = {"gender": ["female", "male", labels.NONE]}
  assert _read(tmp_path, opened) == ([0, 1, 1], wanted)


def test_files_of_attributes_beside_images(tmp_path):
  made.images(tmp_path / "data", "0.png", "1.png", "2.png")
  for i, row in enumerate(ROWS):
    (tmp_path / f"data/{i}.json").write_text(json.dumps(row))
  source = _section("folder", tmp_path / "data")
  opened = _open(tmp_path, source, "json.kind", "json.gender", "json.age")
  label, values = _read(tmp_path, opened)
  assert label == [0, 1, 0]
  assert [*values.values()] == [*WANTED.values()]


def test_tfds(tmp_path):
  pytest.importorskip("tensorflow_datasets")
  folder = make_tfds.FOLDER / "tiny" / "1.0.0"
  source = _section("tfds", folder, split="train")
  alone = _read(tmp_path, _open(tmp_path, source, "label"))[0]
  opened = _open(tmp_path, source, "label", "captions.text")
  label, values = _read(tmp_path, opened)
  assert label == alone
  assert len(set(values["captions.text"])) > 1


def test_refusals(tmp_path):
  source = _table(tmp_path)
  for attributes, words in (
    (("sex",), r"mine: label and attributes must be among.*got 'sex'$"),
    (("gender", "empty"), "attributes must be places with values; got 'empty'"),
    (("many",), "at most 200 values each; got 'many' with 201"),
    (
      ("list",),
      r"line 1 of .*one text or number at list; got \['a'\]",
    ),
  ):
    extra = {"empty": None, "list": ["a"]}
    rows = [{**ROWS[0], **extra, "many": i} for i in range(201)]
    text = "".join(
      json.dumps({"image": "0.png", "caption": "x", **row}) + "\n"
      for row in rows
    )
    (tmp_path / "data/captions.jsonl").write_text(text)
    with pytest.raises(ValueError, match=words):
      _open(tmp_path, source, "kind", *attributes)


def test_a_missing_label_beside_attributes(tmp_path):
  rows = [*ROWS[:2], {**ROWS[2], "kind": None}]
  source = _table(tmp_path, rows)
  with pytest.raises(ValueError, match=r"line 3 of .*expected one label; got"):
    _open(tmp_path, source, "kind", "gender")


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    ({"attributes": ("",)}, "x.attributes must be columns.*got ''"),
    ({"attributes": ("folder",)}, "x.attributes must be columns.*got 'folder'"),
    ({"attributes": ("kind",)}, "x.attributes must differ.*'kind' twice"),
    ({"attributes": ("a", "a")}, "x.attributes must differ.*'a' twice"),
    ({"disparity_k": 0}, "x.disparity_k must be at least 1; got 0"),
  ],
)
def test_fields_are_checked(tmp_path, fields, words):
  source = source_config.SourceConfig(**_table(tmp_path))
  section = kinds.classification({}, label="kind", **fields) | {
    "source": source
  }
  with pytest.raises(ValueError, match=words):
    labelled.LabelledConfig(**section).check("x")
