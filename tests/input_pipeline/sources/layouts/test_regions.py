"""COCO, Visual Genome and RefCOCO in the files of their releases."""

import json
import pathlib
from typing import Any

import pytest

from configs.parts import domain
from input_pipeline import faults
from input_pipeline.regions import regional
from input_pipeline.sources import record as record_lib
from input_pipeline.sources import source_config
from tests.input_pipeline.sources.layouts import opened

FIELDS = (("boxes", "boxes"), ("texts", "box_texts"))


def _records(folder: pathlib.Path, layout: str) -> record_lib.Records:
  fields = {"path": str(folder), "region_fields": FIELDS}
  source = source_config.SourceConfig(**domain.source(layout, **fields))
  regional.check(source, "data.sources.main")
  cache = folder.parent / f"{folder.name}-cache"
  context = source_config.SourceContext("main", cache, 32)
  return regional.open_split(source, source.split, context)


def _write(folder: pathlib.Path, files: dict[str, Any], *images: str) -> None:
  texts = {name: json.dumps(content) for name, content in files.items()}
  opened.write(folder, texts, images)


def _regions(record: record_lib.Record) -> list[tuple]:
  return [(*region.box, region.text) for region in record.regions]


def test_coco(tmp_path):
  folder = tmp_path / "coco"
  images = [
    {"id": 9, "file_name": "000000000009.jpg", "height": 8, "width": 6},
    {"id": 25, "file_name": "000000000025.jpg", "height": 8, "width": 6},
    {"id": 30, "file_name": "000000000030.jpg", "height": 8, "width": 6},
  ]
  # Fields of COCO that are not read are left in, as in its files.
  annotations = [
    {
      **{"id": 1, "image_id": 9, "category_id": 18, "iscrowd": 0},
      **{"bbox": [1.5, 2, 3, 4.25], "area": 12.75, "segmentation": [[]]},
    },
    {
      **{"id": 2, "image_id": 9, "category_id": 1, "iscrowd": 1},
      **{"bbox": [0, 0, 6, 8], "area": 48.0, "segmentation": {}},
    },
    {
      **{"id": 3, "image_id": 9, "category_id": 1, "iscrowd": 0},
      **{"bbox": [0, 0, 1, 1], "area": 1.0, "segmentation": [[]]},
    },
  ]
  captions = [
    {"image_id": 9, "id": 48, "caption": "A dog and a man. "},
    {"image_id": 25, "id": 49, "caption": "Nothing."},
    {"image_id": 9, "id": 50, "caption": "A man's dog."},
  ]
  _write(
    folder,
    {
      "annotations/instances_val2017.json": {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
      },
      "annotations/captions_val2017.json": {
        "images": images,
        "annotations": captions,
      },
    },
    *("val2017/000000000009.jpg", "val2017/000000000025.jpg"),
  )
  records = _records(folder, "regions.coco@val2017")
  assert len(records) == 3
  first, second = records[0], records[1]
  assert first.texts == {"en": ("A dog and a man.", "A man's dog.")}
  # The box around many people is left out.
  assert _regions(first) == [
    (1.5, 2, 4.5, 6.25, "dog"),
    (0, 0, 1, 1, "person"),
  ]
  assert second.texts == {"en": ("Nothing.",)}
  assert second.regions == ()
  with pytest.raises(faults.ExampleError) as caught:
    records[2]
  assert caught.value.kind == "caption_missing"


@pytest.mark.parametrize("id", ["id", "image_id"])
def test_visual_genome(tmp_path, id):
  folder = tmp_path / "genome"
  # Versions of the set name a picture's number in two ways.
  listed = [{id: 2, "width": 6, "height": 8, "url": "https://a/2.jpg"}]
  region = {"region_id": 7, "image_id": 2, "x": 1, "y": 2}
  regions = [
    {**region, "width": 3, "height": 4, "phrase": "the clock is green "},
    {**region, "width": 2, "height": 2, "phrase": "a shade"},
    {**region, "width": 1, "height": 1, "phrase": "a shade"},
  ]
  thing = {"object_id": 5, "synsets": ["clock.n.01"], "merged_object_ids": []}
  objects = [{**thing, "names": ["clock"], "x": 0, "y": 1, "w": 2, "h": 3}]
  _write(
    folder,
    {
      "image_data.json": listed,
      "region_descriptions.json": [
        {id: 2, "regions": regions},
        {id: 3, "regions": regions},
        {id: 2, "regions": []},
      ],
      "objects.json": [{"image_id": 2, "objects": objects, "image_url": ""}],
    },
    "VG_100K_2/2.jpg",
  )
  records = _records(folder, "regions.visual_genome")
  assert records[0].texts == {"en": ("the clock is green", "a shade")}
  assert _regions(records[0]) == [
    (1, 2, 4, 6, "the clock is green"),
    (1, 2, 3, 4, "a shade"),
    (1, 2, 2, 3, "a shade"),
  ]
  for row, kind in ((1, "record_broken"), (2, "caption_missing")):
    with pytest.raises(faults.ExampleError) as caught:
      records[row]
    assert caught.value.kind == kind
  named = _records(folder, "regions.genome_objects")[0]
  assert named.texts == {"en": ("clock",)}
  assert _regions(named) == [(0, 1, 2, 4, "clock")]


_REFS = [
  {
    **{"ref_id": 0, "ann_id": 11, "image_id": 581857, "category_id": 1},
    **{"split": "train", "sent_ids": [0, 1]},
    "file_name": "COCO_train2014_000000581857_16.jpg",
    "sentences": [
      {
        **{"sent_id": 0, "raw": "THE LADY", "sent": "the lady"},
        "tokens": ["the", "lady"],
      },
      {"sent_id": 1, "raw": "Blue", "sent": "blue", "tokens": ["blue"]},
    ],
  },
  {
    **{"ref_id": 1, "ann_id": 12, "image_id": 581857, "category_id": 1},
    **{"split": "train", "sent_ids": [2]},
    "file_name": "COCO_train2014_000000581857_17.jpg",
    "sentences": [{"sent_id": 2, "raw": "man", "sent": "man", "tokens": []}],
  },
  {
    **{"ref_id": 2, "ann_id": 13, "image_id": 5, "category_id": 1},
    **{"split": "testA", "sent_ids": [3]},
    "file_name": "COCO_train2014_000000000005_18.jpg",
    "sentences": [{"sent_id": 3, "raw": "boy", "sent": "boy", "tokens": []}],
  },
]
_INSTANCES = {
  "images": [
    {"id": id, "file_name": f"COCO_train2014_{id:012d}.jpg"}
    for id in (581857, 5)
  ],
  "annotations": [
    {"id": id, "image_id": 5, "bbox": [id - 11, 1, 2, 3]} for id in (11, 12, 13)
  ],
  "categories": [{"id": 1, "name": "person"}],
}


@pytest.mark.parametrize("name", ["refcoco", "refcoco_plus"])
def test_refcoco_as_json(tmp_path, name):
  folder = tmp_path / name
  _write(
    folder,
    {"refs(unc).json": _REFS, "instances.json": _INSTANCES},
    *(f"train2014/COCO_train2014_{id:012d}.jpg" for id in (581857, 5)),
  )
  records = _records(folder, f"regions.{name}@train")
  assert len(records) == 1
  assert records[0].texts == {"en": ("the lady", "blue", "man")}
  assert _regions(records[0]) == [
    (0, 1, 2, 4, "the lady"),
    (0, 1, 2, 4, "blue"),
    (1, 1, 3, 4, "man"),
  ]
  test = _records(folder, f"regions.{name}@testA")
  assert _regions(test[0]) == [(2, 1, 4, 4, "boy")]


def test_a_pickle_of_refs_is_not_read(tmp_path):
  folder = tmp_path / "refcocog"
  _write(folder, {"instances.json": _INSTANCES})
  (folder / "refs(umd).p").write_bytes(b"not even read")
  with pytest.raises(ValueError, match=r"a pickle.*refs\(umd\)\.json"):
    _records(folder, "regions.refcocog@train")


def test_another_form_is_named(tmp_path):
  folder = tmp_path / "coco"
  _write(
    folder,
    {
      "instances_val2017.json": {"images": [], "annotations": []},
      "captions_val2017.json": {"annotations": []},
    },
  )
  with pytest.raises(
    ValueError, match="instances_val2017.json in another form"
  ):
    _records(folder, "regions.coco@val2017")
