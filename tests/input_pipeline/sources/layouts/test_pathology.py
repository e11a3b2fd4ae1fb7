"""Layouts of pathology, on small folders as the sets are published."""

import numpy as np
import pytest
from PIL import Image

from input_pipeline import faults
from input_pipeline.images import image_ops
from tests.input_pipeline.sources.layouts import opened

# Labelled sets have no captions of their own.
_LABELLED = {"caption": ("label",)}


def test_openpath_cleans_twitter_and_keeps_laion(tmp_path):
  folder = tmp_path / "sets"
  for name in ("GIPath/11.jpg", "Food/12.jpg", "laion/13.jpg", "GIPath/14.png"):
    opened.write(folder, {}, (f"images/{name}",))
  opened.write(
    folder,
    {
      "T-noQ.csv": ",image,caption,weblink,id\n"
      "0,/a/GIPath/11.jpg,Colon. #GIPath,w,1\n"
      "1,/a/GIPath/14.png,What is this?,w,2\n"
      "2,/a/Food/12.jpg,Lunch,w,3\n"
    },
  )
  opened.write(
    folder, {"L.csv": "image,caption\n/b/laion/13.jpg,What is a cell?\n"}
  )
  found = opened.records(folder, "pathology.openpath")
  assert opened.columns(found, "image", "source", "hashtag", "caption") == [
    ("images/laion/13.jpg", "PathLAION", None, "What is a cell?"),
    ("images/GIPath/11.jpg", "Twitter", "GIPath", "Colon. #GIPath"),
  ]


def test_the_public_list_names_media(tmp_path):
  folder = tmp_path / "sets"
  opened.write(folder, {}, ("dermpath/E1a.jpg",))
  opened.write(
    folder,
    {
      "df_208414.csv": ",source,hashtag,weblink,id,media ID,caption\n"
      "0,Twitter reply,dermpath,w,1,E1a,Naevus\n"
      "1,PathLAION,----,w,2,77,Stroma\n"
    },
  )
  found = opened.records(folder, "pathology.openpath")
  assert found[0].texts == {"en": ("Naevus",)}
  with pytest.raises(faults.ExampleError, match="has no file /77"):
    found[1]


def test_kather(tmp_path):
  folder = tmp_path / "sets"
  for name in (
    "NCT-CRC-HE-100K/TUM/TUM-AAA.tif",
    "CRC-VAL-HE-7K/ADI/ADI-TCGA-AAA.tif",
    "CRC-VAL-HE-7K/notes/a.tif",
  ):
    opened.write(folder, {}, (name,))
  for split, label in (
    ("train", "colorectal adenocarcinoma epithelium"),
    ("test", "adipose tissue"),
  ):
    found = opened.records(folder, f"pathology.kather@{split}")
    assert opened.columns(found, "label") == [(label,)]


def test_pannuke_is_labelled_by_its_cells(tmp_path):
  folder = tmp_path / "PanNuke"
  masks = np.zeros((6, 8, 8, 6))
  masks[0, 0, :8, 0] = range(1, 9)  # 8 tumour cells, too few
  masks[1, :2, :, 0] = np.arange(1, 17).reshape(2, 8)  # 16 of 16
  masks[2, :2, :, 0] = np.arange(1, 17).reshape(2, 8)  # 16 of 56
  masks[2, 2:7, :, 1] = np.arange(1, 41).reshape(5, 8)
  masks[3:5, 0, 0, 4] = 300  # benign
  masks[5, ..., 5] = 1  # background alone
  images = np.full((6, 8, 8, 3), 200.0)
  images[4] = 1
  fold = folder / "Fold 1"
  for path, array in (
    (fold / "masks/fold1/masks.npy", masks),
    (fold / "images/fold1/images.npy", images),
    (fold / "images/fold1/types.npy", np.array(["Bile-duct"] * 6)),
  ):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
  rows = []
  for split in ("train", "test"):
    found = opened.records(folder, f"pathology.pannuke@{split}", **_LABELLED)
    rows += opened.columns(found, "image", "label", "organ")
    for index, (name,) in enumerate(opened.columns(found, "image")):
      pixels = image_ops.decode(found[index].image)
      item = int(name.removeprefix("fold1/").removesuffix(".png"))
      np.testing.assert_array_equal(pixels, images[item])
  assert sorted(rows) == [
    ("fold1/1.png", "malignant", "bile-duct"),
    ("fold1/3.png", "benign", "bile-duct"),
    ("fold1/4.png", "benign", "bile-duct"),
  ]
  images[1] = 300
  np.save(fold / "images/fold1/images.npy", images)
  with pytest.raises(ValueError, match=r"whole numbers .*fold1/1.png; .* 300"):
    opened.records(folder, "pathology.pannuke@test")


def _tissue(path, height, width):
  """Write an image whose right half is background."""
  pixels = np.full((height, width, 3), 255, np.uint8)
  pixels[:, : width // 2] = 90
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(pixels).save(path)


def test_digestpath_cuts_patches_by_image(tmp_path):
  folder = tmp_path / "DigestPath2019"
  for number in range(4):
    _tissue(folder / f"tissue-train-pos-v1/p{number}.jpg", 450, 900)
    mask = np.zeros((450, 900, 3), np.uint8)
    mask[:, : 225 if number else 45] = 255
    if number < 3:
      name = f"tissue-train-pos-v1/p{number}_mask.jpg"
      Image.fromarray(mask).save(folder / name)
  _tissue(folder / "tissue-train-neg/n0.jpg", 448, 448)
  found = {
    split: opened.records(folder, f"pathology.digestpath@{split}", **_LABELLED)
    for split in ("train", "test")
  }
  rows = {
    split: opened.columns(records, "image", "label", "crop", "size")
    for split, records in found.items()
  }
  every = {
    (image.rpartition("/")[2], label, *(crop or ()))
    for part in rows.values()
    for image, label, crop, _ in part
  }
  # At half of its size, 225 x 450, an image has patches from 0 and 201 on, of
  # which the second is background; a tenth of tumour is neither.
  assert every == {
    *((f"p{i}.jpg", "malignant", 0, 0, 448, 448) for i in (1, 2)),
    ("n0.jpg", "benign", 0, 0, 448, 448),
    ("p3.jpg", None),
  }
  names = [{image for image, *_ in part} for part in rows.values()]
  assert not names[0] & names[1]
  for records in found.values():
    for index, (image, label, *_) in enumerate(
      opened.columns(records, "image", "label")
    ):
      if label is None:
        with pytest.raises(
          faults.ExampleError, match=r"p3_mask\.jpg: .*no suc"
        ):
          records[index]
      else:
        shape = image_ops.decode(records[index].image).shape
        assert shape == (224, 224, 3), image


def test_wsss4luad(tmp_path):
  folder = tmp_path / "WSSS4LUAD"
  for number in range(10):
    for label in ("1, 0, 0", "0, 1, 1"):
      opened.write(
        folder,
        {},
        (f"1.training/1.training/{number}-7159-48057-[{label}].png",),
      )
  opened.write(folder, {}, ("2.validation/img/00.png",))
  rows = {}
  for split in ("train", "test"):
    found = opened.records(folder, f"pathology.wsss4luad@{split}")
    rows[split] = opened.columns(found, "image", "label")
  assert [len(part) for part in rows.values()] == [14, 6]
  assert not {*rows["train"]} & {*rows["test"]}
  for image, label in rows["train"] + rows["test"]:
    assert label == ("tumor" if "[1" in image else "normal")
