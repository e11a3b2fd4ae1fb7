"""Selections: items of a few images and texts, of which some belong together.

  Winoground  examples.jsonl {"id", "image_0", "image_1", "caption_0",
              "caption_1", "tag"}, images/NAME.png (facebook/winoground, its
              data/ folder unzipped; arXiv 2204.03162)
  SugarCrepe  KIND.json {"0": {"filename", "caption", "negative_caption"}, ...}
              of RAIVNLab/sugar-crepe, with COCO's val2017/ (arXiv 2306.14610)
  WinoGAViL   a .jsonl or .csv with cue, candidates and associations (lists of
              names), and NAME.jpg (nlphuji/winogavil; arXiv 2207.12576)

The images of all items are a table, each once, and the items are JSON lines:

  {"images": [keys], "texts": [texts], "right": [[0], [1]], "tag": "..."}

where right[t] are the images, by position, that text t belongs to.
"""

import ast
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evaluators.sets import clip_benchmark, field_set, text_files
from evaluators.sets.disk import rows

_WINOGAVIL = ("winogavil_dataset", "winogavil", "test", "data")
_IMAGES = (
  *("", "images", "winogavil_images", "data/images", "val2017", "../images"),
  *("../val2017", "../../val2017", "../coco/val2017", "../../coco/val2017"),
)


def winoground(root: str, *, cache_dir: str) -> field_set.FieldSet | None:
  """Return Winoground; None where its examples are not there."""
  path = _first(
    f"{root}/{x}" for x in ("examples.jsonl", "data/examples.jsonl")
  )
  if not path:
    return None
  items = []
  for number, entry in enumerate(rows.parsed_lines(path), 1):
    where = f"{path}, row {number}"
    images, texts = (
      [rows.field_of(entry, f"{what}_{i}", str, where) for i in (0, 1)]
      for what in ("image", "caption")
    )
    items.append(
      {
        "images": [_suffixed(name, ".png") for name in images],
        "texts": texts,
        "right": [[0], [1]],
        "tag": str(entry.get("tag", "")),
      }
    )
  return _made("winoground", path, items, cache_dir)


def sugar_crepe(
  key: str, root: str, *, cache_dir: str
) -> field_set.FieldSet | None:
  """Return one of SugarCrepe's seven; None where its file is not there."""
  kind = key.rpartition("/")[2]
  path = _first(f"{root}/{folder}{kind}.json" for folder in ("", "data/"))
  if not path:
    return None
  value = rows.parsed(path)
  if not isinstance(value, Mapping):
    raise ValueError(f"{path}: expected an object of items; got a list")
  items = []
  for number, entry in value.items():
    where = f"{path}, item {number}"
    image, right, wrong = (
      rows.field_of(entry, name, str, where)
      for name in ("filename", "caption", "negative_caption")
    )
    items.append(
      {"images": [image], "texts": [right, wrong], "right": [[0], []]}
    )
  return _made(key, path, items, cache_dir)


def winogavil(root: str, *, cache_dir: str) -> field_set.FieldSet | None:
  """Return WinoGAViL; None where its table is not there.

  The prompt of a cue is DataComp's (eval_utils/wino_eval.py): "A" or "An" and
  the cue in lower case.
  """
  path = _first(
    f"{root}/{name}.{suffix}"
    for name in _WINOGAVIL
    for suffix in ("jsonl", "csv")
  )
  if not path:
    return None
  items = []
  for number, entry in enumerate(_rows(path), 1):
    where = f"{path}, row {number}"
    cue = rows.field_of(entry, "cue", str, where).lower()
    candidates = _list(entry, "candidates", where)
    associations = _list(entry, "associations", where)
    unknown = sorted(set(associations) - set(candidates))
    if unknown or not associations or not cue:
      raise ValueError(
        f"{where}: associations must be of the candidates; got {associations}"
      )
    article = "An" if cue[0] in "aeiou" else "A"
    items.append(
      {
        "images": [_suffixed(name, ".jpg") for name in candidates],
        "texts": [f"{article} {cue}"],
        "right": [[candidates.index(name) for name in associations]],
      }
    )
  return _made("misc/winogavil", path, items, cache_dir)


def own(
  name: str, path: str, field: str, *, cache_dir: str
) -> field_set.FieldSet:
  """Return a set of one's own items: see choices.ChoicesConfig.

  Args:
    name: name of the set.
    path: file of JSON lines.
    field: config field that names it, for messages.
    cache_dir: folder for tables.

  Raises:
    ValueError: there is no such file, or a line cannot be used; it is named.
  """
  if not rows.exists(path):
    raise ValueError(f"{field} must be a file of JSON lines; got {path!r}")
  items, first = [], ()
  for number, entry in enumerate(rows.parsed_lines(path), 1):
    where = f"{path}, item {number}"
    images, texts = (_list(entry, what, where) for what in ("images", "texts"))
    shape = len(images), len(texts)
    if not images or len(texts) < 2 or len({*texts}) < len(texts):
      raise ValueError(
        f"{where}: expected an image and two different texts at least; got "
        f"{shape[0]} images and the texts {texts}"
      )
    first = first or shape
    if shape != first:
      raise ValueError(
        f"{where}: expected {first[0]} images and {first[1]} texts, as item 1 "
        f"has; got {shape[0]} and {shape[1]}"
      )
    items.append(
      {
        "images": images,
        "texts": texts,
        "right": [[i] if i < len(images) else [] for i in range(len(texts))],
        "tag": str(entry.get("tag", "")),
      }
    )
  return _made(name, path, items, cache_dir)


def texts(path: str) -> list[str]:
  """Return the texts of all items of a set, each once."""
  every = (text for item in read(path) for text in item["texts"])
  return list(dict.fromkeys(every))


def read(path: str) -> list[dict[str, Any]]:
  """Return the items of a set, FieldSet.items."""
  return rows.parsed_lines(path)


def _made(
  key: str, path: str, items: Sequence[Mapping[str, Any]], cache_dir: str
) -> field_set.FieldSet:
  if not items:
    raise ValueError(f"{path} has no item")
  images = dict.fromkeys(name for item in items for name in item["images"])
  root = path.rpartition("/")[0]
  folder = rows.folder_with(root, _IMAGES, next(iter(images)), path)
  table = [{"image": x, "key": x} for x in images]
  return field_set.FieldSet(
    key,
    "selection",
    rows.source(table, folder, cache_dir=cache_dir, labels="key"),
    items=rows.written(items, cache_dir),
    task=clip_benchmark.published(key),
  )


def _first(paths: Iterable[str]) -> str:
  return next((path for path in paths if rows.exists(path)), "")


def _suffixed(name: str, suffix: str) -> str:
  return name if "." in name else name + suffix


def _rows(path: str) -> Sequence[Mapping[str, Any]]:
  if path.endswith(".jsonl"):
    return rows.parsed_lines(path)
  text = text_files.read(path) or ""
  return list(csv.DictReader(io.StringIO(text)))


def _list(entry: Mapping[str, Any], name: str, where: str) -> list[str]:
  """Return a list of names; in CSV it is JSON, or as Python prints it."""
  value = entry.get(name)
  if isinstance(value, str):
    try:
      value = json.loads(value)
    except ValueError:
      try:
        value = ast.literal_eval(value)
      except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = None
  if not isinstance(value, list) or not all(isinstance(x, str) for x in value):
    raise ValueError(
      f"{where}: {name} must be a list of names; got {entry.get(name)!r:.60}"
    )
  return value
