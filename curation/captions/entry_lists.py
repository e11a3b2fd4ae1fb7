"""Lists of metadata entries that captions are matched with, read from files.

The field `metadata` of a step is one of

- a folder of LANGUAGE.txt, an entry a line (UTF-8), as --task=metadata writes
  it. A caption is matched with the entries of its language;
- one such file, for captions of all languages;
- a .json file with a list of strings, as MetaCLIP publishes its own;
- "wordfreq:2000:de,en": the most frequent words of these languages by the
  package wordfreq, for a first look. No WordNet, bigrams or titles, and no
  upper case.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from input_pipeline import languages as languages_lib

# Name of the entries for captions whose language has none of its own.
OTHER = "other"
# Language of a single file.
ANY = ""

_WORDFREQ = "wordfreq:"


@dataclasses.dataclass(frozen=True)
class Metadata:
  """Entries by language, numbered through all languages in their order.

  Attributes:
    sources: language -> function that reads its entries; languages ascend. ANY
      is the only key for one file.
    starts: int64 [languages + 1], the number of each language's first entry.
  """

  sources: Mapping[str, Callable[[], pa.Array]]
  starts: np.ndarray

  @property
  def languages(self) -> tuple[str, ...]:
    """Return the languages in the order of their entries."""
    return tuple(self.sources)

  @property
  def num_entries(self) -> int:
    """Return the number of entries of all languages."""
    return int(self.starts[-1])

  def number(self, language: str, other_names: Mapping[str, str]) -> int:
    """Return the index in `languages` of a caption's entries, -1 for none.

    Args:
      language: language of the caption, as "zh" or "zh_TW".
      other_names: language of a caption -> language of the entries.
    """
    if ANY in self.sources:
      return 0
    code = languages_lib.normalised(language)
    for name, other in other_names.items():
      if languages_lib.normalised(name) == code:
        language = other
    base = languages_lib.normalised(language).split("-")[0]
    for name in (language, base, OTHER):
      if (number := self.find(name)) >= 0:
        return number
    return -1

  def find(self, language: str) -> int:
    """Return the index in `languages` of a language, -1 for none.

    A name in exactly that spelling comes before another of its code.
    """
    code = languages_lib.normalised(language)
    codes = map(languages_lib.normalised, self.languages)
    for names, name in ((self.languages, language), (tuple(codes), code)):
      if name in names:
        return names.index(name)
    return -1

  def read(self, number: int) -> pa.Array:
    """Return a language's entries, large strings."""
    return self.sources[self.languages[number]]()


def by_language(path: str) -> bool:
  """Return whether the metadata have entries for each language."""
  return path.startswith(_WORDFREQ) or pathlib.Path(path).is_dir()


def files(path: str) -> tuple[str, ...]:
  """Return the file or folder that the metadata are read from, if any."""
  return () if path.startswith(_WORDFREQ) else (path,)


def open_metadata(path: str) -> Metadata:
  """Return the metadata at a path, with the entries counted.

  Raises:
    ValueError: there are no entries, or their form is unknown.
  """
  if path.startswith(_WORDFREQ):
    sources = _wordfreq(path)
    counts = [len(read()) for read in sources.values()]
  else:
    paths = _find(path)
    sources = {
      language: functools.partial(_read, file)
      for language, file in paths.items()
    }
    counts = [_count(file) for file in paths.values()]
  starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
  if starts[-1] >= 2**32:
    raise ValueError(f"{path} has {starts[-1]} entries; expected below 2**32")
  return Metadata(sources, starts)


def checked(path: str, field: str) -> Metadata:
  """Return the metadata at a path; a ValueError names `field`.metadata."""
  try:
    return open_metadata(path)
  except ValueError as error:
    raise ValueError(f"{field}.metadata: {error}") from error


def _find(path: str) -> dict[str, pathlib.Path]:
  """Return the files of a folder by language, or the one file."""
  root = pathlib.Path(path)
  if not path or not root.exists():
    raise ValueError(
      "expected a folder of LANGUAGE.txt, a .txt or a .json file; there is no "
      f"{path!r}. python main.py --task=metadata makes such a folder"
    )
  if root.is_dir():
    files = {file.stem: file for file in root.glob("*.txt")}
    if not files:
      raise ValueError(
        f"{path} has no LANGUAGE.txt in it; expected one or more"
      )
    return dict(sorted(files.items()))
  if root.suffix not in (".txt", ".json"):
    raise ValueError(
      f"expected a folder of LANGUAGE.txt, a .txt or a .json file; got {path!r}"
    )
  return {ANY: root}


def _wordfreq(path: str) -> dict[str, Callable[[], pa.Array]]:
  """Return readers of the words of "wordfreq:NUMBER:LANGUAGE,LANGUAGE"."""
  number, _, names = path.removeprefix(_WORDFREQ).partition(":")
  if not number.isdigit() or not int(number) or not names:
    raise ValueError(f'expected wordfreq:NUMBER:LANGUAGE,...; got "{path}"')
  try:
    import wordfreq
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      f'metadata="{path}" needs the package wordfreq: pip install -r '
      "requirements-curation.txt",
      name=error.name,
    ) from error
  known = wordfreq.available_languages("best")
  unknown = sorted(set(names.split(",")) - set(known))
  if unknown:
    raise ValueError(
      f"wordfreq has no words of {', '.join(unknown)}; it has "
      f"{', '.join(sorted(known))}"
    )

  def read(language: str) -> pa.Array:
    words = wordfreq.top_n_list(language, int(number), wordlist="best")
    return pa.array(words, pa.large_string())

  return {
    language: functools.partial(read, language)
    for language in sorted(set(names.split(",")))
  }


def _count(file: pathlib.Path) -> int:
  if file.suffix == ".json":
    return len(_read(file))
  data = file.read_bytes()
  if not data:
    raise ValueError(f"{file} is empty; expected an entry a line")
  return data.count(b"\n") + (not data.endswith(b"\n"))


def _read(file: pathlib.Path) -> pa.Array:
  try:
    text = file.read_bytes().decode().removeprefix("\ufeff")
  except UnicodeDecodeError as error:
    raise ValueError(f"{file} must be UTF-8; {error}") from error
  if file.suffix == ".json":
    return pa.array(_parsed(file, text), pa.large_string())
  lines = text.replace("\r\n", "\n").removesuffix("\n")
  split = pc.split_pattern(pa.scalar(lines, pa.large_string()), "\n")
  return split.values.cast(pa.large_string())


def _parsed(file: pathlib.Path, text: str) -> list[str]:
  try:
    entries = json.loads(text)
  except json.JSONDecodeError as error:
    raise ValueError(f"{file} must be JSON; {error}") from error
  if (
    not isinstance(entries, list)
    or not entries
    or not all(isinstance(entry, str) for entry in entries)
  ):
    raise ValueError(f"{file} must hold a list of strings")
  return entries
