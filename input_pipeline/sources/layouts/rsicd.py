"""Captions of aerial pictures: RSICD, UCM-Captions, Sydney-Captions.

RSICD (arXiv 1712.07835) names pictures by their scene, as airport_348.jpg, or
by a number alone; CLIP-RSICD is evaluated on those that have a scene.
"""

import functools
import re
from collections.abc import Iterator

from input_pipeline.sources.layouts import layout

_SPLITS = ("train", "val", "test")
_SCENE = re.compile(r"([a-z]+)_\d+\.\w+")
# Names of CLIP-RSICD's files of captions (github.com/arampacha/CLIP-rsicd).
_AUGMENTED = {"train": "train", "val": "valid", "test": "test"}


def _captions(
  images: str, file: str, data: layout.Folder, split: str
) -> Iterator[layout.Row]:
  """Yield an example for each picture of a split, with all of its captions."""
  for entry in data.json(file)["images"]:
    if entry["split"] != split:
      continue
    texts = [sentence["raw"].strip() for sentence in entry["sentences"]]
    scene = _SCENE.fullmatch(entry["filename"])
    yield {
      **data.needs_image(f"{images}/{entry['filename']}"),
      "caption": texts,
      "scene": scene[1] if scene else None,
    }


def _scenes(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the pictures whose names have a scene; with it in "scene"."""
  rows = _captions("RSICD_images", "dataset_rsicd.json", data, split)
  yield from (row for row in rows if row.get("scene"))


def _augmented(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield pictures with five captions each, some of them translated back."""
  file = f"textaug_{_AUGMENTED[split]}_rsicd.jsonl"
  for entry in data.json_lines(file):
    name = entry["filename"].rpartition("/")[2]
    yield {
      **data.needs_image(f"RSICD_images/{name}"),
      "caption": entry["captions"],
    }


def _layout(images: str, file: str, source: str) -> layout.Layout:
  return layout.Layout(
    functools.partial(_captions, images, file),
    f"{file} and {images}/",
    _SPLITS,
    source,
  )


_RSICD = "arXiv 1712.07835"
_QU = "Qu et al., CITS 2016; github.com/201528014227051/RSICD_optimal"
LAYOUTS = {
  "captions": _layout("RSICD_images", "dataset_rsicd.json", _RSICD),
  "scenes": layout.Layout(
    _scenes, "dataset_rsicd.json and RSICD_images/", _SPLITS, _RSICD
  ),
  "augmented": layout.Layout(
    _augmented,
    "textaug_{train,valid,test}_rsicd.jsonl of CLIP-rsicd and RSICD_images/",
    _SPLITS,
    "github.com/arampacha/CLIP-rsicd",
  ),
  "ucm": _layout("imgs", "dataset.json", _QU),
  "sydney": _layout("imgs", "dataset.json", _QU),
}
