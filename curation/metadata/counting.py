"""Counts of a corpus's words and bigrams, and of titles' views.

  WORK/NAME/tasks/NNNNNN      runs of one task
  WORK/NAME/merged            their sums, in ranges of hashes

Each file is written whole or not at all, so a stopped count can be resumed.
Neither the number of workers nor their order changes the counts.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curation.engine import engines
from curation.metadata import (
  bigram_scores,
  corpora,
  corpus_words,
  metadata_config,
  pageviews,
  pair_counts,
  term_counts,
)
from runtime import processes, progress
from runtime.storage import whole_files

# Rows of runs that are added up at once: 150 MB of terms or pairs.
_MERGED_ROWS = 4_000_000
# Bytes of text that are split into words at once.
_TEXT_BYTES = 4 << 20


@dataclasses.dataclass(frozen=True)
class Merged:
  """Merged counts.

  Attributes:
    terms: Arrow files of (hash, term, count), by hash.
    pairs: files of pair_counts.PAIR.
  """

  terms: tuple[pathlib.Path, ...]
  pairs: tuple[pathlib.Path, ...]

  @property
  def num_terms(self) -> int:
    """Return the number of distinct terms."""
    return term_counts.num_rows(self.terms)

  @property
  def num_pairs(self) -> int:
    """Return the number of distinct pairs."""
    return sum(len(pair_counts.load(path)) for path in self.pairs)

  def words(self) -> bigram_scores.Words:
    """Return the counts of all terms: 16 bytes a term."""
    tables = [term_counts.load(path) for path in self.terms]
    hashes, counts = (
      np.concatenate([np.zeros(0, kind), *(t[name].to_numpy() for t in tables)])
      for name, kind in (("hash", np.uint64), ("count", np.int64))
    )
    return bigram_scores.Words(hashes, counts, int(counts.sum()))

  def top_terms(
    self, num_terms: int, min_count: int
  ) -> tuple[list[str], np.ndarray]:
    """Return the most frequent terms and their counts."""
    tables = (term_counts.load(path) for path in self.terms)
    return term_counts.top(tables, num_terms, min_count)

  def top_pairs(
    self, scorer: str, min_score: float, num_pairs: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Return the PAIRs with the highest scores, and the scores."""

    def parts() -> Iterator[np.ndarray]:
      return (np.array(pair_counts.load(path)) for path in self.pairs)

    words = self.words()
    floor = (
      bigram_scores.find_floor(parts, words) if scorer == "count_pmi" else 0.0
    )
    return bigram_scores.top(
      parts(),
      words,
      scorer=scorer,
      min_score=min_score,
      num_pairs=num_pairs,
      floor=floor,
    )

  def names(self, hashes: np.ndarray) -> dict[int, str]:
    """Return hash -> term for these hashes."""
    wanted = np.unique(hashes)
    names: dict[int, str] = {}
    for path in self.terms:
      table = term_counts.load(path)
      rows = np.flatnonzero(np.isin(table["hash"].to_numpy(), wanted))
      table = table.take(rows)
      names |= dict(
        zip(table["hash"].to_pylist(), table["term"].to_pylist(), strict=True)
      )
    return names


def count_corpus(
  tasks: Sequence[Sequence[corpora.Part]],
  corpus: metadata_config.Corpus,
  language: str,
  folder: pathlib.Path,
  engine: engines.Engine,
  *,
  with_pairs: bool,
) -> Merged:
  """Count a corpus; a call resumes from the files of an earlier one."""
  count = functools.partial(
    _count_texts, corpus=corpus, language=language, with_pairs=with_pairs
  )
  _run_tasks(
    engine,
    count,
    [(folder / "tasks" / f"{n:06d}", t) for n, t in enumerate(tasks)],
    [sum(part.num_bytes for part in task) for task in tasks],
    f"Counting words ({language}), MB",
  )
  counted = [folder / "tasks" / f"{n:06d}" for n in range(len(tasks))]
  terms = _merge(engine, counted, "terms", folder / "merged")
  pairs = _merge(engine, counted, "pairs", folder / "merged")
  return Merged(terms, pairs)


def count_titles(
  paths: Mapping[str, int],
  reader: pageviews.Reader,
  folder: pathlib.Path,
  engine: engines.Engine,
) -> dict[str, Merged]:
  """Count the views of files (path -> bytes); return language -> titles."""
  tasks = [folder / "tasks" / f"{n:06d}" for n in range(len(paths))]
  _run_tasks(
    engine,
    functools.partial(_count_views, reader=reader),
    list(zip(tasks, paths, strict=True)),
    list(paths.values()),
    "Counting page views, MB",
  )
  merged = {}
  for language in dict.fromkeys(reader.domains.values()):
    counted = [task / language for task in tasks]
    terms = _merge(engine, counted, "terms", folder / "merged" / language)
    merged[language] = Merged(terms, ())
  return merged


def _count_texts(
  task: tuple[pathlib.Path, Sequence[corpora.Part]],
  *,
  corpus: metadata_config.Corpus,
  language: str,
  with_pairs: bool,
) -> None:
  path, parts = task
  with whole_files.new_folder(path) as folder:
    terms = term_counts.TermCounter(folder)
    pairs = pair_counts.PairCounter(folder)
    for part in parts:
      for texts in corpora.read(part, corpus):
        for part_of_texts in _slices(texts):
          tokens = corpus_words.tokenize(
            part_of_texts, corpus.splitter, language
          )
          used = tokens.ids[tokens.ids >= 0]
          counts = np.bincount(used, minlength=len(tokens.terms))
          is_used = counts > 0
          terms.add(tokens.terms.filter(pa.array(is_used)), counts[is_used])
          if with_pairs:
            pairs.add(tokens.ids, term_counts.hash64(tokens.terms))
    terms.close()
    pairs.close()


def _count_views(
  task: tuple[pathlib.Path, str], *, reader: pageviews.Reader
) -> None:
  path, file = task
  with whole_files.new_folder(path) as folder:
    pageviews.count(file, reader, folder)


def _slices(texts: pa.Array) -> Iterator[pa.Array]:
  """Yield parts of an array of about _TEXT_BYTES; a text stays whole."""
  # All parts have equally many rows; long texts make them uneven in bytes.
  num_parts = -(-texts.nbytes // _TEXT_BYTES)
  step = max(1, -(-len(texts) // max(num_parts, 1)))
  for start in range(0, len(texts), step):
    yield texts.slice(start, step)


def _merge(
  engine: engines.Engine,
  folders: Sequence[pathlib.Path],
  kind: str,
  out: pathlib.Path,
) -> tuple[pathlib.Path, ...]:
  """Add runs up; return files by range of hashes."""
  paths = [
    path for folder in folders for path in sorted(folder.glob(kind + "*"))
  ]
  count = term_counts.num_rows if kind == "terms" else _num_pairs
  num_parts = max(1, -(-count(paths) // _MERGED_ROWS))
  targets = [
    out / f"{kind}-{part:04d}-of-{num_parts:04d}" for part in range(num_parts)
  ]
  out.mkdir(parents=True, exist_ok=True)
  merge = functools.partial(_merge_part, paths=paths, kind=kind)
  _run_tasks(
    engine,
    merge,
    [(target, (part, num_parts)) for part, target in enumerate(targets)],
    [1_000_000] * num_parts,
    f"Adding up {kind}, parts",
  )
  return tuple(targets)


def _merge_part(
  task: tuple[pathlib.Path, tuple[int, int]],
  *,
  paths: Sequence[pathlib.Path],
  kind: str,
) -> None:
  target, (part, num_parts) = task
  if kind == "terms":
    term_counts.save(target, term_counts.merge(paths, part, num_parts))
    return
  pairs = pair_counts.merge(paths, part, num_parts)
  with whole_files.replacing(target) as file:
    np.save(file, pairs, allow_pickle=False)


def _num_pairs(paths: Sequence[pathlib.Path]) -> int:
  return sum(len(pair_counts.load(path)) for path in paths)


def _run_tasks(
  engine: engines.Engine,
  fn: Callable[[Any], None],
  tasks: Sequence[tuple[pathlib.Path, Any]],
  sizes: Sequence[int],
  label: str,
) -> None:
  """Run the tasks whose result (a path) is missing; raise a task's error."""
  todo = [
    number
    for number, task in enumerate(tasks)
    if not (task[0].is_file() or whole_files.is_whole(task[0]))
  ]
  left = [tasks[number] for number in todo]
  done = shown = 0
  with progress.Progress(label, _units(sum(sizes[n] for n in todo))) as bar:
    for number, result in engine.run(fn, left):
      if isinstance(result, processes.TaskError) and result.is_users:
        raise ValueError(
          f"{result.message}. What was counted is kept; the same command goes"
          " on from there"
        ) from result
      if isinstance(result, Exception):
        raise result
      done += sizes[todo[number]]
      if _units(done) > shown:
        bar.advance(_units(done) - shown)
        shown = _units(done)


def _units(num_bytes: int) -> int:
  return -(-num_bytes // 10**6)
