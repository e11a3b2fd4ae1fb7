"""Captions of COCO, Karpathy's split, NoCaps and TextCaps, as released."""

import json

import pytest

from input_pipeline import faults
from input_pipeline.sources.layouts import captioned
from tests.input_pipeline.sources.layouts import opened

COCO = {
  "info": {},
  "images": [
    {"id": 42, "file_name": "COCO_val2014_000000000042.jpg", "height": 8},
    {"id": 73, "file_name": "COCO_val2014_000000000073.jpg"},
    {"id": 74, "file_name": "COCO_val2014_000000000074.jpg"},
    {"id": 99, "file_name": "COCO_val2014_000000000099.jpg"},
  ],
  "annotations": [
    {"image_id": 73, "id": 1, "caption": "A motorcycle."},
    {"image_id": 42, "id": 2, "caption": "A shoe rack."},
    {"image_id": 73, "id": 3, "caption": "A bike\n"},
    {"image_id": 74, "id": 4, "caption": "A dog."},
  ],
}
KARPATHY = {
  "dataset": "coco",
  "images": [
    {
      "filepath": "val2014",
      "filename": f"COCO_val2014_{number:012d}.jpg",
      "cocoid": number,
      "imgid": row,
      "split": split,
      "sentids": [row],
      "sentences": [{"raw": f"text {row}.", "tokens": ["text", str(row)]}],
    }
    for row, (number, split) in enumerate(
      [(42, "test"), (73, "restval"), (74, "train")]
    )
  ],
}
NOCAPS = {
  "images": [
    {
      "id": row,
      "open_images_id": name,
      "file_name": f"{name}.jpg",
      "domain": domain,
    }
    for row, (name, domain) in enumerate(
      [("0013ea2087020901", "near-domain"), ("00a3d9", "in-domain")]
    )
  ],
  "annotations": [
    {"image_id": row, "id": 2 * row + i, "caption": f"caption {row} {i}"}
    for row in (1, 0)
    for i in range(2)
  ],
}
TEXTCAPS = {
  "dataset_name": "textcaps",
  "data": [
    {
      "image_id": "8dc3",
      "image_path": "train/8dc3.jpg",
      "caption_str": text,
      "reference_strs": ["A sign", "A stop sign"],
    }
    for text in ("A sign", "A stop sign")
  ]
  + [{"image_id": "99aa", "caption_str": "A label"}],
}
_NAMES = [f"val2014/COCO_val2014_{number:012d}.jpg" for number in (42, 73, 99)]


def test_coco(tmp_path):
  folder = tmp_path / "coco"
  text = json.dumps(COCO)
  opened.write(folder, {"annotations/captions_val2014.json": text}, (*_NAMES,))
  records = opened.records(folder, "captioned.coco@val2014")
  assert records[1].texts["en"] == ("A motorcycle.", "A bike\n")
  assert opened.columns(records, "image_id")[:2] == [("42",), ("73",)]
  # An image that is not there, and one without captions.
  for row, kind in ((2, "file_missing"), (3, "caption_missing")):
    with pytest.raises(faults.ExampleError) as caught:
      records[row]
    assert caught.value.kind == kind


def test_karpathy(tmp_path):
  folder = tmp_path / "karpathy"
  text = json.dumps(KARPATHY)
  opened.write(folder, {"dataset_coco.json": text}, (*_NAMES,))
  records = opened.records(folder, "captioned.karpathy@test")
  assert opened.columns(records, "image", "image_id") == [(_NAMES[0], "42")]
  both = opened.records(folder, "captioned.karpathy@train_restval")
  assert opened.columns(both, "image_id") == [("73",), ("74",)]
  with pytest.raises(ValueError, match="split must be one of .* got 'val'"):
    opened.records(folder, "captioned.karpathy@val")


def test_nocaps(tmp_path):
  folder = tmp_path / "nocaps"
  opened.write(
    folder,
    {"nocaps_val_4500_captions.json": json.dumps(NOCAPS)},
    ("images/0013ea2087020901.jpg", "images/00a3d9.jpg"),
  )
  records = opened.records(folder, "captioned.nocaps@val")
  assert records[0].texts["en"] == ("caption 0 0", "caption 0 1")
  assert opened.columns(records, "image_id", "domain") == [
    ("0", "near-domain"),
    ("1", "in-domain"),
  ]


def test_textcaps(tmp_path):
  folder = tmp_path / "textcaps"
  opened.write(
    folder,
    {"TextCaps_0.1_val.json": json.dumps(TEXTCAPS)},
    ("train_images/8dc3.jpg", "train_images/99aa.jpg"),
  )
  records = opened.records(folder, "captioned.textcaps@val")
  assert [x.texts["en"] for x in (records[0], records[1])] == [
    ("A sign", "A stop sign"),
    ("A label",),
  ]


def test_other_forms(tmp_path):
  folder = tmp_path / "other"
  name = "captions_val2017.json"
  opened.write(folder, {name: json.dumps({"images": [{"id": 1}]})})
  with pytest.raises(ValueError, match=f"{name} in another form"):
    opened.records(folder, "captioned.coco@val2017")
  for content, message in (
    ([], "must be JSON with .* got <class 'list'>"),
    ({"rows": []}, r"got \['rows'\]"),
    (NOCAPS | {"images": NOCAPS["images"] * 2}, "each image once; got 2 again"),
  ):
    with pytest.raises(ValueError, match=message):
      captioned.entries(content)
  with pytest.raises(TypeError, match="must be a text; got 5"):
    captioned.entries({"data": [{"image_id": "a", "caption_str": 5}]})
