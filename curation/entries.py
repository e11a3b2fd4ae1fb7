"""The metadata's entries as files: what captions are matched with.

Three forms are read:

- a folder of LANGUAGE.txt, an entry a line (UTF-8), as curation.metadata
  writes it. A caption is matched with the entries of its language;
- one such file, for captions of all languages;
- a .json file with a list of strings, as MetaCLIP publishes its own.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Stands for the entries of captions whose language has none of its own.
OTHER = "other"
# The language of a single file.
ANY = ""


@dataclasses.dataclass(frozen=True)
class Metadata:
  """Entries by language, numbered through: the languages in order.

  Attributes:
    files: language -> file, the languages ascending; ANY alone for one file.
    starts: int64 [languages + 1], the number of each language's first entry.
  """

  files: Mapping[str, pathlib.Path]
  starts: np.ndarray

  @property
  def languages(self) -> tuple[str, ...]:
    """Return the languages in the order of their entries."""
    return tuple(self.files)

  def number(self, language: str, other_names: Mapping[str, str]) -> int:
    """Return the place in `languages` of those for a caption, -1 for none.

    Args:
      language: of the caption, as "zh" or "zh-tw".
      other_names: language of a caption -> language of the entries.
    """
    if ANY in self.files:
      return 0
    language = other_names.get(language, language)
    for name in (language, language.replace("_", "-").split("-")[0], OTHER):
      if name in self.files:
        return self.languages.index(name)
    return -1

  def read(self, number: int) -> pa.Array:
    """Return a language's entries, large strings."""
    return _read(self.files[self.languages[number]])


@functools.lru_cache(maxsize=4)
def open_metadata(path: str) -> Metadata:
  """Return the metadata at a path; counts the entries.

  Raises:
    ValueError: there are no entries, or not in a form that is read.
  """
  place = pathlib.Path(path)
  files = {ANY: place}
  if place.is_dir():
    files = {file.stem: file for file in sorted(place.glob("*.txt"))}
    files = dict(sorted(files.items()))
    if not files:
      raise ValueError(
        f"{path} has no LANGUAGE.txt in it; expected one or more"
      )
  elif place.suffix not in (".txt", ".json"):
    raise ValueError(
      f"metadata must be a folder, a .txt or a .json file; got {path!r}"
    )
  counts = [_count(file) for file in files.values()]
  for file, count in zip(files.values(), counts, strict=True):
    if not count:
      raise ValueError(f"{file} is empty; expected an entry a line")
  return Metadata(files, np.concatenate([[0], np.cumsum(counts)]))


def _count(file: pathlib.Path) -> int:
  if file.suffix == ".json":
    return len(_read(file))
  data = file.read_bytes()
  return data.count(b"\n") + (bool(data) and not data.endswith(b"\n"))


def _read(file: pathlib.Path) -> pa.Array:
  data = file.read_bytes()
  try:
    text = data.decode().removeprefix("\ufeff")
  except UnicodeDecodeError as error:
    raise ValueError(f"{file} must be UTF-8; {error}") from error
  if file.suffix == ".json":
    entries = json.loads(text)
    if not isinstance(entries, list) or not all(
      isinstance(entry, str) for entry in entries
    ):
      raise ValueError(f"{file} must hold a list of strings")
    return pa.array(entries, pa.large_string())
  lines = pa.scalar(text.replace("\r\n", "\n").removesuffix("\n"))
  return pc.split_pattern(lines, "\n").values.cast(pa.large_string())
