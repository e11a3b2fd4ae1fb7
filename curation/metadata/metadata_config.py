"""Config of --task=metadata as frozen dataclasses, checked."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from curation.metadata import bigram_scores, corpus_words
from runtime import checks, sections

SEE = "configs/curate/metadata.py"

WORDNET_FORMATS = ("", "wndb", "omw")
CORPUS_FORMATS = ("", "text", "jsonl", "parquet", "glosses")
UNIGRAM_SOURCES = ("", "corpus", "wordfreq")


@dataclasses.dataclass(frozen=True)
class WordNet:
  """Fields of `config.languages.NAME.wordnet`; see configs."""

  format: str
  path: str


@dataclasses.dataclass(frozen=True)
class Corpus:
  """Fields of `config.languages.NAME.corpus`; see configs."""

  format: str
  path: str
  column: str
  splitter: str
  joiner: str


@dataclasses.dataclass(frozen=True)
class Unigrams:
  """Fields of `config.languages.NAME.unigrams`; see configs."""

  source: str
  min_count: int
  fraction: float
  max_entries: int


@dataclasses.dataclass(frozen=True)
class Bigrams:
  """Fields of `config.languages.NAME.bigrams`; see configs."""

  scorer: str
  min_score: float
  max_entries: int


@dataclasses.dataclass(frozen=True)
class Titles:
  """Fields of `config.languages.NAME.titles`; see configs."""

  path: str
  domains: tuple[str, ...]
  min_line_views: int
  min_views: int
  fraction: float
  max_entries: int


@dataclasses.dataclass(frozen=True)
class Language:
  """Fields of `config.languages.NAME`; see configs."""

  max_entries: int
  max_chars: int
  wordnet: WordNet
  corpus: Corpus
  unigrams: Unigrams
  bigrams: Bigrams
  titles: Titles


@dataclasses.dataclass(frozen=True)
class Metadata:
  """Fields of a config of --task=metadata; see configs."""

  languages: Mapping[str, Language]


@checks.collected()
def checked(values: Mapping[str, Any]) -> Metadata:
  """Return a config's values.

  Raises:
    ValueError: fields are unknown or values bad; the message names all.
  """
  if set(values) != {"languages"}:
    raise ValueError(
      "--config is no config of --task=metadata: expected the field languages"
      f" alone; got {', '.join(sorted(values)) or 'none'}; see {SEE}"
    )
  metadata = sections.make(Metadata, values, see=SEE)
  if not metadata.languages:
    raise ValueError(f"languages has none; see {SEE}")
  for name, language in metadata.languages.items():
    # The name of a language is the name of its file.
    if not name.replace("-", "").replace("_", "").isalnum():
      checks.refuse(
        f"languages must have names of letters, digits, - and _; got {name!r}"
      )
    with checks.collected():
      _check(language, f"languages.{name}")
  return metadata


def _check(language: Language, field: str) -> None:
  for name, value, known in (
    ("wordnet.format", language.wordnet.format, WORDNET_FORMATS),
    ("corpus.format", language.corpus.format, CORPUS_FORMATS),
    ("corpus.splitter", language.corpus.splitter, corpus_words.SPLITTERS),
    ("unigrams.source", language.unigrams.source, UNIGRAM_SOURCES),
    ("bigrams.scorer", language.bigrams.scorer, ("", *bigram_scores.SCORERS)),
  ):
    checks.one_of(f"{field}.{name}", value, known)
  for name, number in (
    ("max_entries", language.max_entries),
    ("max_chars", language.max_chars),
    ("unigrams.min_count", language.unigrams.min_count),
    ("unigrams.max_entries", language.unigrams.max_entries),
    ("bigrams.max_entries", language.bigrams.max_entries),
    ("titles.min_line_views", language.titles.min_line_views),
    ("titles.min_views", language.titles.min_views),
    ("titles.max_entries", language.titles.max_entries),
  ):
    checks.at_least(f"{field}.{name}", number, 1)
  for name, share in (
    ("unigrams.fraction", language.unigrams.fraction),
    ("titles.fraction", language.titles.fraction),
  ):
    checks.above(f"{field}.{name}", share, 0)
    checks.between(f"{field}.{name}", share, 0, 1)
  _check_sources(language, field)


def _check_sources(language: Language, field: str) -> None:
  corpus = language.corpus
  counted = language.unigrams.source == "corpus" or language.bigrams.scorer
  if counted and not corpus.format:
    checks.refuse(
      f"{field}.corpus.format is '', but unigrams or bigrams are counted in it;"
      f" expected one of {', '.join(CORPUS_FORMATS[1:])}"
    )
  if corpus.format and not counted:
    checks.refuse(
      f"{field}.corpus is used by neither unigrams.source nor bigrams.scorer;"
      " expected unigrams.source='corpus' or a scorer"
    )
  needs_path = corpus.format in ("text", "jsonl", "parquet")
  if needs_path and not corpus.path:
    checks.refuse(f"{field}.corpus.path must name files; got ''")
  if corpus.format in ("jsonl", "parquet") and not corpus.column:
    checks.refuse(
      f"{field}.corpus.column must name the field with the text; got ''"
    )
  if language.wordnet.format == "omw" and not language.wordnet.path:
    checks.refuse(
      f"{field}.wordnet.path must name a tab file of the Open Multilingual"
      " Wordnet; got ''"
    )
  titles = language.titles
  if titles.path and not titles.domains:
    checks.refuse(
      f"{field}.titles.domains must name domains such as 'en'; got ()"
    )
  if not (
    language.wordnet.format
    or language.unigrams.source
    or language.bigrams.scorer
    or titles.path
  ):
    checks.refuse(
      f"{field} has no source; expected at least one of wordnet.format,"
      " unigrams.source, bigrams.scorer and titles.path"
    )
