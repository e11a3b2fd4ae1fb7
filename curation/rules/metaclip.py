"""MetaCLIP's steps: match captions with metadata, then balance the entries.

MetaCLIP (arXiv 2309.16671) has one list of entries, for English captions;
MetaCLIP 2 (arXiv 2507.22062) one for each language. The rules are in `matching`
and `balancing`.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curation import operators, pool
from curation.captions import balancing, entry_lists, matching
from curation.keys import hashing
from curation.rules import entry_counts

# How t follows from a tail mass.
T_RULES: Mapping[str, Callable[[np.ndarray, float], int]] = {
  "inverse": balancing.t_of_tail_mass,
  "published": balancing.published_t_of_tail_mass,
}
# Which pairs balancing keeps: those whose draw is below the probability, or
# all, for a loader that draws itself, each epoch anew.
KEEPS = ("drawn", "all")

# File of the state: of each entry, 1 - p_e, float64 [E].
_MISSES = "misses.npy"


@dataclasses.dataclass(frozen=True)
class Match(operators.Filter):
  """Keep captions with an entry of the metadata in them.

  Signal `matches`, list<uint32>: the entries, numbered through all languages.

  Attributes:
    metadata: folder of LANGUAGE.txt, one such file, or others: `entry_lists`.
    language: column or signal that says in which language a caption is; not
      read where the metadata are one file.
    other_names: pairs of a language there and the one whose entries to take.
      "zh-tw" finds those of "zh" without that; what finds none, those of
      "other".
    mode, ends: of matching.MODES and matching.ENDS.
  """

  metadata: str
  language: str
  other_names: tuple[tuple[str, str], ...]
  mode: str
  ends: str

  signals = ("matches",)

  @property
  def columns(self) -> tuple[str, ...]:
    """Return the caption and, where it matters, its language."""
    if entry_lists.by_language(self.metadata):
      return ("text", self.language)
    return ("text",)

  def check(self, field: str) -> None:
    """Raise ValueError for what is no metadata, mode or rule."""
    if self.mode not in matching.MODES:
      raise ValueError(
        f"{field}.mode must be one of {', '.join(matching.MODES)}; got "
        f"{self.mode!r}"
      )
    if self.ends not in matching.ENDS:
      raise ValueError(
        f"{field}.ends must be one of {', '.join(matching.ENDS)}; got "
        f"{self.ends!r}"
      )
    metadata = entry_lists.checked(self.metadata, field)
    for number, language in enumerate(metadata.languages):
      try:
        matching.check(metadata.read(number))
      except ValueError as error:
        name = language or self.metadata
        raise ValueError(f"{field}.metadata: {name}: {error}") from error
    if entry_lists.by_language(self.metadata) and not self.language:
      raise ValueError(
        f"{field}.language must name a column, for {self.metadata} has entries "
        "by language; got ''"
      )

  def files(self) -> tuple[str, ...]:
    """Return the metadata."""
    return entry_lists.files(self.metadata)

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    """Return what matches; makes a language's matcher when it is first met."""
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
      found = matchers[number].match(texts)
      start = np.uint32(metadata.starts[number])
      return matching.Matches(found.offsets, found.ids + start)

    def decide(table: pa.Table) -> operators.Verdict:
      texts = table["text"].combine_chunks()
      if entry_lists.ANY in metadata.languages:
        return _verdict(match(0, texts))
      languages = table[self.language].combine_chunks().dictionary_encode()
      names = languages.dictionary.to_pylist()
      for name in {*names, None} - set(numbers):
        numbers[name] = metadata.number(name or "und", other_names)
      # The last is for rows without a language, whose index is null.
      which = np.array([numbers[name] for name in (*names, None)])
      places = languages.indices.fill_null(len(names)).to_numpy()
      which = which[places]
      found = {
        number: match(number, texts.filter(pa.array(which == number)))
        for number in np.unique(which[which >= 0]).tolist()
      }
      return _verdict(_gathered(found, which))

    return decide


@dataclasses.dataclass(frozen=True)
class Balance(operators.Reduction):
  """Keep each pair with the probability that balances the entries.

  Signal `keep_probability`, float32.

  Attributes:
    metadata: that of metaclip_match.
    t: matches above which an entry's pairs are drawn from; 0 for that of
      `tail_mass`, each language its own.
    t_language: the language whose t that is; the others take the t at which
      their entries below t have the same part of their matches. "" for one t
      for all.
    tail_mass: that part, where t is 0, in (0, 1).
    t_rule: of T_RULES. "published" is MetaCLIP 2's, which does not just turn
      around how the part is found from t; "inverse" does.
    keep: of KEEPS.
    seed: of the draws.
  """

  metadata: str
  t: int
  t_language: str
  tail_mass: float
  t_rule: str
  keep: str
  seed: int

  columns = ("matches",)
  measured = ("matches",)
  signals = ("keep_probability",)

  def check(self, field: str) -> None:
    """Raise ValueError for a t, or a way to it, that cannot be."""
    if self.t < 0:
      raise ValueError(f"{field}.t must be 1 or more, or 0; got {self.t}")
    if not self.t and not 0 < self.tail_mass < 1:
      raise ValueError(
        f"{field}.tail_mass must be in (0, 1) where t is 0; got "
        f"{self.tail_mass}"
      )
    if self.t_rule not in T_RULES:
      raise ValueError(
        f"{field}.t_rule must be one of {', '.join(T_RULES)}; got "
        f"{self.t_rule!r}"
      )
    if self.keep not in KEEPS:
      raise ValueError(
        f"{field}.keep must be one of {', '.join(KEEPS)}; got {self.keep!r}"
      )
    metadata = entry_lists.checked(self.metadata, field)
    if self.t_language and self.t_language not in metadata.languages:
      raise ValueError(
        f"{field}.t_language must be a language of {self.metadata}, or ''; got "
        f"{self.t_language!r}"
      )
    if self.t_language and not self.t:
      raise ValueError(
        f"{field}.t_language={self.t_language!r} needs its t; got t=0"
      )

  def files(self) -> tuple[str, ...]:
    """Return the metadata."""
    return entry_lists.files(self.metadata)

  def measure(self, context: operators.StepContext) -> entry_counts.Counter:
    """Return what counts a shard's matches."""
    del context
    return entry_counts.Counter()

  def reduce(
    self,
    parts: Sequence[pathlib.Path],
    context: operators.StepContext,
    run: operators.RunFn,
  ) -> dict[str, Any]:
    """Choose each language's t; the state has it, counts and misses."""
    del run
    assert context.state is not None
    metadata = entry_lists.open_metadata(self.metadata)
    counts = entry_counts.total(parts, metadata.num_entries)
    by_language = np.split(counts, metadata.starts[1:-1])
    ts = self._ts(metadata.languages, by_language)
    misses = [
      balancing.miss_probabilities(own, t)
      for own, t in zip(by_language, ts, strict=True)
    ]
    state = {
      entry_counts.COUNTS: counts,
      entry_counts.TS: np.array(ts),
      _MISSES: np.concatenate(misses),
    }
    for name, array in state.items():
      np.save(context.state / name, array, allow_pickle=False)
    return {
      **entry_counts.facts(counts),
      "languages": {
        language or "all": {"t": t, **entry_counts.facts(own), **_head(own, t)}
        for language, own, t in zip(
          metadata.languages, by_language, ts, strict=True
        )
        if own.any()
      },
    }

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    """Return what draws; see operators.Filter."""
    assert context.state is not None
    # One copy in memory for all workers of a machine.
    misses = np.load(context.state / _MISSES, mmap_mode="r", allow_pickle=False)

    def decide(table: pa.Table) -> operators.Verdict:
      matches = entry_counts.matches_of(table)
      probabilities = balancing.keep_probabilities(matches, misses)
      keep = None
      if self.keep == "drawn":
        keep = _draws(table, self.seed) < probabilities
      signal = {"keep_probability": probabilities.astype(np.float32)}
      return operators.Verdict(keep, signal)

    return decide

  def _ts(
    self, languages: Sequence[str], counts: Sequence[np.ndarray]
  ) -> list[int]:
    """Return the t of each language."""
    if self.t and not self.t_language:
      return [self.t] * len(languages)
    mass, given = self.tail_mass, -1
    if self.t:
      given = languages.index(self.t_language)
      mass = balancing.tail_mass(counts[given], self.t)
    find = T_RULES[self.t_rule]
    ts = [find(own, mass) for own in counts]
    if self.t:
      ts[given] = self.t
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
  found: Mapping[int, matching.Matches], which: np.ndarray
) -> matching.Matches:
  """Return the matches of all rows; `which[i]` are those of row i, in order."""
  sizes = np.zeros(len(which), np.int64)
  for number, matches in found.items():
    sizes[which == number] = np.diff(matches.offsets)
  offsets = np.concatenate([[0], np.cumsum(sizes)])
  ids = np.empty(offsets[-1], np.uint32)
  for number, matches in found.items():
    rows = np.flatnonzero(which == number)
    shifts = offsets[rows] - matches.offsets[:-1]
    places = np.repeat(shifts, sizes[rows]) + np.arange(len(matches.ids))
    ids[places] = matches.ids
  return matching.Matches(offsets, ids)


def _draws(table: pa.Table, seed: int) -> np.ndarray:
  """Return a draw in [0, 1) for each pair: float64 [N].

  It depends on its image's UID and, of several captions, on which it is.
  """
  column = table["uid"].combine_chunks()
  data = np.frombuffer(column.buffers()[1], np.uint8).reshape(-1, 16)
  uids = data[column.offset :][: len(column)]
  captions = table["row"].to_numpy() & ((1 << pool.CAPTION_BITS) - 1)
  draws = np.empty(len(uids))
  for caption in np.unique(captions).tolist():
    own = captions == caption
    draws[own] = hashing.uniform(uids[own], seed + (caption << 64))
  return draws
