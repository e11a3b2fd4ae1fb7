"""Folders of images with texts beside them, and of tables in sub-folders."""

import json
import os
import unicodedata

import fsspec
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from input_pipeline import faults
from input_pipeline.sources.tables import folder
from tests.curation.pools import reading
from tests.input_pipeline.sources import pairs


def _write(root, contents):
  for name, data in contents.items():
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(data, str):
      data = data.encode()
    path.write_bytes(data)


def _open(root, tmp_path, **fields):
  source = pairs.source("folder", root, **fields)
  return folder.open_split(source, "", pairs.context(tmp_path))


def _read(records):
  """Return key, image and captions of all, or the kind of the fault."""
  found = []
  for index in range(len(records)):
    try:
      record = records[index]
      found.append((record.key, record.image, record.texts))
    except faults.ExampleError as error:
      found.append(error.kind)
  return found


def test_texts_beside_images(tmp_path, caplog):
  root = tmp_path / "[data] {1}"
  _write(
    root,
    {
      "b/2.JPG": b"two",
      "b/2.TXT": "  a two \r\n",
      "a.jpeg": b"a",
      "a.caption": "an a",
      "c d/e#%?*.png": b"c",
      "c d/e#%?*.txt": "\ufeffa c",
      "d.v1.webp": b"d",
      "d.v1.json": json.dumps({"caption": ["one", "two"]}),
      "e.png": b"e",
      "e.png.txt": "an e",
      "f.png": b"f",
      "f.txt": "from the text",
      "f.caption": "not read",
      ".hidden.png": b"hidden",
      ".git/g.png": b"hidden",
      "notes.md": "",
    },
  )
  records = _open(root, tmp_path)
  assert _read(records) == [
    ("a.jpeg", b"a", {"en": ("an a",)}),
    ("b/2.JPG", b"two", {"en": ("a two",)}),
    ("c d/e#%?*.png", b"c", {"en": ("a c",)}),
    ("d.v1.webp", b"d", {"en": ("one", "two")}),
    ("e.png", b"e", {"en": ("an e",)}),
    ("f.png", b"f", {"en": ("from the text",)}),
  ]
  assert len(np.unique(records.uids())) == 6
  # A section names others.
  records = _open(root, tmp_path, caption=("caption",), image=("jpeg", "png"))
  assert _read(records) == [
    ("a.jpeg", b"a", {"en": ("an a",)}),
    *("caption_missing",) * 2,
    ("f.png", b"f", {"en": ("not read",)}),
  ]
  assert not caplog.messages


def test_what_has_no_partner(tmp_path, caplog):
  root = tmp_path / "data"
  _write(
    root,
    {
      "a/1.jpg": b"1",
      "a/2.jpg": b"2",
      "a/2.txt": "",
      "a/3.jpg": b"3",
      "a/3.txt": "caption \xff".encode("latin-1"),
      "a/4.jpg": b"4",
      "a/4.json": "{",
      "a/5.txt": "no image",
      "b/6.caption": "no image",
      "b/7.json": "{}",
    },
  )
  for _ in range(2):  # made, and read again
    caplog.clear()
    records = _open(root, tmp_path)
    assert _read(records) == [
      *("caption_missing", "caption_missing", "caption_broken"),
      "caption_broken",
    ]
    assert caplog.messages == [
      f"data.sources.main.path: {root} has 2 captions without an image, left "
      "out: a/5.txt, b/6.caption"
    ]
  with pytest.raises(
    faults.ExampleError, match=f"{root}/a/1.jpg has no caption in txt, caption"
  ):
    records[0]
  with pytest.raises(faults.ExampleError, match=f"{root}/a/3.jpg: .*not UTF-8"):
    records[2]
  opened, shards = reading.open_pool(pairs.source("folder", root), tmp_path)
  rows = reading.rows_of(opened, shards, ("text",))
  assert [row["fault"].partition(":")[0] for row in rows] == [
    *("caption_missing", "caption_missing", "caption_broken"),
    "caption_broken",
  ]


def test_both_forms_of_accents(tmp_path):
  composed, decomposed = (
    unicodedata.normalize(form, "\u00e9") for form in ("NFC", "NFD")
  )
  for number, (image, text) in enumerate(
    ((composed, decomposed), (decomposed, composed))
  ):
    root = tmp_path / str(number)
    _write(root, {f"{image}.png": b"i", f"{text}.txt": "t"})
    assert _read(_open(root, tmp_path)) == [
      (f"{composed}.png", b"i", {"en": ("t",)})
    ]


def test_names_that_differ_in_form_alone(tmp_path):
  composed, decomposed = (
    unicodedata.normalize(form, "\u00e9") for form in ("NFC", "NFD")
  )
  contents = {f"{composed}.png": b"c", f"{decomposed}.png": b"d"}
  texts = {f"{composed}.txt": "composed", f"{decomposed}.txt": "decomposed"}
  _write(tmp_path / "both", contents | texts)
  found = _read(_open(tmp_path / "both", tmp_path))
  assert {(image, *texts["en"]) for _, image, texts in found} == {
    *((b"c", "composed"), (b"d", "decomposed")),
  }
  del texts[f"{composed}.txt"]
  _write(tmp_path / "one", contents | texts)
  found = _read(_open(tmp_path / "one", tmp_path))
  assert "caption_missing" in found
  assert [row[1] for row in found if row != "caption_missing"] == [b"d"]


def test_two_texts_of_a_name(tmp_path):
  _write(tmp_path / "data", {"a.png": b"a", "a.txt": "x", "a.TXT": "y"})
  records = _open(tmp_path / "data", tmp_path)
  with pytest.raises(faults.ExampleError, match=r"a.png has a.TXT and a.txt"):
    records[0]


def test_another_encoding(tmp_path):
  texts = {"1.txt": "\u00e4", "2.json": '{"caption": "\u00f6"}', "3.txt": "u"}
  csv = "file_name,text\n1.png,\u00e4\n"
  for number, contents in enumerate((texts, {"metadata.csv": csv})):
    root = tmp_path / str(number)
    encoded = {name: text.encode("utf-16") for name, text in contents.items()}
    if "3.txt" in encoded:
      encoded["3.txt"] = b"cut"
    _write(root, {f"{i}.png": b"i" for i in (1, 2, 3)} | encoded)
    found = _read(_open(root, tmp_path, encoding="utf-16"))
    assert [row if isinstance(row, str) else row[2]["en"] for row in found] == (
      [("\u00e4",)] if number else [("\u00e4",), ("\u00f6",), "caption_broken"]
    )


def test_a_name_that_is_not_utf8(tmp_path):
  _write(tmp_path / "data", {"a.png": b"a", "a.txt": "an a"})
  folder_bytes = os.fsencode(tmp_path / "data")
  for name in (b"b\xff.png", b"b\xff.txt", b"c\xff.txt"):
    with open(os.path.join(folder_bytes, name), "wb") as file:
      file.write(b"b")
  records = _open(tmp_path / "data", tmp_path)
  assert _read(records) == [("a.png", b"a", {"en": ("an a",)}), "record_broken"]
  with pytest.raises(
    faults.ExampleError, match=r"data/b\\udcff.png: "
  ) as caught:
    records[1]
  assert str(caught.value).encode()
  assert len(np.unique(records.uids())) == 2


def test_nested_tables(tmp_path, caplog):
  root = tmp_path / "data"
  rows = [{"file_name": "1.png", "text": "b one"}]
  _write(
    root,
    {
      "metadata.csv": "file_name,text\na/1.png,a one\na/1.png,again\n",
      "a/1.png": b"a1",
      "b/1.png": b"b1",
      "c/metadata.jsonl": '{"file_name": "../a/2.png", "text": "a two"}\n{\n'
      '{"file_name": "gone.png", "text": "x"}\n'
      '{"file_name": "../../x.png", "text": "x"}\n',
      "a/2.png": b"a2",
      "a/3.png": b"a3",
      "a/3.txt": "not read beside tables",
    },
  )
  parquet.write_table(
    pyarrow.Table.from_pylist(rows), root / "b" / "metadata.parquet"
  )
  records = _open(root, tmp_path)
  assert _read(records) == [
    ("b/1.png", b"b1", {"en": ("b one",)}),
    ("a/2.png", b"a2", {"en": ("a two",)}),
    *("record_broken", "file_missing", "unsafe_member"),
    ("a/1.png", b"a1", {"en": ("a one",)}),
    ("a/1.png#1", b"a1", {"en": ("again",)}),
  ]
  assert len(np.unique(records.uids())) == 7
  assert "has 1 images that no row of b/metadata.parquet, c/meta" in caplog.text
  assert caplog.text.rstrip().endswith("left out: a/3.png")
  with pytest.raises(
    faults.ExampleError, match=f"line 2 of {root}/c/metadata.jsonl: "
  ):
    records[2]
  with pytest.raises(faults.ExampleError, match="data/c/gone.png"):
    records[3]
  opened, shards = reading.open_pool(pairs.source("folder", root), tmp_path)
  rows = reading.rows_of(opened, shards, ("text", "image"))
  assert [(row["fault"] or "").partition(":")[0] for row in rows] == [
    *("", "", "record_broken", "file_missing", "unsafe_member", "", ""),
  ]
  # Another root of the images, as for one table.
  (root / "c" / "metadata.jsonl").unlink()
  (root / "b" / "metadata.parquet").unlink()
  records = _open(root, tmp_path, image_root=str(root / "a"))
  assert _read(records) == ["file_missing"] * 2


def test_types_in_parquet(tmp_path):
  spoken = pyarrow.map_(pyarrow.string(), pyarrow.list_(pyarrow.string()))
  named = [{"language": "fr", "text": "x"}, {"language": "en", "text": "y"}]
  columns = {
    "map": pyarrow.array([[("en", ["a"]), ("de", ["b", "c"])]], spoken),
    "list": pyarrow.array([named]),
    "bytes": pyarrow.array([b"\xc3\xa4"]),
    "broken": pyarrow.array([b"\xe4"]),
  }
  for name, texts in columns.items():
    (tmp_path / name).mkdir()
    (tmp_path / name / "1.png").write_bytes(b"1")
    table = {"file_name": ["1.png"], "text": texts, "other": [b"\xff"]}
    parquet.write_table(
      pyarrow.table(table), tmp_path / name / "metadata.parquet"
    )
  found = {name: _read(_open(tmp_path / name, tmp_path))[0] for name in columns}
  assert {name: row[2] for name, row in found.items() if name != "broken"} == {
    "map": {"en": ("a",), "de": ("b", "c")},
    "list": {"fr": ("x",), "en": ("y",)},
    "bytes": {"en": ("\u00e4",)},
  }
  assert found["broken"] == "caption_broken"


def test_faults_are_those_of_the_pool(tmp_path):
  root = tmp_path / "data"
  contents = {
    **{f"{i}.png": b"i" for i in range(3)},
    "0.json": '{"caption": "x", "id": "k"}',
    "1.json": '{"caption": ["x", "y"]}',
    "2.json": '{"caption": {"\\ud800": "x"}, "id": 2}',
  }
  _write(root, contents)
  fields = {"uid": "json.id", "caption": ("json.caption",)}
  records = _open(root, tmp_path, **fields)
  assert _read(records)[1:] == ["record_broken", "caption_broken"]
  source = pairs.source("folder", root, **fields)
  opened, shards = reading.open_pool(source, tmp_path)
  rows = reading.rows_of(opened, shards, ("text",))
  assert [row["text"] for row in rows] == ["x", None, None]
  assert rows[1]["fault"].startswith(
    f"record_broken: {root}/1.png has no field"
  )
  assert rows[2]["fault"].startswith(f"caption_broken: {root}/2.png: a caption")


def test_absolute_paths_and_two_tables(tmp_path, caplog):
  root = tmp_path / "data"
  csv = f"file_name,text\n{root}/1.png,x\nfile://{root}/2.png,y\n"
  _write(root, {"1.png": b"1", "2.png": b"2", "metadata.csv": csv})
  assert [row[1] for row in _read(_open(root, tmp_path))] == [b"1", b"2"]
  assert not caplog.messages
  _write(root, {"captions.jsonl": '{"image": ["1.png"], "caption": "x"}'})
  assert _read(_open(root, tmp_path))[0] == "image_missing"
  assert "captions.jsonl and metadata.csv, the rows of all" in caplog.text


def test_columns_of_tables(tmp_path):
  rows = [{"Img": "1.png", "Title": "x", "de": "ein x", "id": "0" * 32}]
  _write(
    tmp_path / "data", {"1.png": b"1", "metadata.jsonl": json.dumps(*rows)}
  )
  fields = {"image": ("img",), "caption": ("de", "title"), "uid": "id"}
  records = _open(tmp_path / "data", tmp_path, **fields)
  assert _read(records) == [("0" * 32, b"1", {"en": ("ein x", "x")})]
  assert records.uids()[0].item() == (0, 0)


def test_a_pool_has_the_other_columns(tmp_path):
  rows = [{"file_name": "1.png", "text": "x", "score": 0.5, "width": 3}]
  _write(
    tmp_path / "data",
    {"1.png": pairs.png(1), "metadata.jsonl": json.dumps(*rows)},
  )
  source = pairs.source("folder", tmp_path / "data")
  opened, shards = reading.open_pool(source, tmp_path)
  (row,) = reading.rows_of(opened, shards, ("text", "score", "image"))
  assert (row["text"], row["score"]) == ("x", 0.5)
  assert row["image"] == pairs.png(1)


def test_a_folder_at_a_url(tmp_path):
  memory = fsspec.filesystem("memory")
  memory.store.clear()
  names = {"x/1.png": b"1", "x/1.txt": "one", "2.png": b"2", "2.txt": "two"}
  for name, data in names.items():
    data = data.encode() if isinstance(data, str) else data
    memory.pipe(f"/images/{name}", data)
  for path in ("memory://images", "memory://images/"):
    records = _open(path, tmp_path)
    assert _read(records) == [
      ("2.png", b"2", {"en": ("two",)}),
      ("x/1.png", b"1", {"en": ("one",)}),
    ]


def test_links(tmp_path):
  _write(tmp_path, {"far/1.png": b"1", "far/1.txt": "one", "data/x.txt": ""})
  (tmp_path / "data" / "a").symlink_to(tmp_path / "far")
  (tmp_path / "far" / "up").symlink_to(tmp_path / "data")
  (tmp_path / "data" / "gone.png").symlink_to("nowhere")
  (tmp_path / "data" / "gone.txt").write_text("a caption")
  assert _read(_open(tmp_path / "data", tmp_path)) == [
    ("a/1.png", b"1", {"en": ("one",)}),
    "file_missing",
  ]


def test_a_change_is_seen(tmp_path):
  root = tmp_path / "data"
  _write(root, {"1.png": b"1", "1.txt": "one"})
  first = _open(root, tmp_path)
  _write(root, {"1.txt": "another"})
  second = _open(root, tmp_path)
  assert _read(second)[0][2] == {"en": ("another",)}
  assert first.fingerprint() != second.fingerprint()
  (tmp_path / "other").mkdir()
  assert _open(root, tmp_path / "other").fingerprint() == second.fingerprint()


def test_no_folder(tmp_path):
  with pytest.raises(ValueError, match="main.path must be a folder; got ''"):
    _open("", tmp_path)


@pytest.mark.parametrize(
  ("path", "fields", "message"),
  [
    ("none", {}, "main.path must be a folder; got '.*none'"),
    ("empty", {}, "main.path must be a folder with .avif, .*metadata.jsonl"),
    ("texts", {}, "main.path must be a folder with .*of 1 files"),
    ("texts/1.txt", {}, "main.path must be a folder; got"),
    (
      "images",
      {"image_root": "."},
      'image_root is not used by format="folder"',
    ),
    ("images", {"caption": ("json",)}, "main.caption must be"),
    ("table", {}, r"main.caption must be given: .* \['file_name', 'label'\]"),
    ("parquet", {}, "main.path: .*metadata.parquet cannot be read as Parquet"),
  ],
)
def test_what_does_not_fit(tmp_path, path, fields, message):
  _write(
    tmp_path,
    {
      "texts/1.txt": "",
      "images/1.png": b"",
      "table/metadata.csv": "file_name,label\n1.png,2\n",
      "parquet/metadata.parquet": "nothing",
    },
  )
  (tmp_path / "empty").mkdir()
  with pytest.raises(ValueError, match=message):
    _open(tmp_path / path, tmp_path, **fields)
