"""The data set that golden/make_tfds.py made, by the real package."""

import concurrent.futures
import io
import pickle
import shutil
import sys

import numpy as np
import pytest
from PIL import Image
from tensorflow_datasets.core.utils import file_utils

from input_pipeline import faults
from input_pipeline.sources import image_ids, tfds
from input_pipeline.storage import uids as uids_lib
from tests.input_pipeline.sources import pairs
from tests.input_pipeline.sources.golden import make_tfds

FOLDER = make_tfds.FOLDER / "tiny" / "1.0.0"


def _open(folder, split="train", path=FOLDER, **fields):
  source = pairs.source("tfds", path, split=split, **fields)
  return tfds.open_split(source, split, pairs.context(folder))


def _pixels(data):
  return np.asarray(Image.open(io.BytesIO(data)))


def _texts(records):
  found = []
  for index in range(len(records)):
    try:
      found.append(dict(records[index].texts))
    except faults.ExampleError as error:
      found.append(error.kind)
  return found


def test_names_of_images_do_not_need_captions(tmp_path):
  records = _open(tmp_path, caption=("title",))
  found = [records.image_id(index) for index in range(6)]
  labels = _open(tmp_path, caption=("label",))
  images = [labels[index].image for index in range(6)]
  assert found == [image_ids.of_bytes(image) for image in images]
  assert len({*found}) == len({*images})


def test_records_are_those_that_went_in(tmp_path):
  options = {
    "caption": ("title",),
    "language_field": "language",
    "uid": "uid",
  }
  records = _open(tmp_path, **options)
  assert len(records) == 6
  made = [make_tfds.example(index) for index in range(6)]
  wanted = [
    {one["language"] or "en": (one["title"],)}
    if one["title"]
    else "caption_missing"
    for one in made
  ]
  assert (
    _texts(records) == _texts(pickle.loads(pickle.dumps(records))) == wanted
  )
  assert records[2].image.startswith(b"\x89PNG")  # as it is stored
  np.testing.assert_array_equal(
    _pixels(records[2].image), _pixels(made[2]["image"])
  )
  assert records[2].key == made[2]["uid"]
  assert records.uids()[3] == np.array(
    uids_lib.uid(made[3]["uid"]), uids_lib.UID
  )
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    found = pool.map(lambda index: records[index].key, [0, 1, 2, 4, 5] * 4)
  assert list(found) == [made[index]["uid"] for index in [0, 1, 2, 4, 5] * 4]
  with pytest.raises(IndexError):
    records[6]
  assert "tensorflow" not in sys.modules


def test_captions_of_other_features(tmp_path):
  named = [
    {"en": (make_tfds.LABELS[index % 3].replace("_", " "),)}
    for index in range(6)
  ]
  assert _texts(_open(tmp_path, caption=("label",))) == named
  nested = _texts(_open(tmp_path, caption=("captions.text",)))
  assert nested[:3] == [
    *("caption_missing", {"en": ("text 1 0",)}),
    {"en": ("text 2 0", "text 2 1")},
  ]
  assert _texts(_open(tmp_path)) == nested  # of all features, the likeliest


def test_splits(tmp_path):
  source = pairs.source("tfds", FOLDER)
  place = pairs.context(tmp_path)
  assert tfds.splits(source, place) == ("train", "test")
  whole, test = _open(tmp_path), _open(tmp_path, "test")
  assert len(test) == 2
  half = _open(tmp_path, "train[:50%]")
  assert len(half) == 3
  prints = {some.fingerprint() for some in (whole, test, half)}
  assert len(prints) == 3
  assert _open(tmp_path).fingerprint() == whole.fingerprint()
  # Without a feature, by place; no two of the data set alike.
  uids = np.concatenate([whole.uids(), test.uids()])
  assert len(np.unique(uids)) == 8


def test_found_by_name(tmp_path):
  file_utils.add_data_dir(make_tfds.FOLDER)
  try:
    records = _open(tmp_path, path="tiny:1.0.0", caption=("label",))
    assert len(records) == 6
    assert len(pickle.loads(pickle.dumps(records))) == 6
    with pytest.raises(ValueError, match="main.path .*TFDS_DATA_DIR.*tiny:9.9"):
      _open(tmp_path, path="tiny:9.9.9")
  finally:
    file_utils.clear_registered_data_dirs()


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"image": ("title",)}, r"main.image .*\['image'\].*'title'"),
    ({"caption": ("titel",)}, "main.caption .*'title'.*'titel'"),
    ({"caption": ("captions.id",)}, "main.caption .*'captions.text'"),
    ({"uid": "captions.uid"}, "main.uid must be among .*'captions.id'"),
    ({"language_field": "x"}, "main.language_field must be among"),
    ({"split": "trian"}, r"main.split must be one of \['train', 'test'\]"),
    ({"split": ""}, r"main.split must be one of \['train', 'test'\]; got ''"),
    ({"path": "/"}, "main.path must be a prepared TFDS data set"),
    (
      {"path": "../no such folder"},
      "main.path must be the folder of a prepared data set, or NAME/CONFIG",
    ),
  ],
)
def test_what_does_not_fit(tmp_path, fields, message):
  with pytest.raises(ValueError, match=message):
    _open(tmp_path, **fields)


def test_damage(tmp_path):
  folder = tmp_path / "tiny" / "1.0.0"
  shutil.copytree(FOLDER, folder)
  path = next(folder.glob("tiny-train*"))
  data = bytearray(path.read_bytes())
  data[1000] ^= 1  # of about 2,000 bytes of records
  path.write_bytes(data)
  records = _open(tmp_path, path=folder, caption=("label",))
  found = _texts(records)
  assert found.count("record_broken") == 1
  assert len([one for one in found if isinstance(one, dict)]) == 5
  assert len(np.unique(records.uids())) == 6


def test_package_missing(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
  with pytest.raises(ModuleNotFoundError, match="requirements-tfds.txt"):
    _open(tmp_path)
