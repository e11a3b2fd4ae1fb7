"""Batches of pictures with boxes: filled up, faults replaced, resumed."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from input_pipeline import examples, mixture
from input_pipeline.detecting import detection_data
from runtime import checks
from tests import tiny
from tests.input_pipeline.detecting import fixture
from training import config as config_lib

CONFIG = detection_data.DetectionConfig(
  layout="table",
  train="train",
  test="test",
  classes=fixture.NAMES,
  height=64,
  width=96,
  scale=(0.8, 1.3),
  max_boxes=3,
)
DATA = dataclasses.replace(
  config_lib.from_mapping(tiny.get_config().to_dict()).data, num_threads=0
)


def _config(tmp_path, **fields):
  folder = tmp_path / "set"
  if not folder.exists():
    fixture.write(folder, "table")
  return dataclasses.replace(CONFIG, path=str(folder), **fields)


def _spoil(config, box):
  """Give the first half of the training pictures a box more."""
  path = pathlib.Path(config.path) / "train.jsonl"
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  for row in rows[:6]:
    row["boxes"].append(box)
    row["labels"].append("bar")
  path.write_text("\n".join(json.dumps(row) for row in rows))


def _maker(config, **fields):
  pictures = config.read("train")
  return detection_data.Maker(config, pictures, 0, {}, **fields)


def test_arrays_are_filled_up(tmp_path):
  maker = _maker(_config(tmp_path))
  for index in range(12):
    made = maker(mixture.Draw(index, 0, index))
    assert made["images"].shape == (64, 96, 3)
    assert made["boxes"].shape == (3, 4)
    num = int(made["mask"].sum())
    assert made["mask"].tolist() == [i < num for i in range(3)]
    assert not made["boxes"][num:].any()
    assert made[examples.FAULTS] == ()
    for left, top, right, bottom in made["boxes"][:num].astype(int):
      inside = made["images"][top + 1 : bottom - 1, left + 1 : right - 1]
      assert inside[..., 0].mean() > 200  # the object


def test_an_example_is_a_function_of_seed_and_position(tmp_path):
  maker = _maker(_config(tmp_path))
  one, again, other = (maker(mixture.Draw(n, 0, 5)) for n in (5, 5, 17))
  np.testing.assert_array_equal(one["images"], again["images"])
  assert not np.array_equal(one["images"], other["images"])


def test_without_classes_all_boxes_are_of_one(tmp_path):
  named, any_of = (
    _maker(_config(tmp_path, classes=classes)) for classes in (("bar",), ())
  )
  counts = np.zeros(2, int)
  for index in range(12):
    made = [maker(mixture.Draw(0, 0, index)) for maker in (named, any_of)]
    assert not any(one["labels"].any() for one in made)
    counts += [int(one["mask"].sum()) for one in made]
  assert 0 < counts[0] < counts[1]


@pytest.mark.parametrize(
  ("box", "message"),
  [
    ([90, 0, 99, 9], "must be in the picture of 80 x 60 pixels"),
    ([9, 9, 9, 20], "must have some area"),
    ([float("nan"), 0, 9, 9], "must have finite numbers"),
  ],
)
def test_a_wrong_box_is_a_fault_and_the_run_goes_on(tmp_path, box, message):
  config = _config(tmp_path)
  _spoil(config, box)
  loader = detection_data.make_loader(
    config,
    dataclasses.replace(DATA, max_bad_fraction=1.0),
    config.read("train"),
    batch_size=6,
    seed=0,
    folder=tmp_path,
  )
  batches = [next(loader) for _ in range(2)]
  assert [batch["images"].shape for batch in batches] == [(6, 64, 96, 3)] * 2
  assert "box_broken" in loader.summary()
  loader.sync()
  loader.close()
  lines = (tmp_path / "data_errors.jsonl").read_text()
  assert message in lines
  assert '"source": "pictures"' in lines


def test_the_loader_goes_on_where_it_was(tmp_path):
  config = _config(tmp_path)

  def open_loader():
    return detection_data.make_loader(
      config,
      DATA,
      config.read("train"),
      batch_size=4,
      seed=1,
      folder=None,
    )

  first = open_loader()
  next(first)
  state = first.get_state()
  want = [next(first) for _ in range(4)]  # into the second epoch
  second = open_loader()
  second.set_state(state)
  for batch in want:
    got = next(second)
    assert got.keys() == batch.keys()
    for name, array in batch.items():
      np.testing.assert_array_equal(got[name], array)
  first.close()
  second.close()


def test_evaluation_takes_each_picture_once(tmp_path):
  config = _config(tmp_path)
  folder = pathlib.Path(config.path)
  (folder / "test/001.png").write_bytes(b"no picture")
  left_out = []
  batches = [
    *detection_data.evaluation_batches(config, config.read("test"), 2, left_out)
  ]
  assert [error.kind for error in left_out] == ["image_broken"]
  assert [len(batch.opened) for batch in batches] == [2, 1]
  assert [batch.images.shape for batch in batches] == [(2, 64, 96, 3)] * 2
  names = [one.name for batch in batches for one in batch.opened]
  assert names == ["test/000.png", "test/002.png", "test/003.png"]
  # 60 x 80 pixels fit in 64 x 96 at 64 / 60.
  assert batches[0].factors[0] == pytest.approx((85 / 80, 64 / 60))


def test_data_that_cannot_be_used_are_named(tmp_path):
  with pytest.raises(
    ValueError, match="max_boxes must be at least .* 2; got 1"
  ):
    _config(tmp_path, max_boxes=1).read("train")
  config = _config(tmp_path, classes=("cat",))
  with pytest.raises(ValueError, match="must have boxes of detection.classes"):
    config.read("test")


def test_wrong_fields_are_named():
  bad = dataclasses.replace(
    CONFIG,
    layout="voc",
    height=70,
    scale=(0.0, 1.0),
    flip_probability=2.0,
    max_boxes=0,
    classes=("a", "a"),
  )
  with (
    pytest.raises(ValueError, match="6 problems") as error,
    checks.collected(),
  ):
    bad.check()
  for field in ("layout", "height", "scale", "flip_probability", "max_boxes"):
    assert f"detection.{field}" in str(error.value)
