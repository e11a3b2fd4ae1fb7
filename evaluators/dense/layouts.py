"""Dense sets on disk, by LAYOUT:PATH.

  voc:FOLDER      VOC2012 of the PASCAL challenge: JPEGImages/,
                  SegmentationClass/ (palette indices, 255 void) and
                  ImageSets/Segmentation/{train,val}.txt; 21 classes with the
                  background
  ade20k:FOLDER   ADEChallengeData2016 of MIT's SceneParsing: images/ and
                  annotations/, each with training/ and validation/; values 1 to
                  150, 0 for no class; names from its objectInfo150.txt
  nyu:FOLDER      NYU Depth v2 as BTS and its successors lay it out:
                  nyu_train.txt and nyu_test.txt, a line "IMAGE DEPTH [FOCAL]"
                  each, relative to the folder; millimetres in PNGs of 16 bits
  table:FILE      a set of one's own: a JSON file that describes it

The JSON file of a table has, with paths relative to its folder,

  {"kind": "segmentation", "train": "train.jsonl", "test": "test.jsonl",
   "classes": ["background", "cat"], "first": 0, "void": [255]}
  {"kind": "depth", "train": "train.csv", "test": "test.csv",
   "units_per_metre": 1000, "min_metres": 0.001, "max_metres": 10}

and may have "name". "classes" may be a text file with a class a line. Tables
are .jsonl, .csv or .tsv with the columns "image" and "mask" or "depth", paths
relative to the table's folder. No image is read here.
"""

import csv
import io
import os
import posixpath
from collections.abc import Callable, Mapping
from typing import Any

from evaluators.dense import dense_set
from evaluators.sets import text_files
from evaluators.sets.disk import rows
from input_pipeline.storage import folders
from runtime import checks
from runtime.storage import remote

# Classes of VOC2012, in the order of their indices.
VOC_CLASSES = (
  *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus"),
  *("car", "cat", "chair", "cow", "diningtable", "dog", "horse", "motorbike"),
  *("person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
# Pixels of NYU's test maps that are judged (Eigen et al., arXiv 1406.2283), as
# DINOv2's evaluation takes them: rows 45 to 470, columns 41 to 600.
_EIGEN_CROP, _NYU_SHAPE = (45, 471, 41, 601), (480, 640)
_NUM_ADE = 150
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_FIELDS = {
  dense_set.SEGMENTATION: ("classes", "first", "void"),
  dense_set.DEPTH: ("units_per_metre", "min_metres", "max_metres"),
}
# Bounds of depths in metres where a description has none: NYU's.
_BOUNDS = {"min_metres": 1e-3, "max_metres": 10.0}
_COLUMNS = {dense_set.SEGMENTATION: "mask", dense_set.DEPTH: "depth"}


def open_set(spec: str) -> dense_set.DenseSet:
  """Return the set of LAYOUT:PATH, its lists checked and its files there.

  Raises:
    ValueError: the layout is unknown, a list or a file that it names is
      missing, or the set cannot be used; the message names it.
  """
  layout, _, path = spec.partition(":")
  if layout not in LAYOUTS or not path:
    raise ValueError(
      "--dense must be LAYOUT:PATH with one of the layouts"
      f" {', '.join(LAYOUTS)}; got {spec!r}"
    )
  path = path if remote.is_remote(path) else os.path.expanduser(path)
  opened = LAYOUTS[layout](path.rstrip("/"))
  opened.check()
  _check_there(opened)
  return opened


def voc(root: str) -> dense_set.DenseSet:
  """Return VOC2012's set: train.txt to train on, val.txt to judge on."""

  def items(split: str) -> tuple[dense_set.Item, ...]:
    path = f"{root}/ImageSets/Segmentation/{split}.txt"
    return tuple(
      dense_set.Item(
        f"{root}/JPEGImages/{name}.jpg", f"{root}/SegmentationClass/{name}.png"
      )
      for name in _lines(path, "VOC2012 of the PASCAL challenge")
    )

  return dense_set.DenseSet(
    name="voc",
    rule=dense_set.Classes(VOC_CLASSES, void=(255,)),
    train=items("train"),
    test=items("val"),
    layout="VOC2012: ImageSets/Segmentation, train and val",
  )


def ade20k(root: str) -> dense_set.DenseSet:
  """Return ADE20k's set of 150 classes: training, and validation to judge."""

  def items(split: str) -> tuple[dense_set.Item, ...]:
    folder = f"{root}/annotations/{split}"
    if not folders.is_folder(folder):
      raise ValueError(
        f"there is no {folder}, which ADEChallengeData2016 of MIT's"
        " SceneParsing has"
      )
    names = sorted(folders.walk(folder, f"--dense=ade20k:{root}"))
    return tuple(
      dense_set.Item(
        f"{root}/images/{split}/{name[:-4]}.jpg", f"{folder}/{name}"
      )
      for name in names
      if name.endswith(".png")
    )

  return dense_set.DenseSet(
    name="ade20k",
    rule=dense_set.Classes(_ade_classes(root), first=1),
    train=items("training"),
    test=items("validation"),
    layout="ADEChallengeData2016: training and validation",
  )


def nyu(root: str) -> dense_set.DenseSet:
  """Return NYU Depth v2's set, of which Eigen's crop is judged."""

  def items(split: str) -> tuple[dense_set.Item, ...]:
    path = f"{root}/nyu_{split}.txt"
    made = []
    for number, line in enumerate(
      _lines(path, "NYU Depth v2 as BTS has it"), 1
    ):
      words = line.split()
      if len(words) not in (2, 3):
        raise ValueError(
          f"{path}, line {number}: expected IMAGE DEPTH [FOCAL]; got"
          f" {line[:60]!r}"
        )
      image, depth = (f"{root}/{word.lstrip('/')}" for word in words[:2])
      made.append(dense_set.Item(image, depth))
    return tuple(made)

  return dense_set.DenseSet(
    name="nyu",
    rule=dense_set.Depths(1000.0, crop=_EIGEN_CROP, shape=_NYU_SHAPE),
    train=items("train"),
    test=items("test"),
    layout="NYU Depth v2: nyu_train.txt and nyu_test.txt",
  )


def described(path: str) -> dense_set.DenseSet:
  """Return the set that a JSON file describes; see the top of the file."""
  fields = rows.parsed(path)
  kind = rows.field_of(fields, "kind", str, path)
  checks.one_of(f"{path}: kind", kind, dense_set.KINDS)
  known = ("kind", "name", "train", "test", *_FIELDS[kind])
  if unknown := [name for name in fields if name not in known]:
    raise ValueError(
      f"{path}: fields must be among {', '.join(known)} for {kind}; got"
      f" {', '.join(unknown)}"
    )
  stem = posixpath.splitext(posixpath.basename(path))[0]
  return dense_set.DenseSet(
    name=rows.field_of({"name": stem} | fields, "name", str, path),
    rule=_RULES[kind](fields, path),
    train=_table(fields, "train", _COLUMNS[kind], path),
    test=_table(fields, "test", _COLUMNS[kind], path),
    layout="tables of one's own",
  )


LAYOUTS: Mapping[str, Callable[[str], dense_set.DenseSet]] = {
  "voc": voc,
  "ade20k": ade20k,
  "nyu": nyu,
  "table": described,
}


def _classes(fields: Mapping[str, Any], path: str) -> dense_set.Classes:
  named = fields.get("classes")
  if isinstance(named, str):
    file = _beside(path, named)
    names = tuple(_lines(file, "the classes of a mask, a line each"))
  else:
    names = tuple(rows.field_of(fields, "classes", list, path))
  given = {"void": [], "first": 0, **fields}
  void = rows.field_of(given, "void", list, path)
  if not all(isinstance(x, str) for x in names) or not all(
    type(x) is int for x in void
  ):
    raise ValueError(
      f"{path}: classes must be texts and void whole numbers; got"
      f" {list(names)!s:.60} and {void!s:.60}"
    )
  first = rows.field_of(given, "first", int, path)
  return dense_set.Classes(names, first=first, void=tuple(void))


def _depths(fields: Mapping[str, Any], path: str) -> dense_set.Depths:
  values = []
  for name in _FIELDS[dense_set.DEPTH]:
    value = fields.get(name, _BOUNDS.get(name))
    if not isinstance(value, int | float) or isinstance(value, bool):
      raise ValueError(
        f"{path}: {name} must be a number (units_per_metre is the value of a"
        f" pixel one metre away, as 1000 for millimetres); got {value!r}"
      )
    values.append(float(value))
  units, low, high = values
  return dense_set.Depths(units, low, high)


_RULES = {dense_set.SEGMENTATION: _classes, dense_set.DEPTH: _depths}


def _table(
  fields: Mapping[str, Any], split: str, column: str, path: str
) -> tuple[dense_set.Item, ...]:
  """Return the rows of one of a description's tables."""
  table = _beside(path, rows.field_of(fields, split, str, path))
  end = posixpath.splitext(table)[1]
  if end in _DELIMITERS:
    text = text_files.read(table)
    if text is None:
      raise ValueError(f"there is no {table}, which {path} names")
    reader = csv.DictReader(
      io.StringIO(text, newline=""), delimiter=_DELIMITERS[end]
    )
    listed: list[Any] = [*reader]
  elif end == ".jsonl":
    listed = rows.parsed_lines(table)
  else:
    raise ValueError(
      f"{path}: {split} must be a table that ends in .jsonl, .csv or .tsv; got"
      f" {table}"
    )
  made = []
  for number, row in enumerate(listed, 1):
    image, map_path = (
      _beside(table, rows.field_of(row, name, str, f"{table}, row {number}"))
      for name in ("image", column)
    )
    made.append(dense_set.Item(image, map_path))
  return tuple(made)


def _beside(file: str, path: str) -> str:
  """Return a path that is relative to a file's folder."""
  if remote.is_remote(path) or os.path.isabs(path):
    return path
  return posixpath.join(posixpath.dirname(file), path)


def _ade_classes(root: str) -> tuple[str, ...]:
  """Return the names of the classes, or their numbers without a file."""
  text = text_files.read(path := f"{root}/objectInfo150.txt")
  if text is None:
    return tuple(f"class {value}" for value in range(1, _NUM_ADE + 1))
  lines = [line.split("\t") for line in text_files.lines(text)[1:]]
  if len(lines) != _NUM_ADE or any(len(line) < 2 for line in lines):
    raise ValueError(
      f"{path} must have a header and {_NUM_ADE} lines with the name last,"
      f" separated by tabs; got {len(lines)}"
    )
  # Two classes may have the same first name; the number tells them apart.
  names = [line[-1].split(",")[0].strip() for line in lines]
  return tuple(
    name if names.count(name) == 1 else f"{name} ({value})"
    for value, name in enumerate(names, 1)
  )


def _lines(path: str, origin: str) -> list[str]:
  """Return the lines of a text file that are not blank."""
  text = text_files.read(path)
  if text is None:
    raise ValueError(f"there is no {path}, which {origin} has")
  return [line for line in text_files.lines(text) if line]


def _check_there(opened: dense_set.DenseSet) -> None:
  """Raise ValueError for local files that are listed and not there."""
  absent = [
    path
    for item in (*opened.train, *opened.test)
    for path in (item.image, item.map)
    if not remote.is_remote(path) and not rows.exists(path)
  ]
  if absent:
    raise ValueError(
      f"{opened.name}: {len(absent)} listed files are not there, as"
      f" {', '.join(absent[:3])}"
    )
