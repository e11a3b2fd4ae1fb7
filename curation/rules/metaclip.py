"""MetaCLIP's steps: match captions with metadata, then balance the entries.

MetaCLIP (arXiv 2309.16671) has one list of entries, for English captions;
MetaCLIP 2 (arXiv 2507.22062) one for each language. The algorithms are in
captions/matching.py and captions/balancing.py.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curation import operators, pool
from curation.captions import (
  balancing,
  entry_lists,
  match_counts,
  matching,
)
from curation.keys import hashing
from curation.rules import entry_counts
from runtime import checks

# t_rule -> fn(counts of the entries, tail mass) -> t.
T_RULES: Mapping[str, Callable[[np.ndarray, float], int]] = {
  "inverse": balancing.t_of_tail_mass,
  "published": balancing.published_t_of_tail_mass,
}
# Pairs that balancing keeps: those whose draw is below the probability, or all,
# for a loader that draws anew in each epoch.
KEEPS = ("drawn", "all")

# File of the state: 1 - p_e for each entry, float64 [E].
_MISSES = "misses.npy"


@dataclasses.dataclass(frozen=True)
class Match(operators.Filter):
  """Keep captions that contain an entry of the metadata.

  Signal `matches`, list<uint32>: the entries, numbered through all languages.

  Attributes:
    metadata: folder of LANGUAGE.txt, one such file, or another form that
      captions/entry_lists.py reads.
    language: column or signal with the language of a caption; not read if the
      metadata are one file.
    other_names: pairs (language of a caption, language of its entries).
      Codes may have any spelling (see input_pipeline.languages). Without a
      pair, "zh-tw" takes the entries of "zh", and a language without
      entries those of "other".
    mode: key of matching.MODES.
    ends: key of matching.ENDS.
  """

  metadata: str
  language: str
  other_names: tuple[tuple[str, str], ...]
  mode: str
  ends: str

  signals = ("matches",)

  @property
  def columns(self) -> tuple[str, ...]:
    """Return "text" and, for metadata by language, the language's column."""
    if entry_lists.by_language(self.metadata):
      return ("text", self.language)
    return ("text",)

  def check(self, field: str) -> None:
    """Raise ValueError for an unknown mode, or metadata that cannot match."""
    checks.one_of(f"{field}.mode", self.mode, matching.MODES)
    checks.one_of(f"{field}.ends", self.ends, matching.ENDS)
    metadata = entry_lists.checked(self.metadata, field)
    for number, language in enumerate(metadata.languages):
      try:
        matching.check(metadata.read(number))
      except ValueError as error:
        name = language or self.metadata
        raise ValueError(f"{field}.metadata: {name}: {error}") from error
    if entry_lists.by_language(self.metadata) and not self.language:
      checks.refuse(
        f"{field}.language must name a column, for {self.metadata} has entries "
        "by language; got ''"
      )

  def files(self) -> tuple[str, ...]:
    """Return the paths of the metadata."""
    return entry_lists.files(self.metadata)

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    """Open the metadata; a language's matcher is made at its first caption."""
    del context
    metadata = entry_lists.open_metadata(self.metadata)
    other_names = dict(self.other_names)
    matchers: dict[int, matching.Matcher] = {}
    numbers: dict[str | None, int] = {}

    def match(number: int, texts: pa.Array) -> matching.Matches:
      if number not in matchers:
        matchers[number] = matching.make(
          metadata.read(number), mode=self.mode, ends=self.ends
        )
      matches = matchers[number].match(texts)
      start = np.uint32(metadata.starts[number])
      return matching.Matches(matches.offsets, matches.ids + start)

    def decide(table: pa.Table) -> operators.Verdict:
      texts = table["text"].combine_chunks()
      if entry_lists.ANY in metadata.languages:
        return _verdict(match(0, texts))
      languages = table[self.language].combine_chunks().dictionary_encode()
      names = languages.dictionary.to_pylist()
      for name in {*names, None} - set(numbers):
        numbers[name] = metadata.number(name or "und", other_names)
      # The last is for rows without a language, whose index is null.
      list_of_name = np.array([numbers[name] for name in (*names, None)])
      indices = languages.indices.fill_null(len(names)).to_numpy()
      list_N = list_of_name[indices]
      by_list = {
        number: match(number, texts.filter(pa.array(list_N == number)))
        for number in np.unique(list_N[list_N >= 0]).tolist()
      }
      return _verdict(_gathered(by_list, list_N))

    return decide


@dataclasses.dataclass(frozen=True)
class Balance(entry_counts.Counting):
  """Keep each pair with the probability that balances the entries.

  Signal `keep_probability`, float32.

  Attributes:
    metadata: as in entry_counts.Counting.
    t: number of matches above which an entry's pairs are subsampled; 0 computes
      it from `tail_mass`, for each language.
    t_language: language that `t` is for; the others take the t at which their
      entries below t have the same share of their matches. "" takes one t for
      all languages.
    tail_mass: share of the matches that entries below t have, in (0, 1); used
      if t is 0.
    t_rule: key of T_RULES. "inverse" inverts the function from t to the tail
      mass exactly; MetaCLIP 2's "published" does not.
    keep: one of KEEPS.
    seed: random seed of the draws.
  """

  t: int
  t_language: str
  tail_mass: float
  t_rule: str
  keep: str
  seed: int

  columns = ("matches",)
  signals = ("keep_probability",)

  def check(self, field: str) -> None:
    """Raise ValueError for a t that cannot be used or computed."""
    checks.at_least(f"{field}.t", self.t, 0)
    if not self.t and not 0 < self.tail_mass < 1:
      checks.refuse(
        f"{field}.tail_mass must be in (0, 1) where t is 0; got "
        f"{self.tail_mass}"
      )
    checks.one_of(f"{field}.t_rule", self.t_rule, T_RULES)
    checks.one_of(f"{field}.keep", self.keep, KEEPS)
    metadata = entry_lists.checked(self.metadata, field)
    if self.t_language and metadata.find(self.t_language) < 0:
      checks.refuse(
        f"{field}.t_language must be a language of {self.metadata}, or ''; got "
        f"{self.t_language!r}"
      )
    if self.t_language and not self.t:
      checks.refuse(
        f"{field}.t_language={self.t_language!r} needs its t; got t=0"
      )

  def reduce(
    self, parts: Sequence[pathlib.Path], context: operators.StepContext
  ) -> dict[str, Any]:
    """Choose each language's t; save it, the counts and 1 - p_e."""
    metadata = entry_lists.open_metadata(self.metadata)
    counts = match_counts.total(parts, metadata.num_entries)
    by_language = np.split(counts, metadata.starts[1:-1])
    ts = self._ts(metadata, by_language)
    misses = [
      balancing.miss_probabilities(own, t)
      for own, t in zip(by_language, ts, strict=True)
    ]
    state = {
      match_counts.COUNTS: counts,
      match_counts.TS: np.array(ts),
      _MISSES: np.concatenate(misses),
    }
    for name, array in state.items():
      np.save(context.state / name, array, allow_pickle=False)
    return {
      **match_counts.facts(counts),
      "languages": {
        language or "all": {"t": t, **match_counts.facts(own), **_head(own, t)}
        for language, own, t in zip(
          metadata.languages, by_language, ts, strict=True
        )
        if own.any()
      },
    }

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    """Open the probabilities; see operators.Filter."""
    # A memory map: all workers of a machine share one copy.
    misses = np.load(context.state / _MISSES, mmap_mode="r", allow_pickle=False)

    def decide(table: pa.Table) -> operators.Verdict:
      matches = match_counts.matches_of(table)
      probabilities = balancing.keep_probabilities(matches, misses)
      keep = None
      if self.keep == "drawn":
        keep = _draws(table, self.seed) < probabilities
      signal = {"keep_probability": probabilities.astype(np.float32)}
      return operators.Verdict(keep, signal)

    return decide

  def _ts(
    self, metadata: entry_lists.Metadata, counts: Sequence[np.ndarray]
  ) -> list[int]:
    """Return the t of each language."""
    if self.t and not self.t_language:
      return [self.t] * len(metadata.languages)
    find = T_RULES[self.t_rule]
    if not self.t:
      return [find(own, self.tail_mass) for own in counts]
    number = metadata.find(self.t_language)
    mass = balancing.tail_mass(counts[number], self.t)
    ts = [find(own, mass) for own in counts]
    ts[number] = self.t
    return ts


def _head(counts: np.ndarray, t: int) -> dict[str, Any]:
  return {
    "num_head_entries": int(np.count_nonzero(counts >= t)),
    "tail_mass": round(balancing.tail_mass(counts, t), 6),
  }


def _verdict(matches: matching.Matches) -> operators.Verdict:
  lists = pa.ListArray.from_arrays(
    pa.array(matches.offsets, pa.int32()), pa.array(matches.ids, pa.uint32())
  )
  return operators.Verdict(np.diff(matches.offsets) > 0, {"matches": lists})


def _gathered(
  by_list: Mapping[int, matching.Matches], list_N: np.ndarray
) -> matching.Matches:
  """Return the matches of all rows in order; row n was matched by list_N[n]."""
  sizes = np.zeros(len(list_N), np.int64)
  for number, matches in by_list.items():
    sizes[list_N == number] = np.diff(matches.offsets)
  offsets = np.concatenate([[0], np.cumsum(sizes)])
  ids = np.empty(offsets[-1], np.uint32)
  for number, matches in by_list.items():
    rows = np.flatnonzero(list_N == number)
    shifts = offsets[rows] - matches.offsets[:-1]
    positions = np.repeat(shifts, sizes[rows]) + np.arange(len(matches.ids))
    ids[positions] = matches.ids
  return matching.Matches(offsets, ids)


def _draws(table: pa.Table, seed: int) -> np.ndarray:
  """Return a draw in [0, 1) for each pair: float64 [N].

  It depends on its image's UID and, of several captions, on which it is.
  """
  uids = pool.uids(table)
  captions = table["row"].to_numpy() & ((1 << pool.CAPTION_BITS) - 1)
  draws = np.empty(len(uids))
  for caption in np.unique(captions).tolist():
    own = captions == caption
    draws[own] = hashing.uniform(uids[own], seed + (caption << 64))
  return draws
