"""Micrographs of PLIP (Nature Medicine 2023): OpenPath, and sets for judging.

Rules, constants and layouts are those of the code in PathologyFoundation/plip
(reproducibility/generate_validation_datasets, scripts/extract_embedding.py).
Sets are found in whichever folder below `path` they lie. Labelled ones have no
captions: a grammar makes them of `label` (configs/plip.py). The code's splits
of 70/30 depend on the order in which a disk lists files; here they do on names,
and of DigestPath on images, so that no image has patches in both.
"""

import functools
import pathlib
import posixpath
import re
from collections.abc import Iterator

import numpy as np

from input_pipeline import faults
from input_pipeline.images import patches
from input_pipeline.sources.layouts import layout
from input_pipeline.storage import npy

_SPLITS, _TRAIN_SHARE = ("train", "test"), 0.7
_LAION = "PathLAION"
# Lists of pairs, each of a source; the last one has a column of sources.
_LISTS = {
  "T-noQ.csv": "Twitter",
  "R-noQ.csv": "Twitter reply",
  "L.csv": _LAION,
  "df_208414.csv": "",
}
# Twitter's hashtags of pathology.
_HASHTAG = re.compile(
  "(bst|breast|cardiac|clin|cyto|derm|endo|ent|eye|fna|forensic|gi|gu|gyn|heme"
  "|hpb|id|neph|neuro|oral|panc|pedi|pulm|renal|surg)path|autopsy|bloodbank"
  "|blooducation|moldx|pathgme|pathinformatics|patientbloodmanagement",
  re.IGNORECASE,
)
_KATHER_PARTS = {"train": "NCT-CRC-HE-100K", "test": "CRC-VAL-HE-7K"}
KATHER = {
  "ADI": "adipose tissue",
  "BACK": "background",
  "DEB": "debris",
  "LYM": "lymphocytes",
  "MUC": "mucus",
  "MUS": "smooth muscle",
  "NORM": "normal colon mucosa",
  "STR": "cancer-associated stroma",
  "TUM": "colorectal adenocarcinoma epithelium",
}
# [tumor, stroma, normal] at the end of a name.
_WSSS4LUAD = re.compile(r"-\[([01]), [01], [01]\]\.png$")
_FOLD = re.compile(r"(|.*/)images/(fold\d)/images\.npy")
# PanNuke: channels of cells, the first of tumour; number of tumour cells from
# which, and share of all cells above which, a patch is malignant.
_NUM_CHANNELS, _MIN_CELLS, _SHARE_OF_CELLS = 5, 10, 0.3
# DigestPath: side of patches, share of tumour from which they are malignant,
# level above which a mask (a JPEG) is set.
_SIDE, _MIN_TUMOUR, _MASK = 224, 0.3, 10
_PATCHES = {"side": _SIDE, "overlap": 0.1, "white": 200, "min_tissue": 0.5}
_SCALES = (2, 4, 8, 16, 32)


def _openpath(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the pairs of all lists that are there.

  Of tweets and replies, those with a question mark are left out, and those of
  other hashtags.
  """
  del split
  images = {pathlib.PurePosixPath(path).stem: path for path in data.images()}
  for file in (x for x in data.listed if posixpath.basename(x) in _LISTS):
    for row in data.table(file, needs=("caption",)):
      # Images are HASHTAG/MEDIA ID.jpg; the public list has both as columns.
      path = pathlib.PurePosixPath(row.get("image", ""))
      source = _LISTS[posixpath.basename(file)] or row["source"]
      hashtag = row.get("hashtag") or path.parent.name
      stem = row.get("media ID") or path.stem
      if source == _LAION:
        hashtag = ""
      elif "?" in row["caption"] or not _HASHTAG.fullmatch(hashtag):
        continue
      yield {
        **data.needs_image(images.get(stem, f"{hashtag}/{stem}")),
        "caption": row["caption"],
        "source": source,
        "hashtag": hashtag or None,
      }


def _kather(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the patches of NCT-CRC-HE-100K, or those of CRC-VAL-HE-7K to test."""
  for name in data.images_in(_KATHER_PARTS[split]):
    if label := KATHER.get(name.split("/")[-2]):
      yield {"image": name, "label": label}


def _pannuke(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the patches of all folds that are malignant or benign."""
  groups: dict[tuple[str, str], list[tuple[str, npy.Items, int]]] = {}
  for name in data.listed:
    if fold := _FOLD.fullmatch(name):
      images = data.items(name)
      masks = data.items(f"{fold[1]}masks/{fold[2]}/masks.npy")
      types = data.items(f"{fold[1]}images/{fold[2]}/types.npy")
      for item, (mask, tissue) in enumerate(zip(masks, types, strict=True)):
        if label := _malignancy(mask):
          organ = str(tissue).lower().replace("_", " ")
          groups.setdefault((label, organ), []).append((fold[2], images, item))
  for (label, organ), items in sorted(groups.items()):
    for folder, images, item in layout.part(items, split, _TRAIN_SHARE):
      image = data.make_image(f"{folder}/{item}.png", images[item])
      yield {**image, "label": label, "organ": organ}


def _malignancy(mask: np.ndarray) -> str | None:
  """Return the label of a patch by its cells, [Y, X, channels], or None."""
  num, *others = (
    np.count_nonzero(np.unique(mask[..., i])) for i in range(_NUM_CHANNELS)
  )
  if num >= _MIN_CELLS and num > _SHARE_OF_CELLS * (num + sum(others)):
    return "malignant"
  return "benign" if any(others) and not num else None


def _digestpath(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the patches of a split's images of colon tissue.

  A patch with less tumour than makes it malignant, but some, is left out.
  """
  for folder in ("tissue-train-neg", "tissue-train-pos-v1"):
    names = [x for x in data.images_in(folder) if not x.endswith("_mask.jpg")]
    for name in layout.part(names, split, _TRAIN_SHARE):
      try:
        pixels = data.pixels(name)
        mask = np.zeros(pixels.shape[:2], bool)
        if folder.endswith("pos-v1"):
          mask = data.pixels(name.replace(".jpg", "_mask.jpg"))[..., 0] > _MASK
      except faults.ExampleError as error:
        yield layout.fault(name, error.kind, str(error))
        continue
      boxes = patches.boxes(pixels, mask, scales=_SCALES, **_PATCHES)
      for crop, tumour in boxes:
        if tumour == 0 or tumour >= _MIN_TUMOUR:
          label = "malignant" if tumour else "benign"
          part = {"crop": crop, "size": (_SIDE, _SIDE)}
          yield {"image": name, "label": label, **part}


def _wsss4luad(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the patches whose names end in their labels (1.training/)."""
  names = [name for name in data.images() if _WSSS4LUAD.search(name)]
  for name in layout.part(names, split, _TRAIN_SHARE):
    label = "tumor" if _WSSS4LUAD.split(name)[1] == "1" else "normal"
    yield {"image": name, "label": label}


_SOURCE = "github.com/PathologyFoundation"
_made = functools.partial(layout.Layout, source=_SOURCE)
_FOLDERS = "tissue-train-neg/ and tissue-train-pos-v1/ with masks"
_ARRAYS = "images/foldN/{images,types}.npy and masks/foldN/masks.npy"
_PARTS = f"{' and '.join(_KATHER_PARTS.values())}, each CLASS/*.tif"
LAYOUTS = {
  "openpath": _made(_openpath, f"images and {' or '.join(_LISTS)}", ()),
  "kather": _made(_kather, _PARTS, _SPLITS),
  "pannuke": _made(_pannuke, _ARRAYS, _SPLITS),
  "digestpath": _made(_digestpath, _FOLDERS, _SPLITS),
  "wsss4luad": _made(_wsss4luad, "images named *-[1, 0, 0].png", _SPLITS),
}
