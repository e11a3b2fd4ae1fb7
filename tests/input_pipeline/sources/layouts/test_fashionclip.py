"""Tests of the layouts of catalogues, KAGL, DeepFashion and F-MNIST."""

import gzip
import json

import numpy as np
import pytest

from input_pipeline import faults
from input_pipeline.images import image_ops
from tests.input_pipeline.sources.layouts import opened


def _entries(num):
  return [
    {
      "id": number,
      "image": f"images/{number}.jpg",
      "highlights": ["stripes", "long sleeves"],
      "short_description": f"80s styled shirt {number}",
      "category": f"kind {number % 5}",
      "brand": f"maker {number % 7}",
      "colour": "red",
    }
    for number in range(num)
  ]


def _catalogue(folder, entries):
  images = tuple(f"farfetch/images/{entry['id']}.jpg" for entry in entries)
  tables = {"farfetch/catalog.json": json.dumps(entries)}
  opened.write(folder, tables, images)


def _column(folder, split, column):
  return dict(opened.texts(folder, f"fashionclip.catalog@{split}", column))


def test_a_catalogue(tmp_path):
  folder = tmp_path / "fashion"
  entries = _entries(70)
  entries[0]["caption"] = "its own"
  _catalogue(folder, entries)
  splits = ("train", "test", "hout_c", "hout_b")
  captions = {x: _column(folder, x, "caption") for x in splits}
  every = {
    key: text for part in captions.values() for key, text in part.items()
  }
  assert len(every) == sum(map(len, captions.values())) == 70
  assert every["farfetch/images/0.jpg"] == "its own"
  assert every["farfetch/images/1.jpg"] == (
    "stripes, long sleeves, 80s styled shirt 1"
  )
  kinds = {x: set(_column(folder, x, "category").values()) for x in splits}
  makers = {x: set(_column(folder, x, "brand").values()) for x in splits}
  assert len(kinds["hout_c"]) == 1
  assert not kinds["hout_c"] & (kinds["train"] | kinds["test"])
  assert len(makers["hout_b"]) == 1
  assert not makers["hout_b"] & (makers["train"] | makers["test"])
  assert 0 < len(captions["test"]) < len(captions["train"])
  pairs = _column(folder, "train", "pair")
  assert set(pairs.values()) == {f"red {kind}" for kind in kinds["train"]}


def test_an_entry_without_a_caption(tmp_path):
  folder = tmp_path / "fashion"
  _catalogue(folder, [{"id": 3, "image": "images/3.jpg"}, *_entries(1)])
  records = opened.records(folder, "fashionclip.catalog@train")
  with pytest.raises(faults.ExampleError, match="expected caption, highlights"):
    records[0]


def test_kagl(tmp_path):
  header = (
    "id,gender,masterCategory,subCategory,articleType,baseColour,season,year,"
    "usage,productDisplayName\n"
  )
  lines = (
    "15970,Men,Apparel,Topwear,Shirts,Navy Blue,Fall,2011,Casual,Check Shirt\n"
    "6394,Women,Apparel,Topwear,Tops,Red,Summer,2012,Ethnic,Top, with a belt\n"
    "39988,Women,Apparel,Topwear,Tops,Red,Summer,2012,Ethnic,Lost\n"
  )
  folder = tmp_path / "fashion"
  images = ("kagl/images/15970.jpg", "kagl/images/6394.jpg")
  opened.write(folder, {"kagl/styles.csv": header + lines}, images)
  records = opened.records(folder, "fashionclip.kagl", caption=("pair",))
  assert records[0].texts["en"] == ("navy blue shirts",)
  with pytest.raises(faults.ExampleError, match=r"kagl/images/39988\.jpg"):
    records[2]
  (folder / "kagl/styles.csv").write_text(header + "1,Men\n")
  with pytest.raises(ValueError, match=r"styles\.csv, line 2: expected id,"):
    opened.records(folder, "fashionclip.kagl")
  (folder / "kagl/styles.csv").write_text("id,name\n1,a\n")
  with pytest.raises(ValueError, match=r"styles\.csv, line 1: expected id,"):
    opened.records(folder, "fashionclip.kagl")
  opened.write(folder, {"kagl/styles.csv": header + lines.split("39988")[0]})
  texts = opened.texts(folder, "fashionclip.kagl")
  assert texts[1] == (images[1], "Top, with a belt")


@pytest.mark.parametrize("start", ["", "deep/Img/"])
def test_deepfashion(tmp_path, start):
  names = (
    "img/Sheer_Blouse/img_00000001.jpg",
    "img/Wool_Coat/img_00000002.jpg",
  )
  tables = {
    "Anno_coarse/list_category_cloth.txt": (
      "2\ncategory_name  category_type\nBlouse  1\nCoat   1\n"
    ),
    "Anno_coarse/list_category_img.txt": (
      f"2\nimage_name  category_label\n{names[0]}   1\n{names[1]}  2\n"
    ),
    "Anno_fine/list_category_img.txt": "1\nimage_name  category_label\n",
    "Eval/list_eval_partition.txt": (
      f"2\nimage_name  evaluation_status\n{names[0]}  train\n{names[1]}  test\n"
    ),
  }
  folder = tmp_path / "fashion"
  opened.write(folder, tables, tuple(start + name for name in names))
  texts = opened.texts(
    folder, "fashionclip.deepfashion@test", column="category"
  )
  assert texts == [(start + names[1], "coat")]
  (folder / "Eval/list_eval_partition.txt").unlink()
  with pytest.raises(ValueError, match=r"one file list_eval_partition\.txt"):
    opened.records(folder, "fashionclip.deepfashion@test")


def _idx(array):
  sizes = np.asarray(array.shape, ">u4").tobytes()
  return bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()


@pytest.mark.parametrize("is_packed", [False, True])
def test_fashion_mnist(tmp_path, is_packed):
  pixels = np.random.default_rng(0).integers(0, 255, (3, 28, 28), np.uint8)
  labels = np.array([9, 0, 3], np.uint8)
  folder = tmp_path / "fashion"
  folder.mkdir()
  contents = {"images-idx3": _idx(pixels), "labels-idx1": _idx(labels)}
  for name, content in contents.items():
    end = ".gz" if is_packed else ""
    content = gzip.compress(content) if is_packed else content
    (folder / f"t10k-{name}-ubyte{end}").write_bytes(content)
  layout = "fashionclip.fmnist@test"
  records = opened.records(folder, layout, caption=("kind",))
  texts = [records[index].texts["en"][0] for index in range(3)]
  assert texts == ["ankle boot", "T-shirt", "dress"]
  image = image_ops.decode(records[2].image)
  np.testing.assert_array_equal(image, np.stack([pixels[2]] * 3, axis=-1))
  assert records[2].origin.endswith("test/00002.png")
  assert len({records.image_id(index) for index in range(3)}) == 3
  path = folder / f"t10k-images-idx3-ubyte{'.gz' if is_packed else ''}"
  path.write_bytes(path.read_bytes()[:-3])
  with pytest.raises(ValueError, match=r"idx3-ubyte.* not whole: "):
    opened.records(folder, layout)
