"""Tests of the format "layout", with the aerial pictures of CLIP-RSICD."""

import dataclasses
import io
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from configs.parts import sources
from input_pipeline import faults
from input_pipeline.images import image_ops
from input_pipeline.sources import public_layout, source_config
from input_pipeline.sources.layouts import layout, rsicd
from input_pipeline.storage import folders, npy


def _write(folder, name="airport_1.jpg", size=(8, 6)):
  path = folder / name
  path.parent.mkdir(parents=True, exist_ok=True)
  pixels = np.random.default_rng(len(name)).integers(0, 255, (*size, 3))
  Image.fromarray(pixels.astype(np.uint8)).save(path, "PNG")
  return pixels.astype(np.uint8)


def _entry(name, split, *texts):
  return {
    "filename": name,
    "split": split,
    "sentences": [{"raw": text, "tokens": text.split()} for text in texts],
  }


@pytest.fixture
def folder(tmp_path):
  folder = tmp_path / "data"
  _write(folder, "RSICD_images/airport_1.jpg")
  _write(folder, "RSICD_images/00012.jpg")
  entries = [
    _entry("airport_1.jpg", "train", "many planes . ", "an airport ."),
    _entry("00012.jpg", "train", "some trees ."),
    _entry("beach_3.jpg", "test", "a beach ."),
  ]
  (folder / "dataset_rsicd.json").write_text(
    json.dumps({"images": entries, "dataset": "rsicd"})
  )
  return folder


def _open(folder, **fields):
  fields = {"layout": "rsicd.captions", "split": "train"} | fields
  section = sources.source(format="layout", path=str(folder), **fields)
  source = source_config.SourceConfig(**section.to_dict())
  source.check("data.sources.main")
  context = source_config.SourceContext("main", folder.parent / "cache", 32)
  return public_layout.open_split(source, source.split, context)


def test_captions_and_columns(folder):
  records = _open(folder)
  assert len(records) == 2
  assert records[0].texts == {"en": ("many planes .", "an airport .")}
  assert records[0].key == "RSICD_images/airport_1.jpg"
  assert records[1].origin == f"{folder}/RSICD_images/00012.jpg"
  scenes = _open(folder, layout="rsicd.scenes", caption=("scene",))
  assert [scenes[i].texts["en"] for i in range(len(scenes))] == [("airport",)]
  assert pickle.loads(pickle.dumps(records))[1].key == records[1].key


def test_a_missing_picture_is_a_fault_by_name(folder):
  records = _open(folder, split="test")
  with pytest.raises(faults.ExampleError, match=r"RSICD_images/beach_3\.jpg"):
    records[0]


def test_a_file_of_another_form(folder):
  (folder / "dataset_rsicd.json").write_text('{"images": [{"file": "a"}]}')
  with pytest.raises(
    ValueError,
    match=r"has dataset_rsicd\.json in another f.*"
    r"\(KeyError at rsicd\.py, line \d+: 'split'\)",
  ):
    _open(folder)


@pytest.mark.parametrize(
  ("layouts", "message"),
  [
    (None, r"LAYOUTS of .*rsicd\.py must be a dict of layouts .* got none"),
    ({"splits": "train"}, r"\.splits of .*must be a tuple of .* got 'train'"),
  ],
)
def test_a_module_that_is_wrong(folder, monkeypatch, layouts, message):
  if layouts is None:
    monkeypatch.delattr(rsicd, "LAYOUTS")
  else:
    wrong = dataclasses.replace(rsicd.LAYOUTS["captions"], **layouts)
    monkeypatch.setitem(rsicd.LAYOUTS, "captions", wrong)
  with pytest.raises(ValueError, match=message):
    _open(folder)


@pytest.mark.parametrize(
  ("row_fn", "message"),
  [
    (
      lambda: {"caption": "a", "scene": "b"},
      r"rsicd\.py: every row must have an image, .* got caption, scene in",
    ),
    (
      lambda: layout.fault("a.jpg", "label_broken", "expected b; got c"),
      r"layout\.fault of a\.jpg: kind must be one of .* got 'label_broken'",
    ),
  ],
)
def test_a_row_that_is_wrong(folder, monkeypatch, row_fn, message):
  rows = lambda data, split: (row_fn() for _ in range(1))  # noqa: E731
  wrong = dataclasses.replace(rsicd.LAYOUTS["captions"], rows=rows)
  monkeypatch.setitem(rsicd.LAYOUTS, "captions", wrong)
  with pytest.raises(ValueError, match=message):
    _open(folder)


def test_a_copy_of_the_folder_is_the_same_data(folder, tmp_path):
  first = _open(folder)
  moved = folder.rename(tmp_path / "moved")
  assert _open(moved).fingerprint() == first.fingerprint()
  _write(moved, "RSICD_images/airport_1.jpg", (5, 5))
  again = _open(moved)
  assert again.fingerprint() == first.fingerprint()
  assert again.image_state() != first.image_state()
  text = (moved / "dataset_rsicd.json").read_text()
  (moved / "dataset_rsicd.json").write_text(text.replace("trees", "houses"))
  assert _open(moved).fingerprint() != first.fingerprint()


def test_captions_that_were_translated_back(folder):
  line = {"filename": "rsicd_images/airport_1.jpg", "captions": ["a", "b"]}
  (folder / "textaug_valid_rsicd.jsonl").write_text(json.dumps(line) + "\n")
  records = _open(folder, layout="rsicd.augmented", split="val")
  assert records[0].texts == {"en": ("a", "b")}


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"layout": "rsicd.nothing"}, r"main\.layout must be one of .*rsicd\.ucm"),
    ({"layout": ""}, r"main\.layout must name a layout"),
    ({"split": "dev"}, r'split must be one of train, val, test .* got "?.dev'),
    ({"layout": "rsicd.ucm"}, r"has no file dataset\.json; expected"),
    ({"image_root": "/"}, r"main\.image_root is not used"),
  ],
)
def test_fields_that_cannot_be_used(folder, fields, message):
  with pytest.raises(ValueError, match=message):
    _open(folder, **fields)


def test_a_part_of_a_picture(folder, monkeypatch):
  pixels = _write(folder, "RSICD_images/airport_1.jpg", (20, 30))

  def rows(data, split):
    del split
    for crop in ([2, 3, 12, 13], [0, 0, 31, 5]):
      yield {"image": data.images()[1], "caption": "a", "crop": crop}
    yield {
      **{"image": data.images()[1], "caption": "a"},
      **{"crop": [0, 0, 20, 20], "size": [10, 10]},
    }

  made = layout.Layout(rows, "pictures", (), "nowhere")
  monkeypatch.setitem(rsicd.LAYOUTS, "parts", made)
  records = _open(folder, layout="rsicd.parts", split="")
  part = np.asarray(Image.open(io.BytesIO(records[0].image)))
  np.testing.assert_array_equal(part, pixels[3:13, 2:12])
  with pytest.raises(faults.ExampleError, match="31, 5.*got 30 x 20 pixels"):
    records[1]
  assert image_ops.decode(records[2].image).shape == (10, 10, 3)
  # Parts of an image are held out together.
  assert records[0].image_id() == records[2].image_id() == records.image_id(0)
  assert len({records[i].key for i in (0, 2)}) == 2


@pytest.mark.parametrize(
  ("array", "message"),
  [
    (np.asfortranarray(np.zeros((2, 3))), "in Fortran order"),
    (np.array(3.0), r"got shape \(\)"),
    (np.array([{}]), "of numbers or texts"),
    (None, "must be a .npy file; got"),
  ],
)
def test_an_array_file_without_items(tmp_path, array, message):
  if array is None:
    (tmp_path / "a.npy").write_text("<html>")
  else:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
  with pytest.raises(ValueError, match=message):
    npy.Items(str(tmp_path / "a.npy"))


def test_lines_of_a_table(folder):
  (folder / "a.csv").write_text("name,place\nx,y\nz\n")
  data = layout.Folder(
    str(folder),
    folders.walk(str(folder), "f"),
    layout.Layout(lambda *_: iter(()), "a.csv", (), "nowhere"),
    "data.sources.main",
    folder / "made",
  )
  with pytest.raises(ValueError, match=r"a\.csv, line 3: expected 2 fields"):
    list(data.table("a.csv"))
  with pytest.raises(ValueError, match=r"a\.csv has no column city among name"):
    list(data.table("a.csv", needs=("city",)))
