"""Pictures with boxes, as COCO and tables store them.

coco   annotations/instances_SPLIT.json, an object of "images" (id, file_name),
       "categories" (id, name) and "annotations" (image_id, category_id, bbox as
       left, top, width and height in pixels, iscrowd); pictures in SPLIT/.
       LVIS and Objects365 have the same fields.
table  SPLIT.jsonl, SPLIT.csv or SPLIT.tsv with the columns "image", a path
       below the folder, "boxes", a list of (left, top, right, bottom) in
       pixels, and "labels", a list of names, which may be missing. Lists are
       JSON in CSV and TSV.

A picture whose boxes cannot be read keeps its place, with the problem: it is a
fault of its example where it is drawn.
"""

import csv
import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from input_pipeline import faults
from input_pipeline.sources import record as record_lib
from input_pipeline.sources.tables import table_layout

# Suffixes of tables -> delimiter, "" for JSON lines.
_TABLES: Mapping[str, str] = {".jsonl": "", ".csv": ",", ".tsv": "\t"}


@dataclasses.dataclass(frozen=True)
class Picture:
  """A picture and its annotated boxes.

  Attributes:
    name: path below the folder of the set.
    path: file of the picture.
    box_M4: float64 (left, top, right, bottom) in pixels, as they are stored.
    labels: names of their classes; "" for none.
    is_crowd_M: bool, whether a box is around many objects.
    problem: kind and message of a fault of its annotations; () for none.
  """

  name: str
  path: pathlib.Path
  box_M4: np.ndarray
  labels: tuple[str, ...]
  is_crowd_M: np.ndarray
  problem: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Pictures:
  """Pictures of a split, in the order of their file.

  Attributes:
    field: config field that names the split, for messages.
    listed: pictures.
    digest: hex digits of names and boxes.
  """

  field: str
  listed: tuple[Picture, ...]
  digest: str

  def __len__(self) -> int:
    return len(self.listed)


def read(folder: pathlib.Path, layout: str, split: str, field: str) -> Pictures:
  """Return the pictures of a split; their files are not read.

  Args:
    folder: folder of the set.
    layout: key of LAYOUTS.
    split: name of the split, as "train2017".
    field: config field of the split, for messages.

  Raises:
    ValueError: the annotations are missing or in another form, or have no
      picture; the message names their file.
  """
  listed = tuple(LAYOUTS[layout](folder, split, field))
  if not listed:
    raise ValueError(f"{field}={split!r}: {folder} has no pictures of it")
  facts = [
    (one.name, one.box_M4.tolist(), one.labels, one.problem) for one in listed
  ]
  return Pictures(field, listed, record_lib.digest(facts))


def _coco(folder: pathlib.Path, split: str, field: str) -> Iterator[Picture]:
  """Yield COCO's pictures, those without annotations too."""
  path = folder / "annotations" / f"instances_{split}.json"
  try:
    content = json.loads(path.read_text("utf-8"))
    names = {one["id"]: str(one["name"]) for one in content["categories"]}
    images = {one["id"]: str(one["file_name"]) for one in content["images"]}
    by_image: dict[Any, list[Mapping[str, Any]]] = {id: [] for id in images}
    for one in content["annotations"]:
      by_image[one["image_id"]].append(one)
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f"{field}={split!r}: {path} must have COCO's images, categories and"
      f" annotations of these images; got {type(error).__name__}: {error}"
    ) from error
  for id, name in images.items():
    boxes, labels, crowds, problem = [], [], [], ()
    for number, one in enumerate(by_image[id]):
      try:
        left, top, width, height = map(float, one["bbox"])
        labels.append(names[one["category_id"]])
      except (ValueError, KeyError, TypeError) as error:
        problem = _problem(
          number,
          "bbox as left, top, width and height, and a category_id of"
          f" categories; got {type(error).__name__}: {error}",
        )
        continue
      boxes.append((left, top, left + width, top + height))
      crowds.append(bool(one.get("iscrowd")))
    yield _picture(f"{split}/{name}", folder, boxes, labels, crowds, problem)


def _table(folder: pathlib.Path, split: str, field: str) -> Iterator[Picture]:
  """Yield the pictures of a table's rows."""
  there = [x for x in _TABLES if (folder / f"{split}{x}").is_file()]
  if len(there) != 1:
    raise ValueError(
      f"{field}={split!r}: {folder} must have one of"
      f" {', '.join(f'{split}{x}' for x in _TABLES)}; got {there or 'none'}"
    )
  path = folder / f"{split}{there[0]}"
  for line, row in _rows(path, _TABLES[there[0]]):
    name = f"{path.name}, line {line}"
    if isinstance(row, faults.ExampleError):
      yield _picture(name, folder, [], [], [], (row.kind, str(row)))
      continue
    if not isinstance(image := row.get("image"), str) or not image:
      problem = ("image_missing", f"the row has no path in image; got {image}")
      yield _picture(name, folder, [], [], [], problem)
      continue
    try:
      boxes = [
        tuple(map(float, (left, top, right, bottom)))
        for left, top, right, bottom in _list(row, "boxes")
      ]
      labels = [str(label) for label in _list(row, "labels")]
      labels = labels or [""] * len(boxes)
      if len(labels) != len(boxes):
        raise ValueError(f"{len(boxes)} boxes and {len(labels)} labels")
    except (ValueError, TypeError) as error:
      problem = _problem(
        None,
        "boxes as a list of (left, top, right, bottom), and labels as many or"
        f" none; got {type(error).__name__}: {error}",
      )
      yield _picture(image, folder, [], [], [], problem)
      continue
    yield _picture(image, folder, boxes, labels, [False] * len(boxes), ())


def _rows(
  path: pathlib.Path, delimiter: str
) -> Iterator[tuple[int, Mapping[str, Any] | faults.ExampleError]]:
  """Yield the number of a line, and its row or the fault of it."""
  if not delimiter:
    with open(path, "rb") as file:
      for number, line in enumerate(file, 1):
        if not line.strip():
          continue
        try:
          yield number, table_layout.row(line)
        except faults.ExampleError as error:
          yield number, error
    return
  with open(path, encoding="utf-8", newline="") as file:
    reader = csv.DictReader(file, delimiter=delimiter)
    for row in reader:
      yield reader.line_num, row


def _list(row: Mapping[str, Any], name: str) -> list[Any]:
  """Return a row's list, [] for none; ValueError for another value."""
  value = row.get(name)
  if isinstance(value, str):
    value = json.loads(value) if value.strip() else []
  if value is None:
    return []
  if not isinstance(value, list):
    raise ValueError(f"{name} is {value!r:.60}")
  return value


def _problem(number: int | None, expected: str) -> tuple[str, str]:
  """Return the fault of boxes that are not in the form that is expected."""
  where = "the row" if number is None else f"annotation {number}"
  return "box_broken", f"{where} must have {expected}"


def _picture(
  name: str,
  folder: pathlib.Path,
  boxes: Sequence[Sequence[float]],
  labels: Sequence[str],
  crowds: Sequence[bool],
  problem: tuple[str, ...],
) -> Picture:
  return Picture(
    name,
    folder / name,
    np.array(boxes, np.float64).reshape(-1, 4),
    tuple(labels),
    np.array(crowds, bool),
    problem,
  )


# Layout -> function that yields the pictures of a split.
LAYOUTS: Mapping[str, Callable[[pathlib.Path, str, str], Iterator[Picture]]] = {
  "coco": _coco,
  "table": _table,
}
