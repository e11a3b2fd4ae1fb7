"""The section `data.sources.NAME` of a config: location and number of pairs.

All formats share one section, so that a flag can turn the tars of a config
into Parquet. A format refuses fields that it does not use.
"""

import dataclasses
import math
import pathlib

from runtime import checks


@dataclasses.dataclass(frozen=True)
class SourceConfig:
  """Fields of one source; configs/parts/sources.py explains them."""

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

  def check(self, name: str) -> None:
    """Raise ValueError, naming the field, for a value that cannot be used."""
    if not 0 <= self.weight < math.inf:
      raise ValueError(
        f"data.sources.{name}.weight must be at least 0; got {self.weight}"
      )
    checks.at_least(f"data.sources.{name}.repeat", self.repeat, 1)
    for template in self.templates:
      if template.count("{}") != 1:
        raise ValueError(
          f"data.sources.{name}.templates must each have one {{}}; got "
          f"{template!r}"
        )

  def refuse(self, name: str, *fields: str) -> None:
    """Raise ValueError for the first of these fields that is set.

    The fields are those that a format does not use; unset is () or "".
    """
    for field in fields:
      if getattr(self, field):
        raise ValueError(
          f'data.sources.{name}.{field} is not used by format="{self.format}"; '
          f"got {getattr(self, field)!r}"
        )


@dataclasses.dataclass(frozen=True)
class SourceContext:
  """Context of a source beside its section.

  Attributes:
    name: name of the source; its errors begin with "data.sources.{name}".
    cache_dir: folder for an index or rendered images; made when needed.
    image_size: size in pixels, for sources that can draw at any size.
  """

  name: str
  cache_dir: pathlib.Path
  image_size: int


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
      f'data.sources.{context.name}.split must be "" for format='
      f'"{source.format}", whose path names the files of one; got {split!r}'
    )
