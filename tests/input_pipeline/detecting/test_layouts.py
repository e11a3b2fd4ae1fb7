"""Annotations of COCO and of tables, and those that cannot be read."""

import json

import numpy as np
import pytest

from input_pipeline.detecting import layouts
from tests.input_pipeline.detecting import fixture


def _read(folder, layout, split="train"):
  return layouts.read(folder, layout, split, "detection.train")


def test_all_layouts_say_the_same(tmp_path):
  several = [
    _read(fixture.write(tmp_path / name, name), layout)
    for name, layout in (("coco", "coco"), ("table", "table"), ("csv", "table"))
  ]
  assert [len(one) for one in several] == [12] * 3
  assert len({one.digest for one in several}) == 1
  one = several[0].listed[0]
  assert one.path.is_file()
  assert one.name == "train/000.png"
  assert len(one.box_M4) == len(one.labels)
  assert set(one.labels) <= {*fixture.NAMES}


def test_crowds_and_pictures_without_boxes(tmp_path):
  made = fixture.coco(
    "train",
    [
      {"image": "train/a.png", "boxes": [], "labels": []},
      {"image": "train/b.png", "boxes": [[1, 2, 5, 6]], "labels": ["bar"]},
    ],
  )
  made["annotations"][0]["iscrowd"] = 1
  (tmp_path / "annotations").mkdir()
  path = tmp_path / "annotations/instances_train.json"
  path.write_text(json.dumps(made))
  none, crowd = _read(tmp_path, "coco").listed
  assert none.box_M4.shape == (0, 4)
  assert crowd.is_crowd_M.tolist() == [True]
  assert crowd.box_M4.tolist() == [[1, 2, 5, 6]]


def test_nan_is_read_as_it_is(tmp_path):
  """A picture's size is needed to judge its boxes; that is done later."""
  line = '{"image": "a.png", "boxes": [[NaN, 0, 1, 1]]}\n'
  (tmp_path / "train.jsonl").write_text(line)
  (one,) = _read(tmp_path, "table").listed
  assert np.isnan(one.box_M4[0, 0])
  assert one.labels == ("",)


@pytest.mark.parametrize(
  ("line", "kind", "message"),
  [
    ('{"image": "a.png", "boxes": [[0, 1, 2]]}', "box_broken", "unpack"),
    ('{"image": "a.png", "boxes": 3}', "box_broken", "boxes is 3"),
    ('{"image": "a.png", "boxes": [[0,0,1,"x"]]}', "box_broken", "float"),
    (
      '{"image": "a.png", "boxes": [[0,0,1,1]], "labels": ["a", "b"]}',
      "box_broken",
      "1 boxes and 2 labels",
    ),
    ('{"boxes": [[0,0,1,1]]}', "image_missing", "no path in image; got None"),
    ("{", "record_broken", "no JSON"),
  ],
)
def test_a_broken_row_is_a_fault_of_its_picture(tmp_path, line, kind, message):
  good = '{"image": "b.png", "boxes": [[0, 0, 1, 1]]}'
  (tmp_path / "train.jsonl").write_text(f"{line}\n\n{good}\n")
  bad, rest = _read(tmp_path, "table").listed
  assert bad.problem[0] == kind
  assert message in bad.problem[1]
  assert rest.problem == ()


def test_annotations_that_cannot_be_read_are_named(tmp_path):
  with pytest.raises(ValueError, match="instances_train.json must have COCO's"):
    _read(tmp_path, "coco")
  with pytest.raises(
    ValueError, match="must have one of train.jsonl, train.csv"
  ):
    _read(tmp_path, "table")
  (tmp_path / "train.jsonl").write_text("\n")
  with pytest.raises(ValueError, match="has no pictures of it"):
    _read(tmp_path, "table")
  folder = fixture.write(tmp_path / "coco", "coco")
  path = folder / "annotations/instances_train.json"
  made = json.loads(path.read_text())
  made["annotations"][0]["image_id"] = 5
  path.write_text(json.dumps(made))
  with pytest.raises(ValueError, match="annotations of these images.*5"):
    _read(folder, "coco")
