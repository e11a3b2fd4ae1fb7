"""What the training loop draws batches from: arrays, with faults accounted.

Faults come with the batch that they happened in, from whichever thread or
process made it. Here they are counted as batches are consumed (what was only
made in advance does not count), named in the log and in data_errors.jsonl, and
beyond `data.max_bad_fraction` they end the run.
"""

import collections
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from absl import logging

from input_pipeline import clocks as clocks_lib
from input_pipeline import examples, faults, pipeline
from input_pipeline import ledger as ledger_lib

# Examples of which the fraction is taken at least: fewer say little.
_MIN_EXAMPLES = 1000
# By chance a stretch of good enough data has more than its share of bad
# examples; more by this many standard deviations it hardly ever has.
_DEVIATIONS = 3
# Numbers of examples left out at which the log has all of them by kind.
_SAID_AT = frozenset(10**n for n in range(1, 12))
# Examples of each kind that the error of a run names.
_NUM_NAMED = 3


class BadDataError(ValueError):
  """More of the data is bad than data.max_bad_fraction allows."""


class Loader:
  """A Grain iterator of batches, with its faults taken out and counted.

  Its state is that of the iterator: {"next_index": step}, the same on all
  processes.
  """

  def __init__(
    self,
    dataset: Iterable[dict[str, Any]],
    *,
    ledger: ledger_lib.Ledger,
    max_bad_fraction: float,
    facts: Mapping[str, ledger_lib.Facts],
  ):
    """Begin at step 0.

    Args:
      dataset: of `pipeline.make_train_dataset`.
      ledger: what the faults are written to.
      max_bad_fraction: share of the examples that others may take the place
        of. The run ends when it is more by three standard deviations of
        chance, of the first 1,000 examples or of all so far.
      facts: of each source.
    """
    self._iterator: Any = iter(dataset)
    self._ledger = ledger
    self._max_bad_fraction = max_bad_fraction
    self._facts = facts
    self._count_from(0)

  def __iter__(self) -> "Loader":
    return self

  def __next__(self) -> dict[str, Any]:
    batch = dict(next(self._iterator))
    found = batch.pop(examples.FAULTS)
    self._step += 1
    self._num_examples += len(next(iter(batch.values())))
    if found:
      self._add(found)
    return batch

  def get_state(self) -> dict[str, int]:
    """Return the position: the step whose batch is next."""
    return self._iterator.get_state()

  def set_state(self, state: Mapping[str, int]) -> None:
    """Go to a position, with what was counted up to there."""
    self._iterator.set_state(dict(state))
    self._count_from(int(state["next_index"]))

  def check_unchanged(self) -> None:
    """Raise ValueError where a resumed run would not see the same examples."""
    self._ledger.check_facts(self._facts)

  @property
  def bad_fraction(self) -> float:
    """Return the share of the examples that others took the place of."""
    return self._num_replaced / max(self._num_examples, 1)

  def summary(self) -> str:
    """Return the faults by source and kind, "" where there are none."""
    return "; ".join(
      f"{source}: " + ", ".join(f"{n} {kind}" for kind, n in kinds.items())
      for source, kinds in sorted(self._counts.items())
    )

  def sync(self) -> None:
    """Put on disk what was counted: a checkpoint is to follow."""
    totals = ledger_lib.Totals(
      self._step, self._num_examples, self._num_replaced, self._counts
    )
    self._ledger.write_totals(totals)
    self._ledger.write_facts(self._facts)

  def close(self) -> None:
    """End what makes batches, and close the ledger."""
    self._iterator.close()
    self._ledger.close()

  def _count_from(self, step: int) -> None:
    self._step = step
    totals = self._ledger.totals(step)
    self._num_examples = totals.examples
    self._num_replaced = totals.replaced
    self._counts = totals.totals
    self._first = collections.defaultdict[str, list[faults.Fault]](list)

  def _add(self, found: Sequence[faults.Fault]) -> None:
    for fault in found:
      first = self._first[fault.kind]
      if len(first) < _NUM_NAMED:
        first.append(fault)
      if len(first) == 1:
        logging.warning("Left out of the batches: %s", _describe(fault))
      kinds = self._counts.setdefault(fault.source, {})
      kinds[fault.kind] = kinds.get(fault.kind, 0) + 1
      if fault.attempt == 0:
        self._num_replaced += 1
        if self._num_replaced in _SAID_AT:
          logging.warning(
            "Left out of %d examples so far: %s",
            *(self._num_examples, self.summary()),
          )
    self._ledger.write(found)
    self._check_fraction()

  def _check_fraction(self) -> None:
    expected = self._max_bad_fraction * max(self._num_examples, _MIN_EXAMPLES)
    allowed = expected + _DEVIATIONS * math.sqrt(expected)
    if self._num_replaced <= allowed:
      return
    first = [fault for some in self._first.values() for fault in some]
    named = "".join(f"\n  {_describe(fault)}" for fault in first)
    raise BadDataError(
      f"{self._num_replaced} of {self._num_examples} examples cannot be used, "
      f"more than data.max_bad_fraction={self._max_bad_fraction} allows of "
      f"{max(self._num_examples, _MIN_EXAMPLES)} ({allowed:.0f}, chance "
      f"included), in step {self._step}. By kind: {self.summary()}. The first "
      f"since the start:{named}\ndata_errors.jsonl in the run's folder names "
      "more. Mend the data, or raise data.max_bad_fraction; the same command "
      "then goes on from the last checkpoint, which is whole"
    )


def make_loader(
  config: pipeline.Data,
  *,
  folder: pathlib.Path | None,
  batch_size: int,
  seed: int,
  rows: Sequence[int] | None = None,
  with_labels: bool = False,
  process_index: int = 0,
  clocks: clocks_lib.Clocks | None = None,
) -> Loader:
  """Return the training data of one process of a run.

  Args:
    config: checked.
    folder: of the run, for data_errors.jsonl; None to write nothing.
    batch_size: of the global batch.
    seed: as for `pipeline.make_train_dataset`, and so the next two.
    rows: those that this process needs.
    with_labels: whether batches have labels.
    process_index: among the run's processes.
    clocks: as for `pipeline.make_train_dataset`; the watchdog's.
  """
  ledger = ledger_lib.Ledger(
    folder, batch_size=batch_size, process_index=process_index
  )
  opened = pipeline.open_sources(config)
  dataset = pipeline.make_train_dataset(
    config,
    opened=opened,
    batch_size=batch_size,
    seed=seed,
    rows=rows,
    with_labels=with_labels,
    repeated=ledger.repeated,
    clocks=clocks,
  )
  return Loader(
    dataset,
    ledger=ledger,
    max_bad_fraction=config.max_bad_fraction,
    facts={
      name: ledger_lib.Facts(len(records), records.fingerprint())
      for name, records in opened.items()
    },
  )


def _describe(fault: faults.Fault) -> str:
  name = fault.key or f"number {fault.index}"
  return f"example {name} of {fault.source}: {fault.kind}: {fault.message}"
