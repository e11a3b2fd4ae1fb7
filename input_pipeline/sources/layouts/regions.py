"""Pictures with regions: COCO, Visual Genome, RefCOCO, RefCOCO+, RefCOCOg.

Rows have "boxes", a list of (left, top, right, bottom) in pixels, and
"box_texts", a caption of each: the fields of `region_fields`. A row is a
picture, with all of its regions.

coco           instances_SPLIT.json and captions_SPLIT.json; the caption of a
               region is the name of its class. Boxes around many objects
               (iscrowd) are left out: they have no object of their own.
visual_genome  image_data.json and region_descriptions.json; captions of the
               picture are those of its regions, as there are no others.
genome_objects image_data.json and objects.json: names of objects instead.
refcoco        refs(unc).json and instances.json, the same for refcoco+ and
               refcocog; captions of the picture are its expressions. A region
               with several expressions is there once for each.

The files of refs are published as pickles, which are not read here.
"""

import functools
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from input_pipeline.sources.layouts import layout

_COCO = ("train2017", "val2017", "train2014", "val2014")
# Set -> splits, and who made them.
_REFS = {
  "refcoco": (("train", "val", "testA", "testB"), "unc"),
  "refcoco_plus": (("train", "val", "testA", "testB"), "unc"),
  "refcocog": (("train", "val", "test"), "umd"),
}


def _coco(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the pictures of a split that have captions, in their order."""
  content = data.json(data.named(f"instances_{split}.json"))
  names = {one["id"]: one["name"] for one in content["categories"]}
  regions: dict[Any, list[tuple[list[float], str]]] = {}
  for one in content["annotations"]:
    if not one.get("iscrowd"):
      regions.setdefault(one["image_id"], []).append(
        (_xyxy(one["bbox"]), names[one["category_id"]])
      )
  captions: dict[Any, list[str]] = {}
  written = data.json(data.named(f"captions_{split}.json"))
  for one in written["annotations"]:
    captions.setdefault(one["image_id"], []).append(one["caption"].strip())
  images = data.images_by_name()
  for one in content["images"]:
    name = one["file_name"]
    if one["id"] not in captions:
      message = f"captions_{split}.json has no caption of {name}"
      yield layout.fault(name, "caption_missing", message)
      continue
    own = regions.get(one["id"], [])
    image = data.needs_image(images.get(posixpath.basename(name), name))
    yield {**image, "caption": captions[one["id"]], **_columns(own)}


def _genome(file: str, data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the pictures that have regions, or objects, in their order."""
  del split
  listed = {_id(one): one for one in data.json(data.named("image_data.json"))}
  images = data.images_by_name()
  for entry in data.json(data.named(file)):
    own = []
    for one in entry.get("regions", entry.get("objects", ())):
      # Objects have "w" and "h"; descriptions of version 1.4 whole words.
      width = one["width"] if "width" in one else one["w"]
      height = one["height"] if "height" in one else one["h"]
      text = one["phrase"] if "phrase" in one else one["names"][0]
      box = _xyxy((one["x"], one["y"], width, height))
      own.append((box, text.strip()))
    number = _id(entry)
    name = f"{number}.jpg"
    if number not in listed:
      message = f"image_data.json has no picture {number} of {file}"
      yield layout.fault(name, "record_broken", message)
      continue
    texts = list(dict.fromkeys(text for _, text in own if text))
    if not texts:
      message = f"{file} has no text of picture {number}"
      yield layout.fault(name, "caption_missing", message)
      continue
    image = data.needs_image(images.get(name, name))
    yield {**image, "caption": texts, **_columns(own)}


def _refs(by: str, data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the pictures of a split that expressions refer to."""
  refs = data.json(_refs_file(data, by))
  content = data.json(data.named("instances.json"))
  names = {one["id"]: one["file_name"] for one in content["images"]}
  boxes = {one["id"]: one["bbox"] for one in content["annotations"]}
  images = data.images_by_name()
  by_image: dict[Any, list[tuple[list[float], str]]] = {}
  for ref in refs:
    if ref["split"] != split:
      continue
    own = by_image.setdefault(ref["image_id"], [])
    for sentence in ref["sentences"]:
      own.append((_xyxy(boxes[ref["ann_id"]]), sentence["sent"].strip()))
  for number, own in by_image.items():
    name = names[number]
    image = data.needs_image(images.get(posixpath.basename(name), name))
    texts = list(dict.fromkeys(text for _, text in own))
    yield {**image, "caption": texts, **_columns(own)}


def _refs_file(data: layout.Folder, by: str) -> str:
  """Return the path of refs(BY).json.

  Raises:
    ValueError: it is not there; the message says how it is made of the pickle.
  """
  name = f"refs({by}).json"
  pickles = [x for x in data.listed if x.endswith(f"refs({by}).p")]
  if pickles and not any(f"/{x}".endswith(f"/{name}") for x in data.listed):
    raise data.wrong(
      f"has {pickles[0]}, a pickle, which can run any code and is not read:"
      f" write its list as JSON to {name}, where the file can be trusted, as by"
      f" json.dump(pickle.load(open({pickles[0]!r}, 'rb')), open({name!r},"
      " 'w'))"
    )
  return data.named(name)


def _xyxy(box: Sequence[float]) -> list[float]:
  """Return left, top, right and bottom of left, top, width and height."""
  left, top, width, height = box
  return [left, top, left + width, top + height]


def _columns(own: Sequence[tuple[list[float], str]]) -> layout.Row:
  return {
    "boxes": [box for box, _ in own],
    "box_texts": [text for _, text in own],
  }


def _id(entry: Mapping[str, Any]) -> int:
  """Return the number of a picture; versions of the set name it in two ways."""
  return entry["image_id"] if "image_id" in entry else entry["id"]


def _genome_layout(file: str) -> layout.Layout:
  return layout.Layout(
    functools.partial(_genome, file),
    f"image_data.json, {file} and pictures ID.jpg in any folder",
    (),
    "arXiv 1602.07332; visualgenome.org",
  )


LAYOUTS = {
  "coco": layout.Layout(
    _coco,
    "instances_SPLIT.json, captions_SPLIT.json and their pictures in any"
    " folder",
    _COCO,
    "arXiv 1405.0312; cocodataset.org",
  ),
  "visual_genome": _genome_layout("region_descriptions.json"),
  "genome_objects": _genome_layout("objects.json"),
  **{
    name: layout.Layout(
      functools.partial(_refs, by),
      f"refs({by}).json, the list of refs({by}).p as JSON; instances.json and"
      " COCO's pictures of 2014 in any folder",
      splits,
      "github.com/lichengunc/refer",
    )
    for name, (splits, by) in _REFS.items()
  },
}
