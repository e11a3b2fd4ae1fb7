"""Folders of images by class."""

import json

import numpy as np
import pytest

from evaluators.sets import labels, names, resolve
from evaluators.sets.disk import class_folders
from tests.evaluators.sets import made


def _open(tmp_path, key):
  return class_folders.open_set(
    key, str(tmp_path / "set"), cache_dir=str(tmp_path / "cache")
  )


def _labels(tmp_path, opened):
  return labels.read(opened, tmp_path / "index", "--sets").label_N.tolist()


@pytest.mark.parametrize("part", ["val", "ILSVRC/Data/CLS-LOC/val", ""])
def test_imagenet_by_synset(tmp_path, part):
  synsets = names.synsets("imagenet1k")
  folder = tmp_path / "set" / part
  made.images(
    folder,
    f"{synsets[999]}/b.JPEG",
    f"{synsets[0]}/ILSVRC2012_val_00000293.JPEG",
    f"{synsets[7]}/a.JPEG",
  )
  (folder / synsets[0] / "notes.txt").write_text("no image")
  opened = _open(tmp_path, "imagenet1k")
  assert len(opened.classes) == 1000
  assert opened.origins["classes"] == "clip-benchmark 1.6.2"
  assert len(opened.templates) == 80
  found = _labels(tmp_path, opened)
  assert found == [0, 7, 999]
  assert opened.classes[7] == "rooster"
  assert opened.source["image_root"] == str(folder).rstrip("/")


def test_imagenet_by_its_solution(tmp_path):
  made.images(
    tmp_path / "set/ILSVRC/Data/CLS-LOC/val",
    *("ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG"),
  )
  path = tmp_path / "set" / "LOC_val_solution.csv"
  path.write_text(
    "ImageId,PredictionString\n"
    "ILSVRC2012_val_00000002,n01440764 1 2 3 4 n01440764 5 6 7 8 \n"
    "ILSVRC2012_val_00000001,n01751748 111 108 370 249 \n"
  )
  opened = _open(tmp_path, "imagenet1k")
  assert _labels(tmp_path, opened) == [
    names.synsets("imagenet1k").index("n01751748"),
    0,
  ]
  path.write_text("ImageId,PredictionString\nILSVRC2012_val_00000002,cat 1\n")
  with pytest.raises(ValueError, match=r"solution\.csv, line 2: expected an "):
    _open(tmp_path, "imagenet1k")
  path.write_text("ImageId,PredictionString\n")
  with pytest.raises(ValueError, match="has no line for 2 of 2 images"):
    _open(tmp_path, "imagenet1k")


@pytest.mark.parametrize("key", ["imagenet-a", "imagenet-o", "imagenet-r"])
def test_subsets_have_labels_of_their_own(tmp_path, key):
  synsets = names.synsets(key)
  made.images(tmp_path / "set", f"{synsets[199]}/x.jpg", f"{synsets[3]}/y.jpg")
  opened = _open(tmp_path, key)
  assert _labels(tmp_path, opened) == [3, 199]
  assert opened.classes == names.classes(key)
  assert opened.task.size in (2000, 7500, 30000)


def test_a_synset_of_another_set_is_refused(tmp_path):
  made.images(tmp_path / "set", "n01440764/x.jpg")
  with pytest.raises(ValueError, match="n01440764 is none of the 200 synsets"):
    _open(tmp_path, "imagenet-a")


def test_imagenet_v2_is_numbered(tmp_path):
  part = "imagenetv2-matched-frequency-format-val"
  made.images(tmp_path / "set" / part, "10/x.jpeg", "2/y.jpeg", "999/z.jpeg")
  opened = _open(tmp_path, "imagenetv2")
  assert sorted(_labels(tmp_path, opened)) == [2, 10, 999]  # no sorted names
  made.images(tmp_path / "set" / part, "1000/x.jpeg")
  with pytest.raises(ValueError, match="1000: expected folders 0 to 999"):
    _open(tmp_path, "imagenetv2")


def test_any_folders(tmp_path):
  made.images(
    tmp_path / "set",
    *("wild_cat/1.png", "dog/1.png", "dog/2.png", "owl/x/3.png", "4.png"),
  )
  opened = _open(tmp_path, "mine")
  assert opened.warnings == (
    f"{tmp_path}/set: 2 images are left out, which are in no folder of a class,"
    " or in one below it, as owl/x/3.png",
  )
  assert opened.classes == ("dog", "wild cat")
  assert opened.templates == ("a photo of a {c}.",)
  assert _labels(tmp_path, opened) == [0, 0, 1]
  (tmp_path / "set/classnames.txt").write_text("a hound\na lynx\n")
  (tmp_path / "set/zeroshot_classification_templates.txt").write_text("{c}\n")
  opened = _open(tmp_path, "mine")
  assert opened.prompts() == ["a hound", "a lynx"]
  assert opened.origins["classes"] == str(tmp_path / "set/classnames.txt")
  (tmp_path / "set/classnames.txt").write_text("a hound\n")
  with pytest.raises(ValueError, match="has 1 names; there are 2 folders"):
    _open(tmp_path, "mine")


def test_nothing_is_none(tmp_path):
  assert _open(tmp_path, "imagenet1k") is None
  (tmp_path / "set").mkdir()
  assert _open(tmp_path, "imagenet1k") is None


def test_by_name(tmp_path):
  synsets = names.synsets("imagenet1k")
  made.images(tmp_path / "imagenet/val", f"{synsets[1]}/x.JPEG")
  opened = resolve.resolve(
    "", ["imagenet1k"], str(tmp_path), cache_dir=str(tmp_path / "cache")
  )["imagenet1k"]
  read = labels.read(opened, tmp_path / "index", "--sets")
  np.testing.assert_array_equal(read.label_N, [1])


@pytest.mark.parametrize("part", ["objectnet-1.0/", ""])
def test_objectnet(tmp_path, part):
  root = tmp_path / "objectnet" / part
  folders = {"wall_clock": "Clock (wall)", "air": "Air", "bat": "Bat (wood)"}
  shared = {"Bat (wood)": "baseball bat", "Clock (wall)": "wall clock; clock"}
  (root / "mappings").mkdir(parents=True)
  for name, value in (
    ("folder_to_objectnet_label.json", folders),
    ("objectnet_to_imagenet_1k.json", shared),
  ):
    (root / "mappings" / name).write_text(json.dumps(value))
  made.images(root / "images", "air/1.png", "bat/2.png", "wall_clock/3.png")
  opened = resolve.resolve(
    "", ["objectnet"], str(tmp_path), cache_dir=str(tmp_path / "cache")
  )["objectnet"]
  assert opened.classes == ("bat (wood)", "clock (wall)")
  assert len(opened.templates) == 80
  assert _labels(tmp_path, opened) == [0, 1]
  for path in (root / "images").glob("*/*"):
    path.unlink()
  with pytest.raises(ValueError, match="has no image in a folder that"):
    resolve.resolve(
      "", ["objectnet"], str(tmp_path), cache_dir=str(tmp_path / "cache")
    )
