"""Regions of tables, Parquet files and tars, beside the captions."""

import csv
import doctest
import io
import json
import math

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from configs.parts import sources as parts
from input_pipeline import faults
from input_pipeline.regions import regional
from input_pipeline.sources import source_config
from tests.input_pipeline.images import encoded
from tests.input_pipeline.sources import tars

PNG = encoded.by_pillow(Image.fromarray(np.zeros((8, 6, 3), np.uint8)), "PNG")
BOXES = [[[1.0, 2.0, 3.0, 4.0], [0.5, 0.0, 6.0, 8.0]], [], [[0, 0, 1, 1]]]
TEXTS = [["a dog", "= a man"], [], ["cat"]]
CAPTIONS = ["one", "= two", "three"]
FIELDS = (("boxes", "boxes"), ("texts", "names"))


def _source(format: str, path, **fields) -> source_config.SourceConfig:
  fields = {"caption": ("caption",), "region_fields": FIELDS, **fields}
  section = parts.source(format=format, path=str(path), **fields)
  source = source_config.SourceConfig(**section.to_dict())
  source.check("data.sources.main")
  regional.check(source, "data.sources.main")
  return source


def _open(source: source_config.SourceConfig, folder):
  context = source_config.SourceContext("main", folder / "cache", 32)
  return regional.open_split(source, "", context)


def _jsonl(folder):
  rows = zip(CAPTIONS, BOXES, TEXTS, strict=True)
  (folder / "a.png").write_bytes(PNG)
  lines = [
    json.dumps({"image": "a.png", "caption": c, "boxes": b, "names": t})
    for c, b, t in rows
  ]
  (folder / "rows.jsonl").write_text("\n".join(lines))
  return _source("table", folder / "rows.jsonl")


def _csv(folder):
  (folder / "a.png").write_bytes(PNG)
  file = io.StringIO()
  writer = csv.writer(file)
  writer.writerow(["image", "caption", "boxes", "names"])
  for caption, boxes, texts in zip(CAPTIONS, BOXES, TEXTS, strict=True):
    writer.writerow(["a.png", caption, json.dumps(boxes), json.dumps(texts)])
  (folder / "rows.csv").write_text(file.getvalue())
  return _source("table", folder / "rows.csv")


def _parquet(folder):
  columns = {
    "image": [PNG] * 3,
    "caption": CAPTIONS,
    "boxes": BOXES,
    "names": TEXTS,
  }
  parquet.write_table(pyarrow.table(columns), folder / "rows.parquet")
  return _source("parquet", folder / "rows.parquet")


def _tar(folder):
  members = {}
  rows = zip(CAPTIONS, BOXES, TEXTS, strict=True)
  for index, (caption, boxes, texts) in enumerate(rows):
    fields = {"caption": caption, "boxes": boxes, "names": texts}
    members[f"{index}.png"] = PNG
    members[f"{index}.json"] = json.dumps(fields).encode()
  tars.write(folder / "rows.tar", members)
  return _source(
    "webdataset",
    folder / "rows.tar",
    caption=("json.caption",),
    region_fields=(("texts", "json.names"), ("boxes", "json.boxes")),
  )


@pytest.mark.parametrize("make", [_jsonl, _csv, _parquet, _tar])
def test_regions_and_captions_of_rows(tmp_path, make):
  records = _open(make(tmp_path), tmp_path)
  assert len(records) == 3
  for index in range(3):
    record = records[index]
    assert record.texts == {"en": (CAPTIONS[index],)}
    assert [region.text for region in record.regions] == TEXTS[index]
    assert [[*region.box] for region in record.regions] == BOXES[index]
    assert not any(region.is_share for region in record.regions)


def test_examples():
  results = doctest.testmod(regional)
  assert results.attempted >= 2
  assert results.failed == 0


@pytest.mark.parametrize(
  ("boxes", "texts", "expected"),
  [
    ([[1, 2, 3]], ["a"], "four numbers"),
    ([[1, 2, 3, "x"]], ["a"], "four numbers"),
    (["abcd"], ["a"], "four numbers"),
    ([[1, 2, 3, 4]], [], "as many texts as boxes; got 0 and 1"),
    ({"left": 3}, ["a"], "expected a list at boxes"),
  ],
)
def test_other_forms_are_faults(tmp_path, boxes, texts, expected):
  (tmp_path / "a.png").write_bytes(PNG)
  row = {"image": "a.png", "caption": "c", "boxes": boxes, "names": texts}
  (tmp_path / "rows.jsonl").write_text(json.dumps(row))
  records = _open(_source("table", tmp_path / "rows.jsonl"), tmp_path)
  with pytest.raises(faults.ExampleError, match=expected) as caught:
    records[0]
  assert caught.value.kind == "box_broken"


def test_a_missing_number_is_not_finite(tmp_path):
  fields = {"boxes": "[[1, 2, null, NaN]]", "texts": '["a"]'}
  (region,) = regional.regions_of(fields, "xyxy", "shares")
  assert region.is_share
  assert region.box[:2] == (1, 2)
  assert all(map(math.isnan, region.box[2:]))


def test_a_column_that_is_not_there_is_named(tmp_path):
  _jsonl(tmp_path)
  fields = (("boxes", "boxs"), ("texts", "names"))
  source = _source("table", tmp_path / "rows.jsonl", region_fields=fields)
  with pytest.raises(ValueError, match=r"main\.region_fields must .* 'boxs'"):
    _open(source, tmp_path)


@pytest.mark.parametrize(
  ("fields", "expected"),
  [
    ({"region_fields": (("boxes", "b"),)}, "must name boxes and texts"),
    ({"question_fields": (("question", "q"),)}, "question_fields cannot stand"),
    ({"language_field": "lang"}, "language_field cannot stand"),
    ({"format": "emoji"}, "region_fields needs a format"),
    ({"caption": ()}, "caption must name the captions"),
    ({"box_form": "yxyx"}, "box_form must be one of xyxy, xywh"),
    ({"box_unit": "percent"}, "box_unit must be one of pixels, shares"),
  ],
)
def test_sections_that_cannot_be_read(fields, expected):
  values = {
    "format": "table",
    "caption": ("caption",),
    "region_fields": FIELDS,
    **fields,
  }
  section = source_config.SourceConfig(**parts.source(**values).to_dict())
  with pytest.raises(ValueError, match=expected):
    regional.check(section, "data.sources.main")


def test_how_boxes_are_read_is_part_of_the_fingerprint(tmp_path):
  source = _jsonl(tmp_path)
  other = _source("table", source.path, box_form="xywh")
  first, second = (_open(x, tmp_path) for x in (source, other))
  assert first.fingerprint() != second.fingerprint()
  assert second[2].regions[0].box == (0, 0, 1, 1)
  assert second[0].regions[0].box == (1, 2, 4, 6)
