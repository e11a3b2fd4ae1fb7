"""Layout of a public data set: how its files become the rows of a table."""

import csv
import dataclasses
import gzip
import io
import json
import math
import pathlib
import posixpath
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from input_pipeline import faults
from input_pipeline.images import image_ops
from input_pipeline.sources import columns
from input_pipeline.sources.tables import made_table
from input_pipeline.storage import files, folders, npy

T = TypeVar("T")

# One example. "image" is a path below the folder, of an image or a video,
# "caption" a text or a list; other names are columns, as of a table, for
# `label`, `attributes` and `grammar_fields`: texts and numbers, None for a
# missing one. With "crop", the example is the part (left, top, right, bottom)
# of the image, in its pixels; with "size" too, resized to (width, height).
Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Layout:
  """How the files of a data set are read.

  Attributes:
    rows: yields the rows of a split, of the files in a folder.
    files: the files that there must be, for messages and documentation.
    splits: names of the splits, the first for training; () without any.
    source: publication of the layout: a URL or a citation.
  """

  rows: "Callable[[Folder, str], Iterator[Row]]"
  files: str
  splits: tuple[str, ...]
  source: str


class Folder:
  """Files of a data set, on disk or at a URL.

  Attributes:
    path: the folder.
    listed: its files by their path below it, in order.
    notes: what its reader has to say about all rows, as warnings.
    last_read: the file that was read last.
    made: folder of the images that `make_image` writes.
  """

  def __init__(
    self,
    path: str,
    listed: Mapping[str, files.File],
    about: Layout,
    field: str,
    made: pathlib.Path,
  ):
    self.path = path
    self.listed = listed
    self.notes: list[str] = []
    self.last_read = ""
    self.made = made
    self._about = about
    self._field = field
    self._stems: dict[str, str] | None = None
    self._videos: dict[str, list[str]] | None = None

  def read(self, name: str) -> bytes:
    """Return a file's content, unpacked if its name ends in ".gz".

    Raises:
      ValueError: it is not there, or broken; names the files of the layout.
    """
    if name not in self.listed:
      raise self.wrong(f"has no file {name}")
    self.last_read = name
    content = files.read(self.listed[name].path)
    try:
      return gzip.decompress(content) if name.endswith(".gz") else content
    except (OSError, EOFError, zlib.error) as error:
      raise self.wrong(f"{name} is not whole: {error}") from error

  def text(self, name: str) -> str:
    """Return a file's text, in UTF-8 with or without a byte order mark.

    Raises:
      ValueError: it is not there, or not UTF-8; names the files of the layout.
    """
    try:
      return self.read(name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
      raise self.wrong(f"{name} is not UTF-8: {error}") from error

  def lines(self, name: str) -> list[str]:
    """Return the lines of a file that are not blank; raises as `text`."""
    return [line for line in self.text(name).splitlines() if line.strip()]

  def json(self, name: str) -> Any:
    """Return a JSON file's value; ValueError where it is none."""
    try:
      return json.loads(self.text(name), object_pairs_hook=columns.once)
    except json.JSONDecodeError as error:
      raise self.wrong(f"{name} is not JSON: {error}") from error

  def json_lines(self, name: str) -> Iterator[Any]:
    """Yield the value of each line; ValueError that names a broken one."""
    for number, line in enumerate(self.text(name).split("\n"), 1):
      if line.strip():
        try:
          yield json.loads(line, object_pairs_hook=columns.once)
        except json.JSONDecodeError as error:
          raise self.wrong(f"{name}, line {number}: {error}") from error

  def table(
    self, name: str, needs: Sequence[str] = (), delimiter: str = ","
  ) -> Iterator[dict[str, str]]:
    """Yield the rows of a table whose first line has the columns' names.

    Args:
      name: file.
      needs: columns that there must be.
      delimiter: character between fields.

    Raises:
      ValueError: a column is missing, or a row has fewer or more fields.
    """
    text = io.StringIO(self.text(name), newline="")
    reader = csv.DictReader(text, delimiter=delimiter, strict=True)
    try:
      there = reader.fieldnames or ()
      if missing := [column for column in needs if column not in there]:
        raise self.wrong(
          f"{name} has no column {', '.join(missing)} among {', '.join(there)}"
        )
      for row in reader:
        if None in row or None in row.values():
          raise self.wrong(
            f"{name}, line {reader.line_num}: expected {len(there)} fields; got"
            f" {sum(value is not None for value in row.values())}"
            f"{' and more' if None in row else ''}"
          )
        yield row
    except csv.Error as error:
      raise self.wrong(f"{name}, line {reader.line_num}: {error}") from error

  def named(self, *names: str) -> str:
    """Return the path of the one file of a name, in whichever folder it is.

    Several data sets can then lie in one folder.

    Args:
      *names: names, or ends of paths, that the file may have.

    Raises:
      ValueError: no file has the name, or several have.
    """
    ends = tuple(f"/{name}" for name in names)
    found = [path for path in self.listed if f"/{path}".endswith(ends)]
    if len(found) != 1:
      raise self.wrong(
        f"must have one file {' or '.join(names)}, in any folder; got "
        f"{found[:3] or 'none'}"
      )
    return found[0]

  def pixels(self, name: str) -> np.ndarray:
    """Return an image, as a mask, uint8 [Y, X, 3].

    Raises:
      faults.ExampleError: it is missing or broken; the message names it.
    """
    self.last_read = name
    with faults.located(f"{self.path}/{name}"):
      if name not in self.listed:
        raise faults.ExampleError("file_missing", "there is no such file")
      return image_ops.decode(files.read(self.listed[name].path))

  def items(self, name: str) -> npy.Items:
    """Return the items of an array file; ValueError where it is none."""
    if name not in self.listed:
      raise self.wrong(f"has no file {name}")
    self.last_read = name
    try:
      return npy.Items(self.listed[name].path)
    except ValueError as error:
      raise self.wrong(f"has another file: {error}") from error

  def number(self, text: str, most: float) -> float:
    """Return a number of the file that was read last, at most `most` from 0.

    Raises:
      ValueError: it is none, or larger; the message names the file.
    """
    try:
      value = float(text)
    except ValueError:
      value = math.nan
    if not abs(value) <= most:  # nor is NaN
      raise self.wrong(
        f"must have numbers from -{most:g} to {most:g} in {self.last_read}; got"
        f" {text!r:.60}"
      )
    return value

  def images(self, below: str = "") -> list[str]:
    """Return the images below a folder of it, in order."""
    start = f"{below.rstrip('/')}/" if below else ""
    return [
      name
      for name in self.listed
      if name.startswith(start) and _suffix(name) in folders.IMAGES
    ]

  def images_in(self, folder: str) -> list[str]:
    """Return the images below every folder of a name, however deep it is."""
    return [x for x in self.images() if folder in x.split("/")[:-1]]

  def images_by_name(self, below: str = "") -> dict[str, str]:
    """Return {name: path} of the images in any folder below one of it."""
    return {posixpath.basename(name): name for name in self.images(below)}

  def image_named(self, stem: str) -> str | None:
    """Return the image of a path without its suffix; None without one."""
    if self._stems is None:
      self._stems = {posixpath.splitext(x)[0]: x for x in self.images()}
    return self._stems.get(stem)

  def needs_image(self, name: str) -> Row:
    """Return {"image": name}, with a fault where the file is not there."""
    if name in self.listed:
      return {"image": name}
    return fault(name, "file_missing", f"{self.path} has no file {name}")

  def needs_video(self, stem: str) -> Row:
    """Return {"image": path} of a video, in whichever folder it is.

    A video that is not there, or is there twice, is a fault of its example.

    Args:
      stem: name of the file without its suffix (folders.VIDEOS).
    """
    if self._videos is None:
      self._videos = {}
      for name in self.listed:
        start, suffix = posixpath.splitext(posixpath.basename(name))
        if suffix.lower() in folders.VIDEOS:
          self._videos.setdefault(start, []).append(name)
    names = self._videos.get(stem, [])
    if len(names) == 1:
      return {"image": names[0]}
    if names:
      message = f"{self.path} has {names[0]} and {names[1]}; expected one"
      return fault(stem, "member_twice", message)
    message = f"{self.path} has no {stem}{'|'.join(folders.VIDEOS)}"
    return fault(stem, "file_missing", message)

  def make_image(self, name: str, pixels: np.ndarray) -> Row:
    """Return {"image": name}, an image that is written as a new PNG file.

    It is for images inside a larger file. A layout makes all of its images, or
    none.

    Args:
      name: path of the new file, below the folder of all that are made.
      pixels: [height, width] or [height, width, 3], of any type.

    Raises:
      ValueError: a level is no whole number from 0 to 255.
    """
    with np.errstate(invalid="ignore"):  # NaN differs from any level
      levels = pixels.astype(np.uint8)
    if np.any(levels != pixels):
      raise self.wrong(
        f"must have whole numbers from 0 to 255 in the image {name}; got"
        f" {pixels.min():g} to {pixels.max():g}"
      )
    path = self.made / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(path, "PNG")
    return {"image": name}

  def wrong(self, what: str) -> ValueError:
    """Return the error of a folder that is not in the layout."""
    return ValueError(
      f"{self._field}.path: {self.path} {what}; expected {self._about.files} "
      f"({self._about.source})"
    )


def part(rows: Sequence[T], split: str, train_share: float) -> list[T]:
  """Return the examples of a split that a publication does not state.

  They are chosen at random, always the same ones, and stay in their order.

  Args:
    rows: examples of all splits.
    split: "train", or another one for the rest.
    train_share: share of the examples that is for training, rounded down.
  """
  order = np.random.default_rng(1).permutation(len(rows))
  num = int(len(rows) * train_share)
  chosen = order[:num] if split == "train" else order[num:]
  return [rows[i] for i in sorted(chosen)]


def fault(image: str, kind: str, message: str) -> Row:
  """Return the row of an example that cannot be used.

  Training leaves it out and names it, as any other faulty example.

  Args:
    image: its image, or what else names it.
    kind: a key of faults.KINDS.
    message: what is wrong, with what was expected and what was got.

  Raises:
    ValueError: there is no such kind; names the image.
  """
  if kind not in faults.KINDS:
    raise ValueError(
      f"layout.fault of {image}: kind must be one of {', '.join(faults.KINDS)};"
      f" got {kind!r}"
    )
  return {"image": image, made_table.FAULT: [kind, message]}


def _suffix(name: str) -> str:
  return posixpath.splitext(name)[1].lower()
