"""Questions about images as published sets store them.

vqa_rad  trainset.json, testset.json: lists of {"qid", "image_name", "question",
         "answer", "answer_type": "OPEN" or "CLOSED"}; images in images/. The
         split files are those of MEVF's and QCR's releases.
slake    train.json, validate.json, test.json: the same with "img_name" and
         "q_lang", of which "en" is read; images in imgs/.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

CLOSED, OPEN = TYPES = ("CLOSED", "OPEN")
# Faults of a split that a message names.
_NUM_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Layout:
  """Names of files and fields of a published set.

  Attributes:
    splits: split -> file of its questions. A set without "validation" has none
      of its own.
    images: folder of the images.
    image_field: field with an image's name in that folder.
    language_field: field with a question's language; "" without one.
  """

  splits: Mapping[str, str]
  images: str
  image_field: str
  language_field: str = ""


LAYOUTS: Mapping[str, Layout] = {
  "vqa_rad": Layout(
    {"train": "trainset.json", "test": "testset.json"}, "images", "image_name"
  ),
  "slake": Layout(
    {"train": "train.json", "validation": "validate.json", "test": "test.json"},
    "imgs",
    "img_name",
    "q_lang",
  ),
}


@dataclasses.dataclass(frozen=True)
class Question:
  """A question about an image, and its answer.

  Attributes:
    qid: number or name in its set.
    image: name of the image in its folder.
    text: as it is in the set.
    answer: in lower case, its words separated by one space.
    type: index in TYPES.
  """

  qid: str
  image: str
  text: str
  answer: str
  type: int


def read(folder: pathlib.Path, layout: str) -> dict[str, list[Question]]:
  """Return the questions of each split, in the order of their files.

  Args:
    folder: folder of the set.
    layout: key of LAYOUTS.

  Raises:
    ValueError: a file is missing or damaged, or questions lack an image, a
      type, or another field; the message counts and names them.
  """
  names = LAYOUTS[layout]
  return {
    split: _read_split(folder, file, names)
    for split, file in names.splits.items()
  }


def image_path(folder: pathlib.Path, layout: str, image: str) -> pathlib.Path:
  """Return the path of an image."""
  return folder / LAYOUTS[layout].images / image


def _read_split(
  folder: pathlib.Path, file: str, layout: Layout
) -> list[Question]:
  path = folder / file
  try:
    rows = json.loads(path.read_text("utf-8"))
  except (OSError, ValueError) as error:
    raise ValueError(
      f"vqa.path={folder}: {file} must be a list of questions as JSON; got"
      f" {error}"
    ) from error
  if not isinstance(rows, list):
    raise ValueError(
      f"vqa.path={folder}: {file} must be a list of questions; got"
      f" {type(rows).__name__}"
    )
  if layout.language_field:
    rows = [row for row in rows if row.get(layout.language_field) == "en"]
  questions, faults = [], []
  for index, row in enumerate(rows):
    try:
      questions.append(_question(folder, row, layout))
    except (ValueError, AttributeError) as error:
      faults.append(f"question {_name(row, index)}: {error}")
  _refuse(f"vqa.path={folder}: {file}", faults, len(rows))
  if not questions:
    raise ValueError(
      f"vqa.path={folder}: {file} must have questions in English; got none"
    )
  return questions


def _question(
  folder: pathlib.Path, row: Mapping[str, Any], layout: Layout
) -> Question:
  """Return a row's question; ValueError says what it lacks."""
  kind = str(row.get("answer_type") or "").strip().upper()
  if kind not in TYPES:
    raise ValueError(
      f"answer_type must be {' or '.join(TYPES)}; got"
      f" {row.get('answer_type')!r}"
    )
  for field in ("qid", layout.image_field, "question", "answer"):
    if row.get(field) is None or not str(row[field]).strip():
      raise ValueError(f"{field} is missing")
  image = str(row[layout.image_field])
  if not (folder / layout.images / image).is_file():
    raise ValueError(f"its image {layout.images}/{image} is no file")
  return Question(
    qid=str(row["qid"]),
    image=image,
    text=str(row["question"]),
    answer=" ".join(str(row["answer"]).lower().split()),
    type=TYPES.index(kind),
  )


def _name(row: Any, index: int) -> str:
  qid = row.get("qid") if isinstance(row, Mapping) else None
  return f"number {index}" if qid is None else f"qid {qid}"


def _refuse(where: str, faults: Sequence[str], num_all: int) -> None:
  if faults:
    more = len(faults) - _NUM_NAMED
    raise ValueError(
      f"{where}: {len(faults)} of {num_all} questions cannot be used:"
      f" {'; '.join(faults[:_NUM_NAMED])}"
      + (f"; and {more} more" if more > 0 else "")
    )
