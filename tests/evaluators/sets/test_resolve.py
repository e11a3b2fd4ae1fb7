"""Sets by name below one folder, and what is said of those not there."""

import pytest

from evaluators.sets import missing, resolve
from tests.evaluators.sets import made


def _resolve(tmp_path, suite="", sets=()):
  return resolve.resolve(
    suite, sets, str(tmp_path / "sets"), cache_dir=str(tmp_path / "cache")
  )


def test_sets_by_name(tmp_path):
  root = tmp_path / "sets"
  made.labelled(root / "wds_cars_test", [0, 1, 2])
  made.labelled(root / "wds_vtab-dtd", [0, 1, 2])
  made.wds(
    root / "wds_flickr30k",
    [{"txt": b"a\nb"}] * 2,
    kind="retrieval",
    classes=(),
  )
  own = made.labelled(tmp_path / "mine", [0, 1])
  sets = ["cars", "dtd", "flickr30k", "cars", str(own)]
  opened = _resolve(tmp_path, sets=sets)
  assert list(opened) == ["cars", "vtab/dtd", "flickr30k", "mine"]
  assert opened["cars"].task.metric == "acc1"
  assert opened["vtab/dtd"].task.size == 1880
  assert opened["mine"].task is None


def test_two_sets_of_one_name(tmp_path):
  paths = [
    str(made.labelled(tmp_path / folder / "wds_mine", [0, 1, 2]))
    for folder in ("a", "b")
  ]
  with pytest.raises(ValueError, match="b/wds_mine is a second mine, beside /"):
    _resolve(tmp_path, sets=paths)
  assert list(_resolve(tmp_path, sets=[paths[0], f"{paths[0]}/"])) == ["mine"]


def test_datacomps_folder_comes_first(tmp_path):
  root = tmp_path / "sets"
  for folder, classes in (("wds_mnist", "abc"), ("wds_mnist_test", "xyz")):
    made.labelled(root / folder, [0, 1, 2], classes=classes)
  assert _resolve(tmp_path, sets=["mnist"])["mnist"].classes == ("x", "y", "z")


def test_a_suite_of_a_file(tmp_path):
  for name in ("cars", "mnist"):
    made.labelled(tmp_path / "sets" / f"wds_{name}", [0, 1, 2])
  file = tmp_path / "suite.txt"
  file.write_text("# mine\ncars  # of Stanford\n\nmnist\n")
  assert list(_resolve(tmp_path, str(file))) == ["cars", "mnist"]
  file.write_text("cars\nmnits\n")
  with pytest.raises(ValueError, match=r"suite\.txt, line 2: there is no set"):
    _resolve(tmp_path, str(file))


def test_all_problems_are_named_at_once(tmp_path):
  root = made.labelled(tmp_path / "sets" / "wds_cars_test", [0, 1, 2])
  (root / "test/1.tar").unlink()
  made.labelled(tmp_path / "sets" / "wds_mnist", [0, 1, 2], templates=("{c}",))
  (tmp_path / "sets/wds_stl10_test").mkdir()
  (tmp_path / "sets/wds_stl10_test/classnames.txt").write_text("a\n")
  sets = ["cars", "mnist", "vtab/pets", "stl10", "imagenet2k"]
  with pytest.raises(ValueError, match="4 problems:") as error:
    _resolve(tmp_path, sets=sets)
  text = str(error.value)
  assert "test/1.tar" in text
  assert "vtab/pets is not below" in text
  assert "wds_stl10_test has no test/nshards.txt" in text
  assert "there is no set 'imagenet2k'" in text
  assert "mnist" not in text


def test_the_whole_suite_is_missed(tmp_path):
  (tmp_path / "sets").mkdir()
  with pytest.raises(ValueError, match="38 problems:") as error:
    _resolve(tmp_path, "datacomp38")
  assert "djghosh/wds_wilds-fmow_test" in str(error.value)


@pytest.mark.parametrize(
  ("suite", "sets", "message"),
  [
    ("", (), "--suite or --sets must name at least one set; got none"),
    ("datacomp39", (), "--suite must be one of datacomp38, .*; got 'datacomp"),
    ("a/b.txt", (), "--suite must be one of .*; got 'a/b.txt'"),
    ("", ("shift",), "--sets: there is no set 'shift'; docs/evaluation.md"),
    ("", ("clevr",), r"no set 'clevr' \(did you mean vtab/clevr_count_all, "),
    ("", ("tfds:/nowhere/x/1.0.0",), "/nowhere/x/1.0.0 has no label.labels"),
    ("", ("no/such",), "--sets: no/such is no set: expected classnames.txt"),
  ],
)
def test_refused_names(tmp_path, suite, sets, message):
  with pytest.raises(ValueError, match=message):
    _resolve(tmp_path, suite, sets)


def test_a_folder_of_sets_is_needed(tmp_path):
  with pytest.raises(ValueError, match="--data_root must be the folder of"):
    resolve.resolve("", ["cars"], "", cache_dir=str(tmp_path))


@pytest.mark.parametrize(
  ("key", "parts"),
  [
    (
      "imagenet1k",
      (
        "imagenet1k is not below /data: looked for the folders wds_imagenet1k_"
        "test, wds_imagenet1k, imagenet1k, imagenet, ILSVRC2012",
        "test/nshards.txt, test/*.tar",
        "hf download djghosh/wds_imagenet1k_test --repo-type dataset "
        "--local-dir /data/wds_imagenet1k_test",
        "val/SYNSET/*.JPEG",
      ),
    ),
    (
      "fairness/geode",
      ("--local-dir /data/wds_geode_test",),
    ),
    (
      "mscoco_captions",
      (
        "its files (dataset_type.txt, test/nshards.txt, test/*.tar) are at",
        "hf download clip-benchmark/wds_mscoco_captions",
        "--local-dir /data/wds_mscoco_captions",
        "coco_test_karpathy.json",
      ),
    ),
    ("winoground", ("examples.jsonl", "its terms were accepted")),
    ("misc/winogavil", ("cue, candidates and associations", "winogavil")),
  ],
)
def test_messages_of_missing_sets(key, parts):
  text = missing.message(key, "/data/")
  for part in parts:
    assert part in text
  assert len(text.splitlines()) <= 3


def test_a_missing_set_at_a_url():
  text = missing.message("cars", "gs://bucket/sets")
  assert text.endswith(
    "hf download djghosh/wds_cars_test --repo-type dataset --local-dir "
    "wds_cars_test, then copy wds_cars_test to gs://bucket/sets/"
  )
