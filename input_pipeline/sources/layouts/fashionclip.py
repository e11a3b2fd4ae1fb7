"""Pictures of fashion: a catalogue of products, KAGL, DeepFashion, F-MNIST.

Each set may lie in a folder of its own below the one that is named. `catalog`
is that of FashionCLIP's code (FCLIPDataset): entries of id, image and caption,
or of what captions are made of there, highlights and short_description. Names
in KAGL's table have commas that are not quoted.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from input_pipeline.sources.layouts import layout

_HELD_OUT = 0.1
# Columns of styles.csv in which a comma separates; the last one has the name.
_STYLES = (
  *("id", "gender", "masterCategory", "subCategory", "articleType"),
  *("baseColour", "season", "year", "usage", "productDisplayName"),
)
# Names of labels 0 to 9 (github.com/zalandoresearch/fashion-mnist).
_KINDS = (
  *("T-shirt", "trouser", "pullover", "dress", "coat"),
  *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)


def parts(entries: Sequence[Mapping[str, Any]]) -> list[str]:
  """Return the split of each entry: train, test, or what it is held out by."""
  held = [
    (part, field, _lowest({entry.get(field) for entry in entries}))
    for part, field in (("hout_c", "category"), ("hout_b", "brand"))
  ]
  return [
    next(
      (part for part, field, names in held if entry.get(field) in names),
      "test" if _draw(entry["id"]) < _HELD_OUT else "train",
    )
    for entry in entries
  ]


def _catalog(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield products; "pair" is colour and category, where it has both."""
  path = data.named("catalog.json")
  entries = data.json(path)
  for entry, part in zip(entries, parts(entries), strict=True):
    if part != split:
      continue
    image = f"{path.removesuffix('catalog.json')}{entry['image']}"
    texts = (*entry.get("highlights", ()), entry.get("short_description"))
    caption = entry.get("caption") or ", ".join(filter(None, texts))
    if caption:
      plain = {k: v for k, v in entry.items() if isinstance(v, str)}
      pair = [entry.get("colour"), entry.get("category")]
      made = {"caption": caption, "pair": " ".join(pair) if all(pair) else None}
      yield {**plain, **data.needs_image(image), **made}
    else:
      message = "expected caption, highlights or short_description; got none"
      yield layout.fault(image, "caption_missing", message)


def _kagl(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield all products; "pair" is colour and kind of article."""
  del split
  path = data.named("styles.csv")
  for number, line in enumerate(data.lines(path), 1):
    values = line.split(",", len(_STYLES) - 1)
    if len(values) < len(_STYLES) or (number == 1 and values != [*_STYLES]):
      raise data.wrong(f"{path}, line {number}: expected {', '.join(_STYLES)}")
    if number == 1:
      continue
    row = dict(zip(_STYLES, values, strict=True))
    image = f"{path.removesuffix('styles.csv')}images/{row['id']}.jpg"
    yield {
      **row,
      **data.needs_image(image),
      "caption": row["productDisplayName"].strip().strip('"'),
      "pair": f"{row['baseColour']} {row['articleType']}".lower(),
    }


def _deepfashion(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the pictures of a split; "category" is one of 50 names."""
  files = "list_category_cloth.txt", "list_category_img.txt"
  kinds, of_image = (
    _rows(data, *(f"{folder}/{file}" for folder in ("Anno", "Anno_coarse")))
    for file in files
  )
  names, numbers = [row[0].lower() for row in kinds], dict(of_image)
  by_name = {path[f"/{path}".find("/img/") :]: path for path in data.images()}
  for name, part in _rows(data, "list_eval_partition.txt"):
    if part == split:
      category = names[int(numbers[name]) - 1]
      image = data.needs_image(by_name.get(name, name))
      yield {**image, "caption": category, "category": category}


def _fmnist(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the pictures of a split; "kind" is one of ten names."""
  start = {"train": "train", "test": "t10k"}[split]
  images = _idx(data, f"{start}-images-idx3-ubyte")
  labels = _idx(data, f"{start}-labels-idx1-ubyte")
  if len(images) != len(labels):
    raise data.wrong(f"has {len(images)} images and {len(labels)} labels")
  for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
    kind = _KINDS[label]
    image = data.make_image(f"{split}/{number:05d}.png", pixels)
    yield {**image, "caption": kind, "kind": kind}


def _idx(data: layout.Folder, name: str) -> np.ndarray:
  """Return the uint8 array of an IDX file; ValueError where it is none."""
  path = data.named(f"{name}.gz", name)
  content = data.read(path)
  num_axes = content[3]
  shape = np.frombuffer(content, ">u4", num_axes, offset=4).astype(int)
  values = np.frombuffer(content, np.uint8, offset=4 + 4 * num_axes)
  if content[:3] != b"\0\0\x08" or values.size != shape.prod():
    shape = f"shape {shape.tolist()}, {values.size} bytes"
    raise data.wrong(f"{path} is no IDX file of bytes, or not whole: {shape}")
  return values.reshape(shape)


def _rows(data: layout.Folder, *names: str) -> list[list[str]]:
  """Return the words of each line behind the number of lines and the header."""
  return [line.split() for line in data.lines(data.named(*names))[2:]]


def _lowest(names: set[Any]) -> set[Any]:
  """Return a tenth of the names by hash, and at least one of several."""
  every = sorted(names - {None}, key=_draw)
  return set(every[: math.ceil(_HELD_OUT * len(every))] if every[1:] else ())


def _draw(name: object) -> float:
  digest = hashlib.sha256(str(name).encode()).digest()
  return int.from_bytes(digest[:4], "big") / 2**32


LAYOUTS = {
  "catalog": layout.Layout(
    _catalog,
    "catalog.json, and images at the paths that it has",
    ("train", "test", "hout_c", "hout_b"),
    "github.com/patrickjohncyh/fashion-clip",
  ),
  "kagl": layout.Layout(
    _kagl, "styles.csv and images/ID.jpg", (), "paramaggarwal at kaggle.com"
  ),
  "deepfashion": layout.Layout(
    _deepfashion,
    "Anno/list_category_{cloth,img}.txt, Eval/list_eval_partition.txt and img/",
    ("train", "val", "test"),
    "mmlab.ie.cuhk.edu.hk/projects/DeepFashion.html, category prediction",
  ),
  "fmnist": layout.Layout(
    _fmnist,
    "{train,t10k}-{images-idx3,labels-idx1}-ubyte, with .gz or without",
    ("train", "test"),
    "arXiv 1708.07747",
  ),
}
