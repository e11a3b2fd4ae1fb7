"""ROCO as it is published, and as PubMedCLIP's copy of it is."""

import pytest
from PIL import Image

from input_pipeline import faults
from tests.input_pipeline.sources.layouts import opened


@pytest.fixture
def folder(tmp_path):
  folder = tmp_path / "roco"
  images = folder / "train" / "radiology" / "images"
  images.mkdir(parents=True)
  Image.new("L", (8, 8)).save(images / "ROCO_00002.jpg")
  (images / "ROCO_00003.jpg").write_bytes(b"")
  (images.parent / "captions.txt").write_text(
    "ROCO_00002\t Computed tomography of the \ufb01rst rib. \n"
    "ROCO_00003\tan empty picture\nROCO_00004\tno picture\n"
  )
  return folder


def test_captions_of_the_published_files(folder):
  records = opened.records(folder, "roco.roco@train")
  assert records[0].texts["en"] == ("Computed tomography of the first rib.",)
  assert records[0].key == "train/radiology/images/ROCO_00002.jpg"
  for index, message in ((1, "ROCO_00003.jpg has no bytes"), (2, "_00004.jpg")):
    with pytest.raises(faults.ExampleError, match=message):
      records[index]


def test_the_table_of_the_copy(folder):
  (folder / "train" / "radiologytraindata.csv").write_text(
    f'id,name,caption\n1,ROCO_00002.jpg,"{"a rib, " * 20}"\n'
  )
  records = opened.records(folder, "roco.roco@train")
  assert opened.captions(records) == [(("a rib, " * 20).strip(),)]
  cut = opened.records(folder, "roco.legacy@train")
  assert opened.captions(cut) == [(("a rib, " * 20)[:77],)]


def test_a_line_without_a_caption(folder):
  path = folder / "train" / "radiology" / "captions.txt"
  path.write_text("ROCO_00002\n")
  with pytest.raises(ValueError, match="captions.txt: expected a name, a tab"):
    opened.records(folder, "roco.roco@train")
  with pytest.raises(ValueError, match="has no file validation/radiology/cap"):
    opened.records(folder, "roco.roco@validation")
