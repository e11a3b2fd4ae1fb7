"""Layouts of dense sets, and what is wrong with them, by file."""

import json

import numpy as np
import pytest
from PIL import Image

from evaluators.dense import dense_set, layouts
from tests import tiny_dense


def _touch(path):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(b"")


def _voc(root):
  for split, names in (("train", "ab"), ("val", "c")):
    for name in names:
      _touch(root / "JPEGImages" / f"{name}.jpg")
      _touch(root / "SegmentationClass" / f"{name}.png")
    path = root / "ImageSets/Segmentation" / f"{split}.txt"
    _touch(path)
    path.write_text("".join(f"{name}\n" for name in names))


def test_voc(tmp_path):
  _voc(tmp_path)
  opened = layouts.open_set(f"voc:{tmp_path}/")
  assert opened.kind == dense_set.SEGMENTATION
  assert len(opened.rule.names) == 21
  assert opened.rule.names[15] == "person"
  assert opened.rule.void == (255,)
  assert [x.image for x in opened.test] == [f"{tmp_path}/JPEGImages/c.jpg"]
  assert opened.train[1].map == f"{tmp_path}/SegmentationClass/b.png"


def test_ade20k(tmp_path):
  for split in ("training", "validation"):
    for name in ("1", "2"):
      stem = f"ADE_{split}_{name}"
      _touch(tmp_path / "images" / split / f"{stem}.jpg")
      _touch(tmp_path / "annotations" / split / f"{stem}.png")
  spec = f"ade20k:{tmp_path}"
  opened = layouts.open_set(spec)
  assert (opened.rule.first, len(opened.rule.names)) == (1, 150)
  assert opened.rule.names[0] == "class 1"
  assert [len(opened.train), len(opened.test)] == [2, 2]
  lines = ["Idx\tRatio\tTrain\tVal\tName"]
  lines += [f"{i}\t0.1\t1\t1\tthing{i // 2}, x" for i in range(150)]
  (tmp_path / "objectInfo150.txt").write_text("\n".join(lines))
  names = layouts.open_set(spec).rule.names
  assert names[:3] == ("thing0 (1)", "thing0 (2)", "thing1 (3)")


def test_nyu(tmp_path):
  for split, names in (("train", ("1", "2")), ("test", ("3",))):
    for name in names:
      _touch(tmp_path / "bath" / f"rgb_{name}.jpg")
      _touch(tmp_path / "bath" / f"depth_{name}.png")
    (tmp_path / f"nyu_{split}.txt").write_text(
      "".join(f"/bath/rgb_{x}.jpg bath/depth_{x}.png 518.8\n" for x in names)
    )
  opened = layouts.open_set(f"nyu:{tmp_path}")
  assert opened.kind == dense_set.DEPTH
  assert opened.rule.units_per_metre == 1000
  assert opened.rule.crop == (45, 471, 41, 601)
  assert opened.train[0].image == f"{tmp_path}/bath/rgb_1.jpg"
  (tmp_path / "nyu_test.txt").write_text("rgb.jpg\n")
  with pytest.raises(ValueError, match="nyu_test.txt, line 1: expected IMAGE"):
    layouts.open_set(f"nyu:{tmp_path}")


def test_tables(tmp_path):
  squares, depths = tiny_dense.write(tmp_path, num_train=3, num_test=2)
  opened = layouts.open_set(squares)
  assert (opened.name, opened.kind) == ("squares", "segmentation")
  assert opened.rule == dense_set.Classes(tiny_dense.CLASSES, void=(255,))
  assert opened.test[1].map == f"{tmp_path}/test1_mask.png"
  opened = layouts.open_set(depths)
  assert opened.rule == dense_set.Depths(1000.0)
  # Other forms of the same: a table with commas, and classes in a file.
  (tmp_path / "train.csv").write_text(
    "image,mask\ntrain0.png,train0_mask.png\ntrain1.png,train1_mask.png\n"
  )
  (tmp_path / "classes.txt").write_text("background\nred\ngreen\nblue\n")
  fields = {
    "kind": "segmentation",
    "name": "mine",
    "train": "train.csv",
    "test": "test_mask.jsonl",
    "classes": "classes.txt",
    "void": [255],
  }
  (tmp_path / "mine.json").write_text(json.dumps(fields))
  opened = layouts.open_set(f"table:{tmp_path}/mine.json")
  assert opened.name == "mine"
  assert len(opened.train) == 2


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"kind": "masks"}, "kind must be one of segmentation, depth; got 'masks'"),
    ({"clases": []}, "fields must be among .*; got clases"),
    ({"train": "none.jsonl"}, "there is no .*none.jsonl"),
    ({"train": "squares.json"}, "must be a table that ends in"),
    ({"classes": ["one"]}, "number of classes must be at least 2"),
    ({"classes": ["a", "a"]}, "names of classes must differ"),
    ({"void": [1]}, "void must be values of no class, .* got 1"),
    ({"test": "train_mask.jsonl"}, "must be of training or of the test"),
    ({"train": "train_depth.jsonl"}, "row 1: expected 'mask'"),
  ],
)
def test_descriptions_are_checked(change, message, tmp_path):
  tiny_dense.write(tmp_path, num_train=3, num_test=2)
  path = tmp_path / "squares.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | change))
  with pytest.raises(ValueError, match=message):
    layouts.open_set(f"table:{path}")


def test_a_scale_is_asked_for(tmp_path):
  tiny_dense.write(tmp_path, num_train=3, num_test=2)
  path = tmp_path / "depths.json"
  fields = json.loads(path.read_text())
  del fields["units_per_metre"]
  path.write_text(json.dumps(fields))
  with pytest.raises(ValueError, match="units_per_metre must be a number"):
    layouts.open_set(f"table:{path}")


def test_files_that_are_not_there_are_named(tmp_path):
  _voc(tmp_path)
  (tmp_path / "SegmentationClass/b.png").unlink()
  with pytest.raises(ValueError, match="1 listed files are not .*/b.png"):
    layouts.open_set(f"voc:{tmp_path}")
  with pytest.raises(
    ValueError, match="there is no .*train.txt, which VOC2012"
  ):
    layouts.open_set(f"voc:{tmp_path}/other")
  for spec in ("vok:/data", "voc", "/data/squares.json"):
    with pytest.raises(
      ValueError, match=f"must be LAYOUT:PATH .* got '{spec}'"
    ):
      layouts.open_set(spec)


def test_pictures_of_the_helper_have_palettes(tmp_path):
  tiny_dense.save(tmp_path, "a", 0)
  with Image.open(tmp_path / "a_mask.png") as image:
    assert image.mode == "P"
    np.testing.assert_array_equal(image, tiny_dense.arrays(0)[1])
