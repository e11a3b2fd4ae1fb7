"""Training splits of sets, for probes."""

import pytest

from evaluators.sets import labels, names, resolve
from evaluators.sets.disk import class_folders, tfds
from tests.evaluators.sets import made
from tests.input_pipeline.sources.golden import make_tfds


def _labels(opened, tmp_path):
  return labels.read(opened, tmp_path / "index", "--sets").label_N.tolist()


def test_tars_of_train(tmp_path):
  root = made.labelled(tmp_path / "wds_mine", [0, 1, 2])
  (opened,) = resolve.resolve(
    "", [str(root)], "", cache_dir=str(tmp_path)
  ).values()
  assert opened.training is None
  (root / "test").rename(root / "train")
  made.labelled(tmp_path / "other", [2, 1])
  (tmp_path / "other" / "test").rename(root / "test")
  (opened,) = resolve.resolve(
    "", [str(root)], "", cache_dir=str(tmp_path)
  ).values()
  assert _labels(opened, tmp_path) == [2, 1]
  training = opened.training()
  assert _labels(training, tmp_path) == [0, 1, 2]
  assert training.classes == opened.classes
  assert training.training is None


def test_folders_beside_the_set(tmp_path):
  """A path of one's own folders by class is a set; train/ is beside test/."""
  root = tmp_path / "beasts"
  made.images(root / "test", "ant/a.png", "bee/b.png")
  made.images(root / "train", "ant/c.png", "bee/d.png", "bee/e.png")
  opened = resolve.resolve("", [f"{root}/"], "", cache_dir=str(tmp_path))
  beasts = opened["beasts"]
  assert _labels(beasts, tmp_path) == [0, 1]
  assert _labels(beasts.training(), tmp_path) == [0, 1, 1]


def test_synsets_of_train(tmp_path):
  synsets = names.synsets("imagenet1k")
  for part, label in (("val", 5), ("train", 900)):
    made.images(tmp_path / "imagenet" / part, f"{synsets[label]}/a.JPEG")
  opened = class_folders.open_set(
    "imagenet1k", str(tmp_path / "imagenet"), cache_dir=str(tmp_path)
  )
  assert _labels(opened, tmp_path) == [5]
  assert _labels(opened.training(), tmp_path) == [900]


def test_split_of_tfds():
  folder = str(make_tfds.FOLDER / "tiny" / "1.0.0")
  training = tfds.open_set(folder).training()
  assert training.source["split"] == "train"
  assert training.classes == tfds.open_set(folder).classes
  # A split that was chosen by name may be the training split itself.
  assert tfds.open_set(folder, split="test").training is None


def test_no_training_split_beside_a_folder_of_another_name(tmp_path):
  made.images(tmp_path / "beasts", "ant/a.png", "bee/b.png")
  made.images(tmp_path / "train", "ant/c.png")
  opened = resolve.resolve(
    "", [str(tmp_path / "beasts")], "", cache_dir=str(tmp_path)
  )
  assert opened["beasts"].training is None
  with pytest.raises(ValueError, match="is no set"):
    resolve.resolve("", [str(tmp_path / "none")], "", cache_dir=str(tmp_path))
