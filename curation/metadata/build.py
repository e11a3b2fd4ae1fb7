"""`--task=metadata`: a folder with the entries of each language.

  LANGUAGE.txt    an entry a line
  metadata.json   sources of the entries, and the files' digests

The folder is written whole or not at all. Counts of the corpora are kept in
.NAME.unfinished beside it until then; the next call resumes from them.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from curation.captions import wordnet
from curation.engine import engines
from curation.metadata import (
  corpora,
  counting,
  entries,
  metadata_config,
  pageviews,
)
from input_pipeline.storage import files
from runtime.storage import bucket_path, strict_json, unfinished

SCHEMA = 1
FACTS = "metadata.json"
_PACKAGES = ("wordfreq", "wn", "icu4py", "pyarrow")


def run(
  metadata: metadata_config.Metadata,
  out: str,
  *,
  engine: str,
  num_workers: int,
  as_json: bool,
) -> int:
  """Build the entries, print a summary; return the exit code."""
  if not out:
    raise ValueError("--out is missing: --out=DIR, the folder to write")
  workers = engines.make(engine, num_workers)
  try:
    facts = build(metadata, bucket_path.make(out), workers)
  finally:
    workers.close()
  if as_json:
    print(strict_json.dumps(facts, indent=2))
    return 0
  for language, counts in facts["languages"].items():
    parts = ", ".join(
      f"{source['name']} {source['added']:,}" for source in counts["sources"]
    )
    print(f"{out}/{language}.txt: {counts['entries']:,} entries ({parts})")
  return 0


def build(
  metadata: metadata_config.Metadata, out: pathlib.Path, engine: engines.Engine
) -> dict[str, Any]:
  """Write the folder; return the facts in its metadata.json.

  Raises:
    ValueError: a source cannot be used; raised before anything is counted.
  """
  work = out.with_name(f".{out.name}.unfinished")
  # Beside its work, a folder is one that was killed after it was written.
  if not work.is_dir():
    unfinished.check_free(out)
  _check_packages(metadata)
  tasks = {
    name: corpora.find(language.corpus, f"languages.{name}.corpus")
    for name, language in metadata.languages.items()
    if language.corpus.format
  }
  views = _view_files(metadata)
  # Sources that are cheap to read come first, so that a missing one is reported
  # before hours of counting.
  sets = {name: _begun(name, x) for name, x in metadata.languages.items()}
  with unfinished.resumed(work, f"--out={out}"):
    titles = _count_titles(metadata, views, work, engine)
    for name, language in metadata.languages.items():
      if name in tasks:
        _add_corpus(sets[name], name, language, tasks[name], work, engine)
      if name in titles:
        _add_titles(sets[name], language.titles, titles[name])
    facts, written = _made(metadata, sets)
    unfinished.write_whole(out, written)
  return facts


def _check_packages(metadata: metadata_config.Metadata) -> None:
  """Raise ValueError for a missing package that is imported much later."""
  for name, language in metadata.languages.items():
    for field, is_used, package in (
      ("corpus.splitter", language.corpus.splitter == "icu", "icu4py"),
      ("unigrams.source", language.unigrams.source == "wordfreq", "wordfreq"),
    ):
      if is_used and importlib.util.find_spec(package) is None:
        raise ValueError(
          f"languages.{name}.{field} needs the package {package}: pip install"
          " -r requirements-curation.txt"
        )


def _begun(name: str, language: metadata_config.Language) -> entries.Entries:
  """Return the entries from sources other than a corpus."""
  begun = entries.Entries(language.max_entries, language.max_chars)
  begun.add("digits", entries.DIGITS)
  if language.wordnet.format == "wndb":
    folder = wordnet.find(language.wordnet.path)
    begun.add("wordnet", entries.synset_names(folder))
  elif language.wordnet.format == "omw":
    begun.add("wordnet", entries.omw_names(language.wordnet.path))
  if language.unigrams.source == "wordfreq":
    words = entries.wordfreq_words(name)
    num_words = int(language.unigrams.fraction * len(words))
    begun.add("unigrams", words[:num_words], language.unigrams.max_entries)
  return begun


def _add_corpus(
  begun: entries.Entries,
  name: str,
  language: metadata_config.Language,
  tasks: list[tuple[corpora.Part, ...]],
  work: pathlib.Path,
  engine: engines.Engine,
) -> None:
  """Add words and bigrams of a corpus."""
  with_pairs = bool(language.bigrams.scorer)
  # Thresholds are not in the key: a call with others counts nothing again.
  key = _digest(
    [dataclasses.asdict(language.corpus), with_pairs]
    + [dataclasses.astuple(part) for task in tasks for part in task]
  )
  counted = counting.count_corpus(
    tasks,
    language.corpus,
    name,
    work / f"{name}-{key}",
    engine,
    with_pairs=with_pairs,
  )
  unigrams, bigrams = language.unigrams, language.bigrams
  if unigrams.source == "corpus":
    limit = int(unigrams.fraction * counted.num_terms)
    limit = min(limit, unigrams.max_entries)
    terms, counts = counted.top_terms(limit + len(begun), unigrams.min_count)
    begun.add("unigrams", terms, limit, counts)
  if with_pairs:
    num_pairs = bigrams.max_entries + len(begun)
    pairs, values = counted.top_pairs(
      bigrams.scorer, bigrams.min_score, num_pairs
    )
    if not len(pairs):
      logging.warning(
        "languages.%s: none of %d bigrams has a score of at least"
        " bigrams.min_score=%g; PMI cannot be above %.1f, the logarithm of the"
        " corpus's tokens",
        name,
        counted.num_pairs,
        bigrams.min_score,
        math.log2(max(counted.words().total, 1)),
      )
    names = counted.names(np.concatenate([pairs["first"], pairs["second"]]))
    terms = [
      names[first] + language.corpus.joiner + names[second]
      for first, second in zip(
        pairs["first"].tolist(), pairs["second"].tolist(), strict=True
      )
    ]
    begun.add("bigrams", terms, bigrams.max_entries, values)


def _add_titles(
  begun: entries.Entries,
  titles: metadata_config.Titles,
  counted: counting.Merged,
) -> None:
  limit = int(titles.fraction * counted.num_terms)
  limit = min(limit, titles.max_entries)
  terms, views = counted.top_terms(limit + len(begun), titles.min_views)
  begun.add("titles", terms, limit, views)


def _view_files(
  metadata: metadata_config.Metadata,
) -> dict[tuple[str, int], dict[str, files.File]]:
  """Return (pattern, min_line_views) -> its files, by path."""
  by_key = {}
  for name, language in metadata.languages.items():
    titles = language.titles
    key = (titles.path, titles.min_line_views)
    if titles.path and key not in by_key:
      field = f"languages.{name}.titles.path"
      by_key[key] = {x.path: x for x in files.find(titles.path, field)}
  return by_key


def _count_titles(
  metadata: metadata_config.Metadata,
  views: Mapping[tuple[str, int], Mapping[str, files.File]],
  work: pathlib.Path,
  engine: engines.Engine,
) -> dict[str, counting.Merged]:
  """Count titles; each file is read once, for all its languages."""
  merged: dict[str, counting.Merged] = {}
  for (pattern, min_line_views), by_path in views.items():
    domains: dict[str, str] = {}
    for name, language in metadata.languages.items():
      titles = language.titles
      if (titles.path, titles.min_line_views) != (pattern, min_line_views):
        continue
      for domain in titles.domains:
        if domain in domains:
          raise ValueError(
            f"languages.{name}.titles.domains has {domain!r}, which"
            f" languages.{domains[domain]} has too; expected it once"
          )
        domains[domain] = name
    reader = pageviews.Reader(domains, min_line_views)
    key = _digest(
      [dataclasses.asdict(reader)]
      + [dataclasses.astuple(file) for file in by_path.values()]
    )
    sizes = {path: file.size for path, file in by_path.items()}
    merged |= counting.count_titles(
      sizes, reader, work / f"views-{key}", engine
    )
  return merged


def _made(
  metadata: metadata_config.Metadata, sets: Mapping[str, entries.Entries]
) -> tuple[dict[str, Any], dict[str, bytes]]:
  """Return the facts in metadata.json, and all files of the folder."""
  languages, written = {}, {}
  for name, language in metadata.languages.items():
    data = sets[name].text().encode()
    written[f"{name}.txt"] = data
    languages[name] = {
      "entries": len(sets[name]),
      "sha256": hashlib.sha256(data).hexdigest(),
      "sources": [dataclasses.asdict(x) for x in sets[name].sources],
      "settings": dataclasses.asdict(language),
    }
  facts = {
    "schema": SCHEMA,
    "languages": languages,
    "versions": _versions(metadata),
  }
  text = strict_json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
  return facts, written | {FACTS: text.encode()}


def _versions(metadata: metadata_config.Metadata) -> dict[str, str]:
  """Return the versions of WordNet and of the packages used."""
  versions = {
    f"wordnet ({name})": wordnet.version(wordnet.find(language.wordnet.path))
    for name, language in metadata.languages.items()
    if language.wordnet.format == "wndb"
  }
  for package in _PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      versions[package] = importlib.metadata.version(package)
  return versions


def _digest(values: list[Any]) -> str:
  text = json.dumps([SCHEMA, *values], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]
