"""Columns of a table: image, captions, language and key."""

import contextlib
import dataclasses
import json
import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from input_pipeline import captions, faults
from input_pipeline.sources import source_config
from input_pipeline.storage import uids as uids_lib
from runtime.storage import remote

# Usual names, best first: ours and Hugging Face's, img2dataset's (named by its
# images' format), those of open_clip's tables (filepath, title), image
# folders', and of tars that became tables (txt, __key__). A name in exactly
# this case is preferred to TEXT, Filepath, ...
IMAGES = (
  *("image", "jpg", "png", "webp", "jpeg", "filepath", "file_name"),
  *("image_path", "path", "file", "filename", "image_file_name", "image_name"),
)
# The same of videos: ours, WebVid's and video2dataset's.
VIDEOS = (
  *("video", "mp4", "webm", "mkv", "mov", "gif"),
  *("video_path", "filepath", "file_name", "path", "file", "filename"),
  *("video_file_name", "video_name"),
)
# Columns of addresses, for a table of pairs without an image or a file. Not for
# one that curation reads, so that no crawl starts by mistake.
ADDRESSES = ("url", "image_url")
CAPTIONS = (
  *("caption", "captions", "text", "title", "texts"),
  *("txt", "json.caption", "json.texts"),
)
KEYS = ("key", "__key__")

# Fields of a mapping or struct that is a text and its language.
LANGUAGE_FIELDS = ("language", "lang")
TEXT_FIELDS = ("text", "caption", "translation")

# `uid` that names rows by their file and number, also where they have keys.
BY_ROW = f"{uids_lib.IN_FILE}row"
# Most columns that a message lists.
_NUM_LISTED = 30

# End of a location of captions that is a number, whose digits are the text, as
# labels of evaluations are: "label:number", "json.label:number".
NUMBER = ":number"
# End of a location whose text is VALUE_MARK and then the value, or the mark
# alone for a missing one: no blank text is dropped, as captions are, so that a
# row's texts keep their positions.
VALUE = ":value"
VALUE_MARK = "="
# End of a location whose text is VALUE_MARK and the JSON of a list of texts, as
# the options of a question are; the mark alone for a missing one.
VALUES = ":values"
# End of a location whose text is VALUE_MARK and the JSON of lists of numbers or
# texts, as the boxes of an image are; the mark alone for a missing one.
NESTED = ":nested"

# First rows that define the columns of a table without a schema.
NUM_PROBED = 100


@dataclasses.dataclass(frozen=True)
class Columns:
  """Names of columns; None (for the image "") if the table has none.

  Attributes:
    image: column of the image, or of its path or URL.
    captions: columns of captions.
    language: column of the captions' language.
    key: column of the key.
    reasons: reasons for the columns of image and captions, for messages.
    in_file: whether keys differ between files only; see uids.in_file.
    address: column of addresses, where curation reads no image.
    numbers: columns of `captions` that have numbers.
    values: columns of `captions` whose texts are those of `value_text`.
    lists: columns of `captions` whose texts are those of `values_text`.
    nested: columns of `captions` whose texts are those of `nested_text`.
  """

  image: str
  captions: tuple[str, ...]
  language: str | None
  key: str | None
  # Not a part of fingerprints, nor what follows.
  reasons: tuple[str, str] = dataclasses.field(
    default=("", ""), repr=False, compare=False
  )
  in_file: bool = dataclasses.field(default=False, repr=False)
  address: str = dataclasses.field(default="", repr=False, compare=False)
  numbers: frozenset[str] = dataclasses.field(
    default=frozenset(), repr=False, compare=False
  )
  values: frozenset[str] = dataclasses.field(
    default=frozenset(), repr=False, compare=False
  )
  lists: frozenset[str] = dataclasses.field(
    default=frozenset(), repr=False, compare=False
  )
  nested: frozenset[str] = dataclasses.field(
    default=frozenset(), repr=False, compare=False
  )

  @property
  def named_by(self) -> str:
    """Return the column that names rows without a key, "" for none."""
    return self.image or self.address

  @property
  def about_image(self) -> str:
    """Return the image's column and why it was chosen, for messages."""
    return self.image + self.reasons[0]

  @property
  def about_captions(self) -> str:
    """Return the captions' columns and why they were chosen, for messages."""
    return ", ".join(self.captions) + self.reasons[1]

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

  A table without images, or with their addresses alone, may have its keys in
  `uid`, as DataComp's metadata do.
  """
  if len(source.image) > 1:
    raise ValueError(
      f"{field}.image must be one column; got {list(source.image)}"
    )
  image, image_why, address = "", "", ""
  files = VIDEOS if source.is_video else IMAGES
  usual = (*files, *ADDRESSES) if needs_image else files
  if needs_image or source.image or _usual(usual, names):
    image, image_why = _first(f"{field}.image", source.image, usual, names)
  else:
    address = _usual(ADDRESSES, names)
  has_file = image and image.strip().lower() not in ADDRESSES
  keys = KEYS if has_file else ("uid", *KEYS)
  if source.caption:
    captions = ()
    by_end: dict[str, list[str]] = {
      end: [] for end in (NUMBER, VALUE, VALUES, NESTED)
    }
    for name in source.caption:
      end = next((x for x in by_end if name.endswith(x)), "")
      end = "" if name in names else end
      column = name.removesuffix(end)
      captions += (_checked(f"{field}.caption", column, names),)
      if end:
        by_end[end].append(captions[-1])
    numbers, values, lists, nested = map(frozenset, by_end.values())
    # Curation reads columns of text at once.
    if any(by_end.values()) and not needs_image:
      raise ValueError(
        f"{field}.caption must be columns of text; got {list(source.caption)}"
      )
    caption_why = _why(f"{field}.caption", (), names)
  elif not source.needs_caption and not _usual(CAPTIONS, names):
    captions, caption_why = (), ""
    numbers = values = lists = nested = frozenset()
  else:
    caption, caption_why = _first(f"{field}.caption", (), CAPTIONS, names)
    captions = (caption,)
    numbers = values = lists = nested = frozenset()
  language, key = None, None
  if source.language_field:
    language = _checked(f"{field}.language_field", source.language_field, names)
  uid = source.uid.removeprefix(uids_lib.IN_FILE)
  in_file = uid != source.uid
  if not uid or (in_file and uid == "key"):
    key = next((name for name in keys if name in names), None)
  elif source.uid != BY_ROW:
    key = _checked(f"{field}.uid", uid, names)
  columns = Columns(
    *(image, captions, language, key, (image_why, caption_why), in_file),
    address=address,
    numbers=numbers,
    values=values,
    lists=lists,
    nested=nested,
  )
  for name in columns.names:
    if (number := list(names).count(name)) > 1:
      raise ValueError(
        f"{field}.path: {source.path} has the column {name} {number} times, "
        f"among {list(names)}; expected it once"
      )
  return columns


def texts(
  columns: Columns, row: Mapping[str, Any], language: str, where: str
) -> dict[str, tuple[str, ...]]:
  """Return the captions of a row by language.

  Args:
    columns: columns of the row.
    row: values by column; captions are text, lists of it, and mappings from
      a language to these.
    language: language of captions for which the row names none.
    where: description of the row, for messages.

  Raises:
    faults.ExampleError: "caption_missing".
  """
  if columns.language is not None:
    value = row.get(columns.language)
    language = value if isinstance(value, str) and value else language
  found: dict[str, list[str]] = {}
  for name in columns.captions:
    with faults.located(where):
      value = row.get(name)
      value = key_text(value) if name in columns.numbers else value
      value = value_text(value, name) if name in columns.values else value
      value = values_text(value, name) if name in columns.lists else value
      value = nested_text(value, name) if name in columns.nested else value
      for code, text in by_language(value, language):
        if not captions.is_blank(text):
          found.setdefault(code, []).append(clean(text))
  if not found:
    raise faults.ExampleError(
      "caption_missing",
      f"{where} has no text in column {columns.about_captions}",
    )
  return {code: tuple(some) for code, some in found.items()}


def key_text(value: Any) -> str:
  """Return the key of a row as text; "" for a missing or empty one.

  A whole number that is a float (pandas makes floats of integers beside a
  missing one) has the key of the integer: 7.0 that of 7. NaN is a missing key.

  Raises:
    faults.ExampleError: "record_broken" for an infinite float, one so large
      that whole numbers may not be told apart (2^53), or a value that is Twice.
  """
  check_once(value, "record_broken")
  if isinstance(value, bytes):
    return value.hex()
  if isinstance(value, float):
    if math.isnan(value):
      return ""
    try:
      value = uids_lib.number(value)
    except ValueError as error:
      raise faults.ExampleError("record_broken", str(error)) from error
  text = "" if value is None else clean(str(value))
  return text if text.strip() else ""


def value_text(value: Any, name: str) -> str:
  """Return VALUE_MARK and a value as text; the mark alone for none.

  >>> value_text("left", "side"), value_text(3.0, "n"), value_text(None, "n")
  ('=left', '=3', '=')

  Raises:
    faults.ExampleError: "caption_broken", naming the place `name`, for a list
      or a mapping; else as `key_text`.
  """
  if isinstance(value, Mapping | list | tuple):
    raise faults.ExampleError(
      "caption_broken",
      f"expected one text or number at {name}; got {str(value)[:60]}",
    )
  return VALUE_MARK + " ".join(key_text(value).split())


def values_text(value: Any, name: str) -> str:
  """Return VALUE_MARK and the JSON of a list; the mark alone for none.

  A text is JSON of a list itself, as tables of CSV have it.

  >>> values_text(["left", 2], "options"), values_text(None, "options")
  ('=["left", "2"]', '=')

  Raises:
    faults.ExampleError: "caption_broken", naming the place `name`, for a value
      that is no list of texts or numbers; else as `key_text`.
  """
  listed = value
  if isinstance(value, str) and value.strip():
    with contextlib.suppress(ValueError, RecursionError):
      listed = json.loads(value)
  if listed is None or listed == "":
    return VALUE_MARK
  if not isinstance(listed, list | tuple):
    raise faults.ExampleError(
      "caption_broken",
      f"expected a list of texts or numbers at {name}; got {str(value)[:60]}",
    )
  texts = [value_text(item, name).removeprefix(VALUE_MARK) for item in listed]
  return VALUE_MARK + (json.dumps(texts) if texts else "")


def nested_text(value: Any, name: str) -> str:
  """Return VALUE_MARK and the JSON of lists; the mark alone for none.

  A text is JSON itself, as tables of CSV have it. NaN stays what it is.

  >>> nested_text([[0, 1.5]], "boxes"), nested_text(None, "boxes")
  ('=[[0, 1.5]]', '=')

  Raises:
    faults.ExampleError: "box_broken", naming the place `name`, for a value that
      is no list, or has more in it than lists, numbers and texts.
  """
  listed = value
  if isinstance(value, str) and value.strip():
    with contextlib.suppress(ValueError, RecursionError):
      listed = json.loads(value)
  if listed is None or listed == "":
    return VALUE_MARK
  if not isinstance(listed, list | tuple):
    raise faults.ExampleError(
      "box_broken", f"expected a list at {name}; got {str(value)[:60]}"
    )
  try:
    return VALUE_MARK + json.dumps(listed)
  except (TypeError, ValueError) as error:
    raise faults.ExampleError(
      "box_broken", f"expected numbers or texts at {name}: {error}"
    ) from error


def image_value(value: Any) -> Any:
  """Return the bytes, or else the path, of an image of any form.

  It may be a mapping of bytes and path, and bytes a list of numbers.
  """
  if isinstance(value, dict):
    return image_value(value.get("bytes")) or value.get("path")
  if isinstance(value, list):
    try:
      return bytes(value)
    except (TypeError, ValueError):  # no numbers of bytes
      return b""
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
  return (text for _, text in by_language(value, ""))


class Twice:
  """A field that an object of JSON has twice, with different values."""

  def __init__(self, name: str):
    self.name = name


def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
  """Return an object of JSON, for json.loads: object_pairs_hook=once."""
  values = dict(pairs)
  if len(values) < len(pairs):
    for name, value in pairs:
      if repr(value) != repr(values[name]):
        values[name] = Twice(name)
  return values


def check_once(value: Any, kind: str) -> None:
  """Raise faults.ExampleError of `kind` if a value is Twice."""
  if isinstance(value, Twice):
    raise faults.ExampleError(
      kind, f"the field {value.name} twice, with different values"
    )


def parsed(data: bytes, name: str) -> Any:
  """Return the value of JSON, whose objects are made by `once`.

  Raises:
    faults.ExampleError: "caption_broken", naming `name`, for other bytes.
  """
  try:
    return json.loads(data, object_pairs_hook=once)
  except (ValueError, RecursionError) as error:
    raise faults.ExampleError(
      "caption_broken", f"{name} is not JSON: {error}"
    ) from error


def check_unicode(text: str, name: str) -> None:
  """Check that a text has no lone surrogate, which JSON can contain.

  Raises:
    faults.ExampleError: "caption_broken", naming `name`.
  """
  try:
    text.encode()
  except UnicodeEncodeError as error:
    raise faults.ExampleError(
      "caption_broken", f"{name} is not Unicode: {error}"
    ) from error


def by_language(value: Any, language: str) -> Iterator[tuple[str, str]]:
  """Yield language and text of a value's texts, skipping other types.

  Args:
    value: text, a list of values, or a mapping: from languages to values, or
      of a language and its text, or of a list of both.
    language: language of texts outside of mappings.

  Raises:
    faults.ExampleError: "caption_broken".
  """
  if isinstance(value, str):
    yield language, value
  elif isinstance(value, list | tuple):
    for item in value:
      yield from by_language(item, language)
  elif isinstance(value, Mapping):
    for code, item in _entries(value):
      yield from by_language(item, code or language)
  else:
    check_once(value, "caption_broken")


def _entries(value: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
  """Yield language and value of a mapping's texts."""
  code_field = next((x for x in LANGUAGE_FIELDS if x in value), None)
  text_field = next((x for x in TEXT_FIELDS if x in value), None)
  if code_field is None or text_field is None or len(value) != 2:
    yield from ((str(code), item) for code, item in value.items())
    return
  codes, items = value[code_field], value[text_field]
  if not isinstance(codes, list | tuple) or not isinstance(items, list | tuple):
    yield codes if isinstance(codes, str) else "", items
    return
  if len(codes) != len(items):
    raise faults.ExampleError(
      "caption_broken", "the row has not as many languages as captions"
    )
  for code, item in zip(codes, items, strict=True):
    yield code if isinstance(code, str) else "", item


def _first(
  field: str,
  named: Sequence[str],
  usual: Sequence[str],
  names: Collection[str],
) -> tuple[str, str]:
  """Return a column and, for messages, the reason for it."""
  if named:
    return _checked(field, named[0], names), _why(field, (), names)
  name = _usual(usual, names)
  if name:
    return name, _why(field, usual, names)
  raise ValueError(
    f"{field} must be given: none of the usual {', '.join(usual)} is among the "
    f"columns {_listed(names)}"
  )


def _usual(usual: Sequence[str], names: Collection[str]) -> str:
  """Return the first usual name that a table has, "" without one."""
  exact = next((name for name in usual if name in names), "")
  return exact or next(
    (column for name in usual if (column := _matching(name, names))), ""
  )


def _matching(name: str, names: Collection[str]) -> str:
  """Return the one column of this name in whatever case, "" for none."""
  if name in names:
    return name
  columns = [x for x in names if x.strip().lower() == name.lower()]
  return columns[0] if len(columns) == 1 else ""


def _checked(field: str, name: str, names: Collection[str]) -> str:
  column = _matching(name, names)
  if not column:
    raise ValueError(
      f"{field} must be among the columns {_listed(names)}; got {name!r}"
    )
  return column


def _why(field: str, usual: Sequence[str], names: Collection[str]) -> str:
  """Return the reason for a column, behind its name in a message."""
  if not usual:
    return f" (named by {field}; the columns are {_listed(names)})"
  return (
    f" (chosen as the first of {', '.join(usual)} among the columns "
    f"{_listed(names)}; {field} names another)"
  )


def _listed(names: Collection[str]) -> str:
  more = ", ..." if len(names) > _NUM_LISTED else ""
  return f"[{', '.join(map(repr, [*names][:_NUM_LISTED]))}{more}]"
