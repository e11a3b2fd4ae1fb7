"""Step entry_counts: how often each metadata entry is matched in all shards."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from curation import operators
from curation.captions import entry_lists, match_counts


@dataclasses.dataclass(frozen=True)
class Counting(operators.Filter, operators.Reduction):
  """Base of the steps that count the matches of metadata.

  Attributes:
    metadata: the same as metaclip_match's.
  """

  metadata: str

  measured = ("matches",)

  def check(self, field: str) -> None:
    """Raise ValueError for a path without metadata."""
    entry_lists.checked(self.metadata, field)

  def files(self) -> tuple[str, ...]:
    """Return the paths of the metadata."""
    return entry_lists.files(self.metadata)

  def measure(self, context: operators.StepContext) -> match_counts.Counter:
    """Return a counter of a shard's matches."""
    del context
    return match_counts.Counter()


@dataclasses.dataclass(frozen=True)
class EntryCounts(Counting):
  """Count the entries of the pairs that are left, for the report; keep all.

  After a step metaclip_balance, the report compares how often entries were
  matched before it and now, in the language with most matches before.
  """

  def reduce(
    self, parts: Sequence[pathlib.Path], context: operators.StepContext
  ) -> dict[str, Any]:
    """Save the counts of all entries; return totals and curves."""
    metadata = entry_lists.open_metadata(self.metadata)
    counts = match_counts.total(parts, metadata.num_entries)
    np.save(context.state / match_counts.COUNTS, counts, allow_pickle=False)
    facts = match_counts.facts(counts)
    balanced = [
      path for _, path in context.earlier if (path / match_counts.TS).exists()
    ]
    if not balanced:
      return facts
    before = np.load(balanced[-1] / match_counts.COUNTS, allow_pickle=False)
    ts = np.load(balanced[-1] / match_counts.TS, allow_pickle=False)
    matches = np.add.reduceat(before, metadata.starts[:-1])
    most = int(np.argmax(matches))
    own = slice(*metadata.starts[most : most + 2])
    curves = match_counts.curves(before[own], counts[own], int(ts[most]))
    return facts | {"curves": curves}

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    """Return a function that keeps all pairs."""
    del context
    return lambda table: operators.Verdict()
