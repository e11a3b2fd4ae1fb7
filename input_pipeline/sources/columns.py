"""Columns of a table: image, captions, language and key."""

import dataclasses
import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from input_pipeline import faults
from input_pipeline.sources import source_config
from input_pipeline.storage import remote
from input_pipeline.storage import uids as uids_lib

# Usual names, best first: ours and Hugging Face's, img2dataset's (named by its
# images' format), those of open_clip's tables (filepath, title), image
# folders'. "url" is left out, so that no crawl starts by mistake.
IMAGES = (
  *("image", "jpg", "png", "webp", "jpeg", "filepath", "file_name"),
  *("image_path", "path"),
)
CAPTIONS = ("caption", "captions", "text", "title", "texts")
KEYS = ("key",)

# `uid` that names rows by their file and number, also where they have keys.
BY_ROW = f"{uids_lib.IN_FILE}row"
# Whole numbers from here on are not exact as a float64.
_INEXACT = 2**53

# First rows that define the columns of a table without a schema.
NUM_PROBED = 100


@dataclasses.dataclass(frozen=True)
class Columns:
  """Names of columns; None (for the image "") if the table has none.

  Attributes:
    in_file: whether keys differ between files only; see uids.in_file.
  """

  image: str
  captions: tuple[str, ...]
  language: str | None
  key: str | None
  # Not in digests of a layout that were made before there was this field.
  in_file: bool = dataclasses.field(default=False, repr=False)

  @property
  def names(self) -> tuple[str, ...]:
    """Return the names of all columns, each once."""
    names = (self.image, *self.captions, self.language, self.key)
    return tuple(name for name in dict.fromkeys(names) if name)


def choose(
  source: source_config.SourceConfig,
  names: Sequence[str],
  field: str,
  *,
  needs_image: bool = True,
) -> Columns:
  """Return the columns to read; ValueError that lists the table's columns.

  A table without an image, which only curation reads, may have its keys in
  `uid`, as DataComp's metadata do.
  """
  if len(source.image) > 1:
    raise ValueError(
      f"{field}.image must be one column; got {list(source.image)}"
    )
  keys = KEYS
  if needs_image or source.image or not set(IMAGES).isdisjoint(names):
    image = _first(f"{field}.image", source.image, IMAGES, names)
  else:
    image, keys = "", ("uid", *KEYS)
  if source.caption:
    for name in source.caption:
      _check(f"{field}.caption", name, names)
    captions = source.caption
  else:
    captions = (_first(f"{field}.caption", (), CAPTIONS, names),)
  if source.language_field:
    _check(f"{field}.language_field", source.language_field, names)
  uid = source.uid.removeprefix(uids_lib.IN_FILE)
  in_file = uid != source.uid
  if uid == "" or (in_file and uid == "key"):
    key = next((name for name in keys if name in names), None)
  elif source.uid == BY_ROW:
    key = None
  else:
    key = uid
    _check(f"{field}.uid", uid, names)
  return Columns(
    *(image, captions, source.language_field or None, key), in_file=in_file
  )


def texts(
  columns: Columns, row: Mapping[str, Any], language: str, index: int
) -> dict[str, tuple[str, ...]]:
  """Return the captions of a row by language.

  Raises faults.ExampleError: "caption_missing".
  """
  found = tuple(
    clean(text)
    for name in columns.captions
    for text in flat(row.get(name))
    if text.strip()
  )
  if not found:
    raise faults.ExampleError(
      "caption_missing",
      f"row {index} has no text in {', '.join(columns.captions)}",
    )
  if columns.language is not None:
    value = row.get(columns.language)
    language = value if isinstance(value, str) and value else language
  return {language: found}


def key_text(value: Any) -> str:
  """Return the key of a row as text; "" for a missing or empty one.

  A whole number that is a float (pandas makes floats of integers beside a
  missing one) has the key of the integer: 7.0 that of 7. NaN is a missing key.

  Raises:
    faults.ExampleError: "record_broken" for an infinite float, or one so large
      that whole numbers may not be told apart (2^53).
  """
  if isinstance(value, bytes):
    return value.hex()
  if isinstance(value, float):
    if math.isnan(value):
      return ""
    if abs(value) >= _INEXACT:
      raise faults.ExampleError(
        "record_broken",
        f"the key {value!r} is a float of 2^53 or more, which may be the key of"
        " several rows; write keys as integers or text",
      )
    value = int(value) if value.is_integer() else value
  return "" if value is None else clean(str(value))


def image_value(value: Any) -> Any:
  """Return the bytes, or else the path, of an image that may be a struct."""
  if isinstance(value, dict):
    return value.get("bytes") or value.get("path")
  return value


def names_from_common(paths: Sequence[str]) -> list[str]:
  """Return paths without the folder that contains all of them.

  Keys must not depend on the folder of a data set.
  """
  if not remote.is_remote(paths[0]):
    paths = [os.path.abspath(path) for path in paths]
  root = paths[0].rpartition("/")[0]
  while not all(path.startswith(root + "/") for path in paths):
    root = root.rpartition("/")[0]
  return [path[len(root) + 1 :] for path in paths]


def clean(text: str) -> str:
  """Return text that can be encoded, without lone surrogates from JSON."""
  return text if text.isascii() else text.encode("utf-8", "replace").decode()


def flat(value: Any) -> Iterator[str]:
  """Yield the texts of a value, skipping other types."""
  if isinstance(value, str):
    yield value
  elif isinstance(value, list | tuple):
    for item in value:
      yield from flat(item)


def _first(
  field: str,
  given: Sequence[str],
  usual: Sequence[str],
  names: Collection[str],
) -> str:
  if given:
    _check(field, given[0], names)
    return given[0]
  for name in usual:
    if name in names:
      return name
  raise ValueError(
    f"{field} must be given: none of the usual {', '.join(usual)} is among the "
    f"columns {list(names)}"
  )


def _check(field: str, name: str, names: Collection[str]) -> None:
  if name not in names:
    raise ValueError(
      f"{field} must be among the columns {list(names)}; got {name!r}"
    )
