"""Labelled sets of one's own data, from every format."""

import json

import pyarrow
import pytest
from pyarrow import parquet

from configs.parts import sources as source_configs
from evaluators.sets import audit, labels, own
from input_pipeline import sources as formats
from input_pipeline.sources import source_config
from tests.evaluators.sets import made
from tests.input_pipeline.sources import tars
from tests.input_pipeline.sources.golden import make_tfds


def _section(format, path, **fields):
  return source_configs.source(
    format=format, path=str(path), **fields
  ).to_dict()


def _open(tmp_path, source, label, **files):
  paths = {}
  for what, lines in files.items():
    path = tmp_path / f"{what}.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    paths[what] = str(path)
  return own.labelled(
    *("mine", source, label), cache_dir=str(tmp_path / "cache"), **paths
  )


def _labels(tmp_path, opened):
  """Return the labels, which are the same with the images and without."""
  source = source_config.SourceConfig(**opened.source)
  context = source_config.SourceContext("x", tmp_path / "cache", 8)
  records = formats.FORMATS[source.format].open_split(
    source, source.split, context
  )
  rows = [
    [text for texts in records[i].texts.values() for text in texts]
    for i in range(len(records))
  ]
  found = labels.parsed(opened, rows).label_N.tolist()
  read = labels.read(opened, tmp_path / "cache", "--sets")
  assert read.label_N.tolist() == found
  assert audit.audit(opened, read).errors == ()
  return found


def _table(tmp_path, values):
  made.images(tmp_path / "data", "1.png", "2.png", "3.png")
  rows = [
    {"image": f"{i}.png", "caption": "x", "kind": value}
    for i, value in enumerate(values, 1)
  ]
  text = "".join(json.dumps(row) + "\n" for row in rows)
  (tmp_path / "data/captions.jsonl").write_text(text)
  return _section("table", tmp_path / "data")


@pytest.mark.parametrize("values", [(2, 0, 2), ("2", "0", "2"), (2.0, 0, 2)])
def test_numbers_in_a_table(tmp_path, values):
  source = _table(tmp_path, values)
  opened = _open(
    *(tmp_path, source, "kind"),
    classes=["cat", "dog", "great owl"],
    templates=["a {c}.", "the {}"],
  )
  assert opened.prompts()[-2:] == ["a great owl.", "the great owl"]
  assert _labels(tmp_path, opened) == [2, 0, 2]


def test_names_in_a_table(tmp_path):
  source = _table(tmp_path, ("owl", "wild_cat", "owl"))
  opened = _open(tmp_path, source, "kind")
  assert opened.classes == ("owl", "wild cat")
  assert opened.templates == ("a photo of a {c}.",)
  assert _labels(tmp_path, opened) == [0, 1, 0]
  opened = _open(tmp_path, source, "kind", classes=["dog", "wild_cat", "owl"])
  assert _labels(tmp_path, opened) == [2, 1, 2]
  with pytest.raises(
    ValueError, match=r"line 2 of .*: the label 'wild_cat' is"
  ):
    _open(tmp_path, source, "kind", classes=["dog", "owl"])


def test_a_number_without_a_name(tmp_path):
  source = _table(tmp_path, [0, 2, 1])
  with pytest.raises(ValueError, match=r"the label 2 has no line in .*0 to 1"):
    _open(tmp_path, source, "kind", classes=["cat", "dog"])


def test_csv(tmp_path):
  made.images(tmp_path / "data", "1.png", "2.png")
  (tmp_path / "data/captions.csv").write_text("image,y\n1.png,1\n2.png,0\n")
  source = _section("table", tmp_path / "data")
  opened = _open(tmp_path, source, "y", classes=["a", "b"])
  assert _labels(tmp_path, opened) == [1, 0]


@pytest.mark.parametrize(
  ("values", "wanted"), [([3, 0], [3, 0]), (["b", "a"], [1, 0])]
)
def test_parquet(tmp_path, values, wanted):
  table = pyarrow.table(
    {
      "image": [made.image(0), made.image(1)],
      "caption": ["x", "y"],
      "y": values,
    }
  )
  parquet.write_table(table, tmp_path / "x.parquet")
  source = _section("parquet", tmp_path / "x.parquet")
  lines = {} if "a" in values else {"classes": ["a", "b", "c", "d"]}
  opened = _open(tmp_path, source, "y", **lines)
  assert _labels(tmp_path, opened) == wanted


@pytest.mark.parametrize("label", [".cls", "json.a.label"])
def test_tars(tmp_path, label):
  members = {}
  for i, value in enumerate((1, 0, 1)):
    members[f"{i}.png"] = made.image(i)
    members[f"{i}.cls"] = b"%d\n" % value
    members[f"{i}.json"] = json.dumps({"a": {"label": value}}).encode()
  tars.write(tmp_path / "0.tar", members)
  source = _section("webdataset", tmp_path / "0.tar")
  opened = _open(tmp_path, source, label, classes=["a", "b"])
  assert _labels(tmp_path, opened) == [1, 0, 1]


def test_names_in_tars(tmp_path):
  members = {"0.png": made.image(0), "0.json": b'{"kind": "cat"}'}
  members |= {"1.png": made.image(1), "1.json": b'{"kind": "bee"}'}
  tars.write(tmp_path / "0.tar", members)
  source = _section("webdataset", tmp_path / "0.tar")
  opened = _open(tmp_path, source, "json.kind")
  assert opened.classes == ("bee", "cat")
  assert _labels(tmp_path, opened) == [1, 0]


def test_folders(tmp_path):
  made.images(tmp_path / "data", "dog/1.png", "wild_cat/1.png")
  source = _section("folder", tmp_path / "data")
  opened = _open(tmp_path, source, "folder")
  assert (opened.name, opened.classes) == ("mine", ("dog", "wild cat"))
  assert _labels(tmp_path, opened) == [0, 1]
  # The folders' own names mean them; others are in the order of the folders.
  for lines, classes in (
    (["wild cat", "dog"], ("dog", "wild cat")),
    (["a hound", "a lynx"], ("a hound", "a lynx")),
  ):
    opened = _open(tmp_path, source, "folder", classes=lines)
    assert opened.classes == classes
  with pytest.raises(ValueError, match="has 1 names; there are 2 folders"):
    _open(tmp_path, source, "folder", classes=["dog"])


def test_tfds(tmp_path):
  pytest.importorskip("tensorflow_datasets")
  folder = make_tfds.FOLDER / "tiny" / "1.0.0"
  source = _section("tfds", folder, split="train")
  opened = _open(tmp_path, source, "label")
  assert len(_labels(tmp_path, opened)) == 6


def test_labels_that_cannot_be_used(tmp_path):
  source = _table(tmp_path, (2, 0, 2))
  with pytest.raises(
    ValueError, match="classes must be a text file with a name"
  ):
    _open(tmp_path, source, "kind")
  with pytest.raises(ValueError, match="classes must be a text file; there is"):
    own.labelled("mine", source, "kind", cache_dir="x", classes="none.txt")
  with pytest.raises(ValueError, match="must be among the columns"):
    _open(tmp_path, source, "species")
  source = _table(tmp_path, (2, None, 2))
  with pytest.raises(
    ValueError,
    match=r"^evaluate\.sets\.mine: .*line 2 of .* has no text in column kind",
  ):
    _open(tmp_path, source, "kind", classes=["a", "b", "c"])
  (tmp_path / "empty").mkdir()
  source = _section("folder", tmp_path / "empty")
  with pytest.raises(ValueError, match=r"source\.path must be a folder with a"):
    _open(tmp_path, source, "folder")
