"""Winoground, SugarCrepe and WinoGAViL."""

import json

import numpy as np
import pytest

from evaluators.metrics import selection
from evaluators.sets import audit, resolve
from evaluators.sets.disk import items
from input_pipeline import sources as formats
from input_pipeline.sources import source_config
from tests.evaluators.sets import made


def _keys(opened, folder):
  section = source_config.SourceConfig(**opened.source)
  context = source_config.SourceContext("x", folder / "index", 8)
  records = formats.FORMATS["table"].open_split(section, "", context)
  return {records[i].key: records[i].image for i in range(len(records))}


def _winoground(root):
  rows = [
    {
      "id": i,
      "image_0": f"ex_{i}_img_0",
      "image_1": f"ex_{i}_img_1",
      "caption_0": "an old person kisses a young person",
      "caption_1": "a young person kisses an old person",
      "tag": "Adjective-Age",
      "num_main_preds": 1,
    }
    for i in range(2)
  ]
  root.mkdir(parents=True)
  text = "".join(json.dumps(row) + "\n" for row in rows)
  (root / "examples.jsonl").write_text(text)
  names = [f"ex_{i}_img_{j}.png" for i in range(2) for j in range(2)]
  made.images(root / "images", *names)
  return rows


def _open(tmp_path, name):
  (opened,) = resolve.resolve(
    "", [name], str(tmp_path / "sets"), cache_dir=str(tmp_path / "cache")
  ).values()
  return opened


@pytest.mark.parametrize("part", ["", "data"])
def test_winoground(tmp_path, part):
  _winoground(tmp_path / "sets/winoground" / part)
  opened = _open(tmp_path, "winoground")
  assert opened.kind == "selection"
  assert _keys(opened, tmp_path) == {
    f"ex_{i}_img_{j}.png": made.image(2 * i + j)
    for i in range(2)
    for j in range(2)
  }
  assert items.read(opened.items)[1] == {
    "images": ["ex_1_img_0.png", "ex_1_img_1.png"],
    "texts": [
      "an old person kisses a young person",
      "a young person kisses an old person",
    ],
    "right": [[0], [1]],
    "tag": "Adjective-Age",
  }


def test_sugar_crepe(tmp_path):
  root = tmp_path / "sets" / "sugar_crepe"
  root.mkdir(parents=True)
  (root / "swap_att.json").write_text(
    json.dumps(
      {
        "0": {
          "filename": "000000085329.jpg",
          "caption": "A red cat.",
          "negative_caption": "A cat, read.",
        },
        # Numbers are not contiguous, and images come again.
        "7": {
          "filename": "000000085329.jpg",
          "caption": "x",
          "negative_caption": "y",
        },
      }
    )
  )
  made.images(root / "val2017", "000000085329.jpg")
  opened = _open(tmp_path, "sugar_crepe/swap_att")
  assert list(_keys(opened, tmp_path)) == ["000000085329.jpg"]
  first, second = items.read(opened.items)
  assert (first["texts"], first["right"]) == (
    ["A red cat.", "A cat, read."],
    [[0], []],
  )
  assert second["texts"] == ["x", "y"]
  (root / "swap_att.json").write_text('{"0": {"filename": "a.jpg"}}')
  with pytest.raises(ValueError, match="item 0: expected 'caption', of type"):
    _open(tmp_path, "sugar_crepe/swap_att")


@pytest.mark.parametrize("form", ["jsonl", "json in csv", "python in csv"])
def test_winogavil(tmp_path, form):
  root = tmp_path / "sets" / "winogavil"
  root.mkdir(parents=True)
  row = {
    "cue": "Orange",
    "candidates": ["fox", "sky", "it's", "sun"],
    "associations": ["fox", "sun"],
  }
  if form == "jsonl":
    (root / "winogavil.jsonl").write_text(json.dumps(row) + "\n")
  else:
    dump = json.dumps if form == "json in csv" else repr
    cells = [
      '"' + dump(row[name]).replace('"', '""') + '"'
      for name in ("candidates", "associations")
    ]
    text = f"cue,candidates,associations\nOrange,{','.join(cells)}\n"
    (root / "winogavil.csv").write_text(text)
  made.images(
    root / "winogavil_images", *(f"{x}.jpg" for x in row["candidates"])
  )
  opened = _open(tmp_path, "winogavil")
  assert opened.task.metric == "jaccard_score_10-12"
  _, report = audit.audited(opened, tmp_path / "index", "--sets")
  assert report.facts["num_examples"] == 1  # items, as DataComp counts
  (item,) = items.read(opened.items)
  assert item["texts"] == ["An orange"]
  assert item["right"] == [[0, 3]]
  assert list(_keys(opened, tmp_path)) == item["images"]


@pytest.mark.parametrize(
  "row",
  [
    {"cue": "x", "candidates": ["a"], "associations": ["b"]},
    {"cue": "x", "candidates": ["a"], "associations": []},
    {"cue": "x", "candidates": "a, b", "associations": ["a"]},
    {"candidates": ["a"], "associations": ["a"]},
  ],
)
def test_broken_rows_are_named(tmp_path, row):
  root = tmp_path / "sets" / "winogavil"
  root.mkdir(parents=True)
  (root / "winogavil.jsonl").write_text(json.dumps(row) + "\n")
  with pytest.raises(ValueError, match=r"winogavil\.jsonl, row 1: "):
    _open(tmp_path, "winogavil")


def test_images_that_are_nowhere(tmp_path):
  _winoground(tmp_path / "sets/winoground")
  for path in (tmp_path / "sets/winoground/images").iterdir():
    path.unlink()
  with pytest.raises(ValueError, match="names the image ex_0_img_0.png, which"):
    _open(tmp_path, "winoground")


def test_items_are_scored(tmp_path):
  _winoground(tmp_path / "sets/winoground")
  opened = _open(tmp_path, "winoground")
  rows = {key: i for i, key in enumerate(_keys(opened, tmp_path))}
  read = items.read(opened.items)
  zimg = np.eye(4, dtype=np.float32)
  texts = [text for item in read for text in item["texts"]]
  sims = selection.similarities(
    zimg,
    zimg[: len(texts)],
    [[rows[key] for key in item["images"]] for item in read],
    [[0, 1], [3, 2]],
  )
  hits = selection.matched(np.stack(sims))
  assert hits["group"].tolist() == [True, False]
