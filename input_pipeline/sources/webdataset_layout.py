"""Layout of a WebDataset example: members for image, captions and language."""

import dataclasses

from input_pipeline.sources import caption_files, source_config
from input_pipeline.storage import uids as uids_lib

_IMAGES = ("jpg", "jpeg", "png", "webp")
_CAPTIONS = ("txt", "json.caption", "json.texts")


@dataclasses.dataclass(frozen=True)
class Layout:
  """Members of an example; the top of webdataset.py has the rules.

  Attributes:
    captions: extensions, and fields of the JSON as ("json", FIELD).
    takes_first: whether only the first of `captions` with a caption is read.
    language_field: field of the JSON; "" if all captions are in `language`.
    uid_field: field of the JSON; "" for the key.
    in_file: whether UIDs differ between tars only; see uids.in_file.
    caption_file: pattern of caption_files.py, instead of `captions`; "" for
      none.
  """

  images: tuple[str, ...]
  captions: tuple[tuple[str, str], ...]
  takes_first: bool
  language: str
  language_field: str
  uid_field: str
  caption_file: str = ""
  in_file: bool = False


def make(source: source_config.SourceConfig, field: str) -> Layout:
  """Return a section's layout; ValueError names the field."""
  captions, caption_file = [], ""
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
      kind, name = _extension(place, f"{field}.caption"), ""
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
      _extension(image, f"{field}.image") for image in source.image or _IMAGES
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
  )


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
