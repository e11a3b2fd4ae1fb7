"""Regions of --task=explain: files, figures and messages."""

import json

import numpy as np
import pytest
from PIL import Image

from evaluators.metrics import localisation
from inference.explaining import explain, regions
from tests import runs
from tests.inference import fresh_run

TEXTS = ("a logo", "a sleeve")


@pytest.fixture
def photos(tmp_path):
  """Return a folder with a photograph, and its region: the left half."""
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (24, 48, 3), np.uint8)
  Image.fromarray(pixels).save(tmp_path / "1.png")
  mask = np.zeros((24, 48), np.uint8)
  mask[:, :24] = 255
  Image.fromarray(mask).save(tmp_path / "left.png")
  Image.fromarray(mask[:, :40]).save(tmp_path / "short.png")
  Image.fromarray(mask * 0).save(tmp_path / "none.png")
  return tmp_path


def _write(photos, *rows):
  path = photos / "regions.jsonl"
  path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
  return str(path)


def _row(**fields):
  return {"image": "1.png", "text": "a logo", "region": "left.png"} | fields


def _read(photos, path):
  return regions.read(path, [photos / "1.png"], TEXTS, lambda x: x[::2, ::2])


def test_a_region_is_resized_as_its_image_is(photos):
  ((key, got),) = _read(photos, _write(photos, _row())).items()
  assert key == (photos / "1.png", "a logo")
  assert got.shape == (12, 24)
  assert got[:, :12].all()
  assert not got[:, 12:].any()
  assert regions.read("", [], TEXTS, np.asarray) == {}


@pytest.mark.parametrize(
  ("row", "message"),
  [
    (_row(image="2.png"), "line 2: image must be one of --images; got '2.png'"),
    (_row(text="a hat"), "line 2: text must be one of --texts; got 'a hat'"),
    (_row(), "line 2: a second region of 1.png"),
    ({"image": "1.png"}, "line 2: expected an object of texts image, text"),
    (_row(text="a sleeve", region="x.png"), r"line 2: .*x\.png"),
    (
      _row(text="a sleeve", region="short.png"),
      "short.png must have the size of its image, 48 x 24 pixels; got 40 x 24",
    ),
    (_row(text="a sleeve", region="none.png"), "none.png has no pixel in the"),
  ],
)
def test_lines_that_cannot_be_used(photos, row, message):
  with pytest.raises(ValueError, match=message):
    _read(photos, _write(photos, _row(), row))


def test_a_file_that_is_not_there(photos):
  with pytest.raises(ValueError, match="--regions must be a file of JSON"):
    _read(photos, str(photos / "absent.jsonl"))


@pytest.mark.slow
def test_maps_are_judged(photos, capsys):
  fresh_run.write(photos / "run", runs.make_config())
  path = _write(photos, _row())
  out = photos / "out"
  explain.run(
    str(photos / "run"),
    images=str(photos / "1.png"),
    texts=",".join(TEXTS),
    method="patches",
    out=str(out),
    batch_size=8,
    regions=path,
  )
  facts = json.loads((out / "explain.json").read_text())
  judged, other = facts["images"][0]["maps"]
  assert "localisation" not in other
  # The model squashes the image: its left half stays one.
  region = np.zeros((16, 16), bool)
  region[:, :8] = True
  heat = np.load(out / judged["array"])
  got = judged["localisation"]["figures"]
  assert got == localisation.judge(heat, region)
  found = facts["localisation"]
  assert (found["num_maps"], found["num_images"]) == (1, 1)
  assert found["pixel_ap"] == got["pixel_ap"]
  assert found["chance"]["pointing"] == 0.5
  assert 0 < found["chance"]["iou"] < 0.5
  assert "Regions of 1 maps: iou" in capsys.readouterr().out
  assert "Regions of 1 maps: iou" in (out / "report.html").read_text()
