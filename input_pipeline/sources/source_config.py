"""The section `data.sources.NAME` of a config: location and number of pairs.

All formats share one section, so that a flag can turn the tars of a config
into Parquet. A format refuses fields that it does not use.
"""

import dataclasses
import math
import os
import pathlib

from runtime import checks
from runtime.storage import remote

# Formats, of sources and pools, whose rows name files of images.
_NAMING_FORMATS = ("table", "parquet", "jsonl", "folder")


@dataclasses.dataclass(frozen=True)
class SourceConfig:
  """Fields of one source; configs/parts/sources.py explains them.

  Attributes:
    needs_caption: whether an example without a caption that can be read is a
      fault; no field of a config. Without, its texts are {}. Tars, Parquet and
      tables (not folders) know it.
    is_video: whether examples hold videos, as with data.video; no field of a
      config. Usual names of members, files and columns are then those of
      videos.
  """

  format: str
  path: str
  split: str
  image: tuple[str, ...]
  caption: tuple[str, ...]
  language: str
  language_field: str
  uid: str
  templates: tuple[str, ...]
  weight: float
  repeat: int
  subset: str
  keep: str
  encoding: str = ""
  image_root: str = ""
  grammar: tuple[tuple[str, str], ...] = ()
  grammar_fields: tuple[tuple[str, str], ...] = ()
  grammar_draw: str = "example"
  grammar_articles: tuple[str, ...] = ()
  layout: str = ""
  needs_caption: bool = True
  is_video: bool = False
  short_templates: tuple[str, ...] = ()
  short_words: int = 2
  question_fields: tuple[tuple[str, str], ...] = ()
  region_fields: tuple[tuple[str, str], ...] = ()
  box_form: str = "xyxy"
  box_unit: str = "pixels"

  def check(self, field: str) -> None:
    """Raise ValueError for the first value that cannot be used.

    Args:
      field: name of the section in messages, such as "data.sources.main".
    """
    checks.at_least(f"{field}.weight", self.weight, 0)
    if self.weight == math.inf:
      checks.refuse(f"{field}.weight must be finite; got {self.weight}")
    checks.at_least(f"{field}.repeat", self.repeat, 1)
    check_encoding(self.encoding, self.format, field)
    if (self.format == "layout") != bool(self.layout):
      checks.refuse(
        f'{field}.layout must name a layout for format="layout", and be "" for'
        f' others; got {self.layout!r} for format="{self.format}"'
      )
    check_image_root(self.image_root, self.format, field)
    for name in ("templates", "short_templates"):
      for template in getattr(self, name):
        if template.count("{}") != 1:
          checks.refuse(
            f"{field}.{name} must each have one {{}}; got {template!r}"
          )
    checks.at_least(f"{field}.short_words", self.short_words, 1)
    for name in ("templates", "grammar"):
      if self.short_templates and getattr(self, name):
        checks.refuse(
          f"{field}.short_templates must be () beside {field}.{name}, which"
          f" makes all captions; got {self.short_templates!r}"
        )

  def refuse(self, field: str, *names: str) -> None:
    """Raise ValueError for the first of these fields that is set.

    Formats call it for fields that they do not use, which must be () or "".

    Args:
      field: name of the section in messages.
      names: fields of the section.
    """
    for name in names:
      if getattr(self, name):
        checks.refuse(
          f'{field}.{name} is not used by format="{self.format}"; got '
          f"{getattr(self, name)!r}"
        )


@dataclasses.dataclass(frozen=True)
class SourceContext:
  """Context of a source's section that its format needs.

  Attributes:
    name: name of the source.
    cache_dir: folder for an index or for rendered images; made when it is
      needed.
    image_size: in pixels, for sources that can draw at any size.
    section: field of the config that holds the source's section; "" where
      `name` is what messages name.
  """

  name: str
  cache_dir: pathlib.Path
  image_size: int
  section: str = "data.sources"

  @property
  def field(self) -> str:
    """Name of the source's section in messages."""
    return f"{self.section}.{self.name}".lstrip(".")


def check_encoding(encoding: str, format: str, field: str) -> None:
  """Raise ValueError, naming `field`.encoding, where it cannot be used."""
  if not encoding:
    return
  if format not in ("table", "folder"):
    raise ValueError(
      f'{field}.encoding is not used by format="{format}"; got {encoding!r}'
    )
  try:
    "".encode(encoding)
  except (LookupError, UnicodeError):
    raise ValueError(
      f"{field}.encoding must be a text encoding of Python, such as latin-1, "
      f"cp1252, utf-16 or gb18030; got {encoding!r}"
    ) from None


def check_image_root(image_root: str, format: str, field: str) -> None:
  """Raise ValueError, naming `field`.image_root, where it cannot be used."""
  if image_root and format not in _NAMING_FORMATS:
    raise ValueError(
      f'{field}.image_root is not used by format="{format}"; got {image_root!r}'
    )
  if not image_root or remote.is_remote(image_root):
    return
  if not os.path.isdir(remote.local_path(image_root)):
    raise ValueError(f"{field}.image_root must be a folder; got {image_root!r}")


def no_splits(source: SourceConfig, context: SourceContext) -> tuple[str, ...]:
  """Return (), for formats whose `path` names the files of one split."""
  del source, context
  return ()


def check_no_split(
  source: SourceConfig, split: str, context: SourceContext
) -> None:
  """Raise ValueError for a split, in a format without splits."""
  if split:
    raise ValueError(
      f'{context.field}.split must be "" for format='
      f'"{source.format}", whose path names the files of one; got {split!r}'
    )
