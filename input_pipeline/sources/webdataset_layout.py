"""Layout of a WebDataset example: members for image, captions and language."""

import dataclasses
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from input_pipeline import captions, faults
from input_pipeline.sources import caption_files, columns, source_config
from input_pipeline.storage import folders, tar_scan
from input_pipeline.storage import uids as uids_lib

# Best first; then the other suffixes of images.
_USUAL = (
  *("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"),
  *("avif", "heic", "heif", "jp2", "ppm", "pgm", "pbm"),
)
_IMAGES = tuple(
  dict.fromkeys((*_USUAL, *(suffix[1:] for suffix in folders.IMAGES)))
)
_VIDEOS = tuple(suffix[1:] for suffix in folders.VIDEOS)
# Number of extensions that a message names.
_NUM_NAMED = 10
_CAPTIONS = ("txt", "json.caption", "json.texts")
# Ends of a location of captions: a member with one a line, "txt:lines", or with
# a NumPy array, whose numbers are the text, "npy:array".
LINES = ":lines"
ARRAY = ":array"


@dataclasses.dataclass(frozen=True)
class Layout:
  """Members of an example; the top of webdataset.py has the rules.

  Attributes:
    captions: extensions, with "", LINES, ARRAY or columns.VALUE, and fields of
      the JSON, with columns.NUMBER, VALUE, VALUES or NESTED or not, as ("json",
      FIELD).
    takes_first: whether only the first of `captions` with a caption is read.
    language_field: field of the JSON; "" if all captions are in `language`.
    uid_field: field of the JSON; "" for the key.
    in_file: whether UIDs differ between tars only; see uids.in_file.
    caption_file: pattern of caption_files.py, instead of `captions`; "" for
      none.
    needs_caption: see SourceConfig.
  """

  images: tuple[str, ...]
  captions: tuple[tuple[str, str], ...]
  takes_first: bool
  language: str
  language_field: str
  uid_field: str
  caption_file: str = ""
  in_file: bool = False
  needs_caption: bool = True


def make(source: source_config.SourceConfig, field: str) -> Layout:
  """Return a section's layout; ValueError names the field."""
  captions, caption_file = [], ""
  usual = _VIDEOS if source.is_video else _IMAGES
  for place in source.caption or _CAPTIONS:
    kind, _, name = place.partition(".")
    if caption_files.is_pattern(place):
      if len(source.caption) > 1:
        raise ValueError(
          f"{field}.caption must be one where it is a file of captions; got "
          f"{list(source.caption)}"
        )
      caption_file = place
      continue
    if kind != "json":
      if place.endswith((columns.VALUES, columns.NESTED)):
        raise ValueError(
          f'{field}.caption must be "json.FIELD" for a list; got {place!r}'
        )
      extension = place.removesuffix(LINES).removesuffix(ARRAY)
      extension = extension.removesuffix(columns.VALUE)
      kind = _extension(extension, f"{field}.caption")
      name = place[len(extension) :]
    elif not name:
      raise ValueError(
        f'{field}.caption must be of "txt" and "json.FIELD"; got {place!r}'
      )
    captions.append((kind, name))
  uid = source.uid.removeprefix(uids_lib.IN_FILE)
  in_file = uid != source.uid
  if in_file and uid != "key" and not uid.startswith("json."):
    raise ValueError(
      f'{field}.uid must be "json.FIELD", "file+key" or "file+json.FIELD"; got '
      f"{source.uid!r}"
    )
  return Layout(
    images=tuple(
      _extension(image, f"{field}.image") for image in source.image or usual
    ),
    captions=tuple(captions),
    takes_first=not source.caption,
    language=source.language,
    language_field=_json_field(
      source.language_field, f"{field}.language_field"
    ),
    uid_field=(
      "" if in_file and uid == "key" else _json_field(uid, f"{field}.uid")
    ),
    caption_file=caption_file,
    in_file=in_file,
    needs_caption=source.needs_caption,
  )


# Extension -> content, or the fault of a member without one.
Members = Mapping[str, bytes | faults.ExampleError]


def image_of(members: Members, layout: Layout, name: str) -> bytes:
  """Return an example's image; raises faults.ExampleError."""
  for kind in layout.images:
    image = _member(members, kind)
    if image:
      return image
  dotted = any(
    kind.endswith(f".{i}") for kind in members for i in layout.images
  )
  hint = "; a key ends at the first dot of the file name" if dotted else ""
  raise faults.ExampleError(
    "image_missing",
    f"{name} has {_names(members)}; none of them is one of "
    f"{', '.join(layout.images)} with something in it{hint}",
  )


def texts_of(
  members: Members, layout: Layout, name: str
) -> dict[str, tuple[str, ...]]:
  """Return an example's captions by language; raises faults.ExampleError."""
  texts: dict[str, list[str]] = {}
  fallback = None
  for kind, field in layout.captions:
    path = ""
    if kind == "json":
      path = field.removesuffix(columns.NUMBER)
      path = path.removesuffix(columns.VALUE).removesuffix(columns.VALUES)
      path = path.removesuffix(columns.NESTED)
      value = tar_scan.field_of(fields_of(members, name), path)
      if field.endswith(columns.NUMBER):
        value = columns.key_text(value)
    else:
      data = _member(members, kind)
      value = None if data is None else _text(data, field, name)
    with faults.located(name):
      if field.endswith(columns.VALUE):
        place = f"json.{field}" if kind == "json" else kind
        value = columns.value_text(value, place.removesuffix(columns.VALUE))
      elif field.endswith(columns.VALUES):
        value = columns.values_text(value, f"json.{path}")
      elif field.endswith(columns.NESTED):
        value = columns.nested_text(value, f"json.{path}")
      pairs = list(columns.by_language(_without_keys(value), ""))
    for language, caption in pairs:
      text, language = _clean(caption, name), _clean(language, name)
      if text and not language:
        fallback = fallback or _language_of(members, layout, name)
      if text:
        texts.setdefault(language or fallback or "", []).append(text)
    if texts and layout.takes_first:
      break
  if not texts:
    fields = [
      f"{kind}{'.' * (kind == 'json')}{field}"
      for kind, field in layout.captions
    ]
    raise faults.ExampleError(
      "caption_missing",
      f"{name} has no caption in {', '.join(fields)}; it has {_names(members)}",
    )
  return {language: tuple(present) for language, present in texts.items()}


def json_of(members: Members) -> bytes | None:
  """Return the JSON of an example, None for none; raises its fault."""
  return _member(members, "json")


def fields_of(members: Members, name: str) -> Mapping[str, Any]:
  """Return the fields of an example's JSON; raises faults.ExampleError."""
  data = json_of(members)
  if data is None:
    return {}
  fields = columns.parsed(data, f"{name}: the .json")
  return fields if isinstance(fields, dict) else {}


def _language_of(members: Members, layout: Layout, name: str) -> str:
  if layout.language_field:
    language = tar_scan.field_of(
      fields_of(members, name), layout.language_field
    )
    with faults.located(name):
      columns.check_once(language, "caption_broken")
    if language and isinstance(language, str):
      return _clean(language, name)
  return layout.language


def _member(members: Members, extension: str) -> bytes | None:
  content = members.get(extension)
  if isinstance(content, faults.ExampleError):
    raise content
  return content


def _without_keys(value: Any) -> Any:
  """Return captions without MetaCLIP's keys, which name a caption's origin.

  >>> _without_keys([["alt", "a cat"], "a dog"])
  ['a cat', 'a dog']
  """
  if isinstance(value, dict):
    return {code: _without_keys(item) for code, item in value.items()}
  if not isinstance(value, list):
    return value
  return [x[1] if isinstance(x, list) and len(x) == 2 else x for x in value]


def _names(members: Members) -> str:
  """Return the extensions of an example, the first of many."""
  names = sorted(members)
  others = len(names) - _NUM_NAMED
  more = [f"{others} more"] if others > 0 else []
  return ", ".join(names[:_NUM_NAMED] + more)


def _decode(data: bytes, name: str) -> str:
  try:
    return data.decode()
  except UnicodeDecodeError as error:
    raise faults.ExampleError(
      "caption_broken", f"{name}: the caption is not UTF-8: {error}"
    ) from error


def _text(data: bytes, form: str, name: str) -> str | list[str]:
  """Return the captions of a member; raises faults.ExampleError."""
  if form == ARRAY:
    try:
      array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
      raise faults.ExampleError(
        "caption_broken", f"{name} has no array of numbers in it: {error}"
      ) from error
    return " ".join(str(number) for number in np.ravel(array).tolist())
  text = _decode(data, name)
  return text.splitlines() if form == LINES else text


def _clean(text: str, name: str) -> str:
  columns.check_unicode(text, f"{name}: a caption or its language")
  return "" if captions.is_blank(text) else text.removeprefix("\ufeff").strip()


def _extension(text: str, field: str) -> str:
  extension = text.removeprefix(".").lower()
  if not extension or "/" in extension:
    raise ValueError(
      f'{field} must be of extensions such as "jpg"; got {text!r}'
    )
  return extension


def _json_field(text: str, field: str) -> str:
  if text in ("json", "json."):
    raise ValueError(f'{field} must be "json.FIELD"; got {text!r}')
  return text.removeprefix("json.")
