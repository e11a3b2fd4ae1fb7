"""Lists of places and demographic terms that the report counts.

places  territories with a flag: their names in 14 languages (package emoji,
        from CLDR), and English names, demonyms and capitals of
        data/places.tsv (WordNet 3.0)
terms   data/terms.json: English words by group (gender, age, ethnicity,
        religion, disability, sexual orientation), with sources and licences. A
        term with " *" is a common word otherwise ("black", "old"); it counts
        only directly before a word for people: "old man", "black women"
"""

import dataclasses
import functools
import importlib.resources
import json
import re
import unicodedata
from collections.abc import Iterator

import emoji

PLACES = "places"
# First and last of the symbols that make flags, A to Z.
_FLAG_A, _FLAG_Z = 0x1F1E6, 0x1F1FF
# Flags that are no territory's.
_NO_TERRITORY = ("EU", "UN")
# Words before the territory in emoji's names of flags, by language.
_FLAG = {
  **{"es": "bandera", "ja": "旗", "ko": "깃발", "pt": "bandeira"},
  **{"it": "bandiera", "fr": "drapeau", "de": "flagge", "fa": "پرچم"},
  **{"id": "bendera", "ru": "флаг", "tr": "bayrak", "ar": "علم"},
  **{"en": "", "zh": ""},
}
# English names of CLDR that are common words in lower case.
_CASED = ("Turkey", "Chad", "Guinea", "Jordan", "Georgia", "Jersey", "China")
_CASED += ("Niger", "Mali", "Togo", "Panama", "Chile")
# Names in one language that are common words in it or in another: Iceland in
# German, Réunion and Ghana in Spanish, Morocco in Turkish, Mauritius in French.
_WORDS = frozenset(
  ("island", "réunion", "reunión", "reunião", "riunione", "gana", "granada")
  + ("fas", "maurice", "mauricio", "dominique", "mısır")
)
# Names of two katakana letters ("マリ", Mali) are part of many words.
_SHORT_KANA = re.compile("[゠-ヿ]{1,2}")
_CASE_COLUMN = "cased"
_CLDR = {
  "name": "CLDR, names of territories in the package emoji",
  "url": "https://github.com/carpedm20/emoji",
  "licence": "Unicode License v3; package: New BSD License",
  "use": "names of flags in 14 languages",
}
_WORDNET = {
  "name": "WordNet 3.0",
  "url": "https://wordnet.princeton.edu",
  "licence": "WordNet 3.0 licence, in WORDNET_LICENSE",
  "use": "English names, demonyms and capitals of territories",
}


@dataclasses.dataclass(frozen=True, order=True)
class Entry:
  """Name or term.

  Attributes:
    words: its words in lower case, a space between them.
    group: PLACES, or a group of terms.
    label: territory (ISO 3166-1 code), or term of the group.
    cased: forms of which one has to occur, with this case; () for any case.
  """

  words: str
  group: str
  label: str
  cased: tuple[str, ...] = ()


@functools.cache
def read() -> tuple[Entry, ...]:
  """Return all entries, sorted; none is twice there."""
  entries: dict[tuple[str, str, str], Entry] = {}
  for entry in (*_territories(), *_places(), *_terms()):
    if entry.words:
      entries.setdefault((entry.words, entry.group, entry.label), entry)
  return tuple(sorted(entries.values()))


def groups() -> tuple[str, ...]:
  """Return the groups of terms, in their order."""
  return tuple(_json()["groups"])


def sources() -> list[dict[str, str]]:
  """Return name, address, licence and use of each list."""
  return [_CLDR, _WORDNET, *_json()["sources"]]


def territories() -> dict[str, str]:
  """Return the English names of territories: code -> name."""
  return {code: _clean(names["en"], "en") for code, names in _flags()}


def words(text: str) -> str:
  """Return the words of a text in their case, a space between them."""
  text = unicodedata.normalize("NFC", text)
  kept = (c if unicodedata.category(c)[0] in "LMN" else " " for c in text)
  return " ".join("".join(kept).split())


def _flags() -> Iterator[tuple[str, dict[str, str]]]:
  emoji.config.load_language()
  for sequence, fields in emoji.EMOJI_DATA.items():
    codes = [ord(char) for char in sequence]
    if len(codes) == 2 and all(_FLAG_A <= c <= _FLAG_Z for c in codes):
      code = "".join(chr(c - _FLAG_A + ord("A")) for c in codes)
      if code not in _NO_TERRITORY:
        yield code, fields


def _clean(name: str, language: str) -> str:
  name = name.strip(":").replace("_", " ")
  return name.removeprefix(f"{_FLAG[language]} ")


def _territories() -> Iterator[Entry]:
  for code, names in _flags():
    for language in _FLAG:
      name = _clean(names.get(language, ""), language)
      # "Cocos (Keeling) Islands"
      name = re.sub(r" *\([^)]*\)", "", name)
      is_word = name.lower() in _WORDS or _SHORT_KANA.fullmatch(name)
      if not is_word:
        is_cased = language == "en" and name in _CASED
        yield _entry(name, PLACES, code, is_cased)


def _places() -> Iterator[Entry]:
  for line in _text("places.tsv").splitlines():
    if not line.startswith("#"):
      code, _, case, name = line.split("\t")
      yield _entry(name, PLACES, code, case == _CASE_COLUMN)


def _terms() -> Iterator[Entry]:
  lists = _json()
  for group, terms in lists["groups"].items():
    for label, forms in terms.items():
      for form in forms:
        if form.endswith(" *"):
          for person in lists["people"]:
            yield _entry(form[:-1] + person, group, label)
        else:
          yield _entry(form, group, label)


def _entry(name: str, group: str, label: str, is_cased: bool = False) -> Entry:
  name = words(name)
  cased = tuple(sorted({name, name.upper()})) if is_cased else ()
  return Entry(name.lower(), group, label, cased)


def _json() -> dict:
  return json.loads(_text("terms.json"))


def _text(name: str) -> str:
  folder = importlib.resources.files("curation.shares") / "data"
  return (folder / name).read_text(encoding="utf-8")
