"""A labelled set of TFDS, made by the real package (golden/make_tfds.py)."""

import pytest

from evaluators.sets import labels, names, resolve
from evaluators.sets.disk import tfds
from tests.input_pipeline.sources.golden import make_tfds

FOLDER = str(make_tfds.FOLDER / "tiny" / "1.0.0")


def test_labels_by_name(tmp_path):
  pytest.importorskip("tensorflow_datasets")
  opened = tfds.open_set(FOLDER, split="train")
  assert opened.texts == ("name",)
  read = labels.read(opened, tmp_path, "--sets")
  wanted = [make_tfds.example(i)["label"] for i in range(len(read.label_N))]
  names = [opened.values[label] for label in read.label_N]
  assert len(names) == 6
  if isinstance(wanted[0], int):
    assert read.label_N.tolist() == wanted
  else:
    assert names == [name.replace("_", " ") for name in wanted]
  assert opened.origins["classes"] == f"{FOLDER}/label.labels.txt"


def test_synsets_have_the_names_that_ship(tmp_path):
  folder = tmp_path / "imagenet2012" / "5.1.0"
  folder.mkdir(parents=True)
  synsets = names.synsets("imagenet1k")
  (folder / "label.labels.txt").write_text("\n".join(synsets) + "\n")
  opened = tfds.open_set(str(folder), split="validation")
  assert (opened.name, opened.task.size) == ("imagenet1k", 50_000)
  assert opened.classes == names.classes("imagenet1k")
  rows = [[synsets[3]], [synsets[0]]]
  assert labels.parsed(opened, rows).label_N.tolist() == [3, 0]


def test_by_name(tmp_path):
  opened = resolve.resolve("", [f"tfds:{FOLDER}"], "", cache_dir=str(tmp_path))[
    "tiny"
  ]
  assert opened.source["split"] == "test"
  opened = resolve.resolve(
    "", [f"tfds:{FOLDER}@train[:50%]"], "", cache_dir=str(tmp_path)
  )["tiny"]
  assert opened.source["split"] == "train[:50%]"


def test_a_folder_without_labels(tmp_path):
  with pytest.raises(ValueError, match=r"has no label\.labels\.txt"):
    tfds.open_set(str(tmp_path))
