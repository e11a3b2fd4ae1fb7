"""Folders in CLIP_benchmark's layout, and their labels."""

import hashlib
import json
import pathlib
import zipfile

import numpy as np
import pytest

from evaluators import suite_data
from evaluators.sets import audit, kinds, labels, wds
from input_pipeline import evaluation_split
from input_pipeline import sources as formats
from input_pipeline.images import image_ops
from input_pipeline.sources import source_config, webdataset
from runtime import sections
from tests.evaluators.sets import made

GOLDEN = pathlib.Path(__file__).parent / "golden" / "wds.zip"


def _records(opened, folder):
  source = source_config.SourceConfig(**opened.source)
  context = source_config.SourceContext("x", folder / "cache", 8)
  return formats.FORMATS[source.format].open_split(source, "", context)


def _texts(opened, folder):
  records = _records(opened, folder)
  return [
    [text for texts in records[i].texts.values() for text in texts]
    for i in range(len(records))
  ]


def test_classification(tmp_path):
  root = made.labelled(tmp_path / "wds_mine_test", [0, 2, 1, 2, 0])
  opened = wds.open_set(f"{root}/", "--sets")
  assert (opened.name, opened.kind) == ("mine", "classification")
  assert (opened.classes, opened.templates) == (made.CLASSES, made.TEMPLATES)
  assert opened.origins["classes"] == f"{root}/classnames.txt"
  assert opened.prompts()[:3] == [
    *("a photo of a cat.", "a drawing of a cat.", "a photo of a dog.")
  ]
  # Labels come with the images, and without them.
  records = _records(opened, tmp_path)
  examples = [records[i] for i in range(len(records))]
  read = labels.read(opened, tmp_path / "cache", "--sets")
  embedded = labels.of_examples(
    opened, [x.texts for x in examples], [x.key for x in examples]
  )
  for found in (read, embedded):
    assert found.label_N.tolist() == [0, 2, 1, 2, 0]
    assert found.label_N.dtype == np.int32
  assert _records(opened, tmp_path)[3].image == made.image(3)
  with pytest.raises(ValueError, match="mine, s0000000: expected label; got"):
    labels.of_examples(opened, [{"en": ("0",)}], ["s0000000"])
  source = source_config.SourceConfig(**opened.source)
  evaluation_split.check_source(source, "evaluate.sets.mine.source")


def test_sections_are_those_of_an_evaluation(tmp_path):
  root = made.wds(
    tmp_path / "wds_flickr30k",
    [{"txt": b"a cat\nit sleeps\n"}, {"txt": "ein \u201eHund\u201c".encode()}],
    kind="retrieval",
    classes=(),
  )
  opened = wds.open_set(str(root), "--sets")
  assert (opened.name, opened.kind, opened.texts) == (
    *("flickr30k", "retrieval"),
    (),
  )
  assert opened.task.name == "Flickr"
  _, report = audit.audited(opened, tmp_path / "cache", "--sets")
  assert report.facts == {"num_examples": 2}
  (warning,) = report.warnings
  assert "has 2 examples at " in warning
  assert "the published set has 1000" in warning
  assert _texts(opened, tmp_path) == [
    ["a cat", "it sleeps"],
    ["ein \u201eHund\u201c"],
  ]
  config = sections.make(
    suite_data.EvaluateConfig,
    {
      "every_steps": 0,
      "batch_size": 1,
      "sets": {"mine": kinds.retrieval(opened.source)},
    },
    see="",
  )
  config.check()


def test_lines_of_captions_are_pythons(tmp_path):
  # str.splitlines, as clip_benchmark reads them; a "\n" of two letters stays.
  root = made.wds(
    tmp_path / "x",
    [{"txt": b"a\\nb\r\n\n c \x0bd"}],
    kind="retrieval",
    num_tars=1,
  )
  opened = wds.open_set(str(root), "--sets")
  assert _texts(opened, tmp_path) == [["a\\nb", "c", "d"]]


def test_multilabel(tmp_path):
  rows = [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
  root = made.wds(
    tmp_path / "wds_voc2007_multilabel",
    [{"npy": made.npy(row)} for row in rows],
    kind="multilabel",
  )
  opened = wds.open_set(str(root), "--sets")
  assert opened.kind == "multilabel"
  read = labels.read(opened, tmp_path / "cache", "--sets")
  assert read.targets_NA.tolist() == [[bool(x) for x in row] for row in rows]
  assert labels.parsed(opened, _texts(opened, tmp_path)).targets_NA.all(
    axis=1
  ).tolist() == [False, False, False]
  root.joinpath("classnames.txt").write_text("a\nb\n")
  with pytest.raises(ValueError, match="targets must be 2 numbers, each 0 or"):
    labels.read(wds.open_set(str(root), "x"), tmp_path / "cache", "--sets")


def test_groups_come_with_the_labels(tmp_path):
  groups = [[0, 3], [5, 1], [2, 2], [5, 9]]
  root = made.wds(
    tmp_path / "wds_geode_test",
    [
      {"cls": b"%d" % (i % 3), "npy": made.npy(row)}
      for i, row in enumerate(groups)
    ],
  )
  opened = wds.open_set(str(root), "--sets")
  assert (opened.name, opened.fields) == (
    "fairness/geode",
    ("region", "country"),
  )
  read = labels.read(opened, tmp_path / "cache", "--sets")
  assert read.groups_NG.tolist() == groups
  assert read.label_N.tolist() == [0, 1, 2, 0]
  parsed = labels.parsed(opened, _texts(opened, tmp_path))
  np.testing.assert_array_equal(parsed.groups_NG, read.groups_NG)


def test_faces(tmp_path):
  root = made.wds(
    tmp_path / "wds_fairface_test",
    [{"npy": made.npy([3, 1, 6, 0])}, {"npy": made.npy([0, 0, 1, 1])}],
    classes=(
      *("race:Black", "race:White", "gender:male", "gender:female"),
      *("age:0-2", "toxic:criminal: thief"),
    ),
    templates=(
      *("race:a photo of a {c} person", "gender:a photo of a {c}"),
      *("age:a {c} face", "toxic:a {c}", "toxic:the {c}"),
    ),
  )
  opened = wds.open_set(str(root), "--sets")
  assert (opened.kind, opened.classes) == ("faces", ())
  assert list(opened.objectives) == ["race", "gender", "age", "toxic"]
  assert opened.objectives["toxic"] == (
    ("criminal: thief",),
    ("a {c}", "the {c}"),
  )
  assert opened.fields == ("age", "gender", "race", "race_binary")
  read = labels.read(opened, tmp_path / "cache", "--sets")
  assert read.groups_NG.tolist() == [[3, 1, 6, 0], [0, 0, 1, 1]]
  assert not audit.audit(opened, read).errors


def test_names_that_ship_are_named(tmp_path):
  root = made.labelled(
    tmp_path / "wds_vtab-pcam_test", [0, 1, 1], classes=(), templates=()
  )
  opened = wds.open_set(str(root), "--sets")
  assert opened.origins == {
    "classes": "clip-benchmark 1.6.2",
    "templates": "clip-benchmark 1.6.2",
  }
  assert len(opened.classes) == 2
  assert "has no classnames.txt; those of clip-benchmark" in opened.warnings[0]


def test_a_set_without_names_is_refused(tmp_path):
  root = made.labelled(tmp_path / "wds_mine", [0], classes=(), num_tars=1)
  with pytest.raises(ValueError, match=r"has no classnames\.txt, a line each"):
    wds.open_set(str(root), "--sets")


@pytest.mark.parametrize(
  ("break_it", "message"),
  [
    (
      lambda root: (root / "test/nshards.txt").unlink(),
      r"has no test/nshards\.txt, the number of the tars",
    ),
    (
      lambda root: (root / "test/nshards.txt").write_text("two"),
      r"nshards\.txt, line 1: expected a number of tars; got 'two'",
    ),
    (
      lambda root: (root / "test/nshards.txt").write_text("3"),
      r"lists 3 files, of which 1 are not there, first .*/test/2\.tar",
    ),
    (
      lambda root: (root / "dataset_type.txt").write_text("video"),
      r"dataset_type\.txt must be one of .*; got 'video'",
    ),
    (
      lambda root: (root / "classnames.txt").write_bytes(b"cat\nd\xffg\n"),
      r"classnames\.txt, line 2: byte 0xff is not UTF-8",
    ),
  ],
)
def test_broken_folders(tmp_path, break_it, message):
  root = made.labelled(tmp_path / "wds_mine", [0, 1])
  break_it(root)
  with pytest.raises(ValueError, match=message):
    wds.open_set(str(root), "--sets")


def test_all_problems_of_a_folder_are_named(tmp_path):
  root = made.labelled(tmp_path / "wds_mine", [0, 1], classes=())
  (root / "test/nshards.txt").unlink()
  with pytest.raises(ValueError, match="2 problems:") as error:
    wds.open_set(str(root), "--sets")
  assert "nshards.txt" in str(error.value)
  assert "classnames.txt" in str(error.value)


def test_a_tar_too_many_is_a_warning(tmp_path):
  root = made.labelled(tmp_path / "wds_mine", [0, 1, 2, 0])
  (root / "test/nshards.txt").write_text("1")
  (warning,) = wds.open_set(str(root), "--sets").warnings
  assert warning.endswith("nshards.txt says 1, but test/1.tar is there")


def test_letters_of_patterns_in_a_folders_name(tmp_path):
  root = made.labelled(tmp_path / "[v1] {a,b}*" / "wds_mine", [0, 1, 2])
  opened = wds.open_set(str(root), "--sets")
  assert labels.read(opened, tmp_path, "x").label_N.tolist() == [0, 1, 2]


def test_a_folder_at_a_url(tmp_path):
  fsspec = pytest.importorskip("fsspec")
  root = made.labelled(tmp_path / "wds_mine", [0, 1, 2])
  memory = fsspec.filesystem("memory")
  memory.put(str(root), "/sets_of_a_test/wds_mine", recursive=True)
  try:
    url = "memory://sets_of_a_test/wds_mine"
    assert wds.is_set(url)
    assert not wds.is_set("memory://sets_of_a_test/wds_other")
    opened = wds.open_set(url, "--sets")
    assert opened.classes == made.CLASSES
    assert labels.read(opened, tmp_path, "x").label_N.tolist() == [0, 1, 2]
  finally:
    memory.rm("/sets_of_a_test", recursive=True)


@pytest.mark.parametrize(
  ("sample", "message"),
  [
    ({"cls": b"one"}, r"0\.tar, s0000000: label must be a whole number; got"),
    ({"cls": b"1.5"}, "label must be a whole number; got '1.5'"),
    (
      {"cls": b"99999999999"},
      "label must be a whole number; got '99999999999'",
    ),
    ({"cls": b"1e999"}, "label must be a whole number; got '1e999'"),
    ({"cls": b"nan"}, "label must be a whole number; got 'nan'"),
    ({"cls": b"1 2"}, "label must be a whole number; got '1 2'"),
    ({"txt": b"a cat"}, r"s0000000 has no caption in cls; it has png, txt"),
  ],
)
def test_broken_labels_name_their_file(tmp_path, sample, message):
  root = made.wds(tmp_path / "wds_mine", [sample] * 5, num_tars=1)
  opened = wds.open_set(str(root), "--sets")
  with pytest.raises(ValueError, match=message) as error:
    labels.read(opened, tmp_path / "cache", "--sets")
  assert "and 2 more of 5 examples of mine" in str(error.value)


def test_no_pickle_is_loaded(tmp_path):
  objects = np.array([pathlib.Path(), None], object)
  root = made.wds(
    tmp_path / "wds_mine",
    [{"npy": made.npy(objects)}],
    kind="multilabel",
    num_tars=1,
  )
  opened = wds.open_set(str(root), "--sets")
  with pytest.raises(ValueError, match="no array of numbers in it: Object"):
    labels.read(opened, tmp_path / "cache", "--sets")


def test_no_image_is_read_for_labels(tmp_path, monkeypatch):
  root = made.labelled(tmp_path / "wds_mine", [0, 1, 2])
  opened = wds.open_set(str(root), "--sets")
  _records(opened, tmp_path)  # indexes
  original = webdataset.members_of
  members = []

  def members_of(*arguments):
    key, found = original(*arguments)
    members.append(found)
    return key, found

  monkeypatch.setattr(webdataset, "members_of", members_of)
  labels.read(opened, tmp_path / "cache", "--sets")
  assert [found["png"] for found in members] == [b""] * 3


@pytest.mark.parametrize("name", ["labelled", "multilabel", "retrieval"])
def test_clip_benchmarks_own_folders(tmp_path, name):
  """Its writer made them, and its reader the values: golden/make_wds.py."""
  with zipfile.ZipFile(GOLDEN) as archive:
    archive.extractall(tmp_path)
  wanted = json.loads((tmp_path / "read.json").read_text())[name]
  opened = wds.open_set(str(tmp_path / name), "--sets")
  records = _records(opened, tmp_path)
  digests = [
    hashlib.sha256(image_ops.decode(records[i].image).tobytes()).hexdigest()
    for i in range(len(records))
  ]
  assert digests == [image for image, _ in wanted["rows"]]
  values = [value for _, value in wanted["rows"]]
  if name == "retrieval":
    assert _texts(opened, tmp_path) == values
    return
  read = labels.read(opened, tmp_path / "cache", "--sets")
  array = read.label_N if name == "labelled" else read.targets_NA
  assert array.astype(int).tolist() == values
  assert list(opened.classes) == wanted["classes"]
  assert list(opened.templates) == wanted["templates"]


@pytest.mark.parametrize(
  ("root", "name"),
  [
    ("data/wds_vtab-dtd_test", "vtab/dtd"),
    ("https://huggingface.co/datasets/djghosh/wds_geode_test/resolve/main", ""),
    ("gs://bucket/wds_mscoco_captions", "mscoco_captions"),
    ("/data/own", "own"),
  ],
)
def test_names_of_folders(root, name):
  assert wds.name_of(root) == (name or "fairness/geode")
