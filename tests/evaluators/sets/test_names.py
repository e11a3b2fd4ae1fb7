"""Suites, names of sets, and class names that ship with the code."""

import collections
import pathlib

import pytest

from evaluators.sets import clip_benchmark, datacomp, names

DATA = pathlib.Path(names.__file__).parent / "data"


@pytest.mark.parametrize(
  ("suite", "number"),
  [
    # Lengths of clip_benchmark.datasets.builder.dataset_collection, 1.6.2.
    ("vtab", 19),
    ("vtab+", 36),
    ("retrieval", 3),
    ("imagenet_robustness", 5),
    ("sugar_crepe", 7),
    # DataComp's.
    ("datacomp38", 38),
    ("imagenet_shifts", 6),
    ("fairness", 4),
  ],
)
def test_suites(suite, number):
  keys = clip_benchmark.SUITES[suite]
  assert len(keys) == len(set(keys)) == number
  assert set(keys) <= set(clip_benchmark.known())


@pytest.mark.parametrize(
  ("name", "key"),
  [
    ("imagenet1k", "imagenet1k"),
    ("cars", "cars"),
    ("vtab/dtd", "vtab/dtd"),
    ("caltech101", "vtab/caltech101"),
    ("vtab/cifar10", "cifar10"),
    ("fmow", "wilds/fmow"),
    ("winogavil", "misc/winogavil"),
    ("xm3600", "crossmodal3600"),
    ("add_att", "sugar_crepe/add_att"),
    ("nothing", None),
    ("", None),
  ],
)
def test_short_names(name, key):
  assert clip_benchmark.key_of(name) == key


def test_every_key_has_its_own_names():
  for key in clip_benchmark.known():
    assert clip_benchmark.key_of(key) == key
  # Folders of two sets are shared by those of the same pictures alone.
  owners = collections.defaultdict(set)
  for key in clip_benchmark.known():
    for folder in clip_benchmark.folders(key):
      owners[folder].add(key)
  shared = [keys for keys in owners.values() if len(keys) > 1]
  for keys in shared:
    assert len({clip_benchmark.published(key) for key in keys}) == 1


def test_folders_and_repositories():
  assert clip_benchmark.folders("cifar10") == (
    *("wds_cifar10_test", "wds_cifar10", "wds_vtab-cifar10"),
  )
  assert clip_benchmark.repositories("vtab/dtd") == (
    *("djghosh/wds_vtab-dtd_test", "clip-benchmark/wds_vtab-dtd"),
  )
  assert clip_benchmark.repositories("cifar10") == (
    *("djghosh/wds_cifar10_test", "clip-benchmark/wds_vtab-cifar10"),
  )
  assert clip_benchmark.repositories("food101") == ("djghosh/wds_food101_test",)
  key = "retrieval/flickr_1k_test_image_text_retrieval"
  assert clip_benchmark.repositories(key) == (
    *("nlphuji/flickr_1k_test_image_text_retrieval",),
    "clip-benchmark/wds_flickr30k",
  )
  assert "wds_flickr30k" in clip_benchmark.folders(key)
  assert clip_benchmark.repositories("vtab/dmlab") == (
    "clip-benchmark/wds_vtab-dmlab",
  )
  assert clip_benchmark.repositories("multi30k") == ()
  assert clip_benchmark.repositories("flickr8k") == (
    "clip-benchmark/wds_flickr8k",
  )
  assert clip_benchmark.published("mscoco_captions").size == 5000


def test_names_that_ship_fit_the_table():
  with_names = []
  for key, task in datacomp.tasks().items():
    classes = names.classes(key)
    if classes:
      with_names.append(key)
      assert len(classes) == task.classes, key
      assert all(name == name.strip() for name in classes)
      # One of CLEVR's distances has no word of its own.
      assert classes.count("") == (key == "vtab/clevr_closest_object_distance")
    if task.classes and names.templates(key):
      assert all("{c}" in line for line in names.templates(key))
  assert len(with_names) == 18


def test_imagenets():
  synsets = names.synsets("imagenet1k")
  assert len(set(synsets)) == 1000
  assert list(synsets) == sorted(synsets)
  assert (synsets[0], names.classes("imagenet1k")[0]) == ("n01440764", "tench")
  by_synset = dict(zip(synsets, names.classes("imagenet1k"), strict=True))
  for key in ("imagenet-a", "imagenet-o", "imagenet-r"):
    assert [by_synset[x] for x in names.synsets(key)] == [*names.classes(key)]
  assert names.synsets("imagenet-r")[0] == "n01443537"
  assert len(names.templates("imagenetv2")) == 80
  assert names.classes("objectnet") == ()


def test_the_licence_is_there():
  text = (DATA / "CLIP_BENCHMARK_LICENSE").read_text()
  assert text.startswith("MIT License")
  assert "Copyright (c) 2022, Mehdi Cherti" in text
  assert sum(path.stat().st_size for path in DATA.iterdir()) < 100_000
