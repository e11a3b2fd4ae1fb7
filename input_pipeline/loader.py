"""Iterator of the training loop's batches, which counts and records faults.

Faults arrive in the batch that they happened in, from the thread or process
that made it. They are counted when a batch is consumed (batches only made in
advance do not count) and written to the log and to data_errors.jsonl; more of
them than `data.max_bad_fraction` end the run.
"""

import collections
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from absl import logging

from input_pipeline import clocks as clocks_lib
from input_pipeline import examples, faults, pipeline, probe, tokenizers
from input_pipeline import ledger as ledger_lib
from input_pipeline.asking import rows as rows_lib
from input_pipeline.regions import region_probe, region_rows

# Least number of examples that the allowed number of bad ones is computed for.
_MIN_EXAMPLES = 1000
# Standard deviations by which the number of bad examples may exceed its
# expectation: good data may have more than its share by chance.
_DEVIATIONS = 3
# Log a summary by kind at the 10th, 100th, 1,000th ... bad example.
_SAID_AT = frozenset(10**n for n in range(1, 12))
# Examples of each kind that the run's error message names.
_NUM_NAMED = 3


class BadDataError(ValueError):
  """More of the data is bad than data.max_bad_fraction allows."""


class Loader:
  """A Grain iterator of batches, with faults removed and counted.

  The state is that of the iterator: {"next_index": step}, the same on all
  processes. In a phase with another batch size than the one before, it counts
  batches of the phase's size.
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
      dataset: batches of `pipeline.make_train_dataset`.
      ledger: record that the faults are written to.
      max_bad_fraction: share of examples that may be replaced. The run ends
        when the replaced examples exceed it by three standard deviations of
        chance, of the first 1,000 examples or of all so far.
      facts: size and fingerprint of each source.
    """
    self._iterator: Any = iter(dataset)
    self._ledger = ledger
    self._max_bad_fraction = max_bad_fraction
    self._facts = facts
    self._is_closed = False
    self._count_from(0)

  def __iter__(self) -> "Loader":
    return self

  def __next__(self) -> dict[str, Any]:
    batch = dict(next(self._iterator))
    batch_faults = batch.pop(examples.FAULTS)
    if region_rows.COUNTS in batch:
      self._regions += region_rows.counts_of(batch.pop(region_rows.COUNTS))
    self._step += 1
    self._num_examples += len(next(iter(batch.values())))
    if batch_faults:
      self._add(batch_faults)
    return batch

  def get_state(self) -> dict[str, int]:
    """Return the position: the step whose batch is next."""
    return self._iterator.get_state()

  def set_state(self, state: Mapping[str, int]) -> None:
    """Go to a position, with the counts up to there."""
    self._iterator.set_state(dict(state))
    self._count_from(int(state["next_index"]))

  def check_unchanged(self) -> None:
    """Raise ValueError if a resumed run would not see the same examples."""
    self._ledger.check_facts(self._facts)

  @property
  def num_examples(self) -> dict[str, int]:
    """Return the number of examples of each source."""
    return {name: facts.examples for name, facts in self._facts.items()}

  @property
  def held_out(self) -> dict[str, str]:
    """Return what each source holds out as text; {} if nothing is."""
    return {
      name: f"{facts.held_out['examples']:,} examples of "
      f"{facts.held_out['images']:,} images"
      for name, facts in self._facts.items()
      if facts.held_out
    }

  @property
  def bad_fraction(self) -> float:
    """Return the share of the examples that were replaced."""
    return self._num_replaced / max(self._num_examples, 1)

  def summary(self) -> str:
    """Return the faults by source and kind as a line; "" without faults."""
    return "; ".join(
      f"{source}: " + ", ".join(f"{n} {kind}" for kind, n in kinds.items())
      for source, kinds in sorted(self._counts.items())
    )

  @property
  def regions(self) -> dict[str, int]:
    """Return the counts of region_rows.COUNTED so far; {} without regions."""
    return dict(self._regions)

  def sync(self) -> None:
    """Write the counts to disk; called before a checkpoint is saved."""
    totals = ledger_lib.Totals(
      *(self._step, self._num_examples, self._num_replaced, self._counts),
      regions=self.regions,
    )
    self._ledger.write_totals(totals)
    self._ledger.write_facts(self._facts)

  def close(self) -> None:
    """End the iterator's threads and processes, and close the ledger."""
    if not self._is_closed:
      self._is_closed = True
      self._iterator.close()
      self._ledger.close()

  def _count_from(self, step: int) -> None:
    self._step = step
    totals = self._ledger.totals(step)
    self._num_examples = totals.examples
    self._num_replaced = totals.replaced
    self._counts = totals.totals
    self._regions = collections.Counter(totals.regions)
    self._first = collections.defaultdict[str, list[faults.Fault]](list)

  def _add(self, batch_faults: Sequence[faults.Fault]) -> None:
    positions: set[int] = set()
    for fault in batch_faults:
      first = self._first[fault.kind]
      if len(first) < _NUM_NAMED:
        first.append(fault)
      if len(first) == 1:
        logging.warning("Left out of the batches: %s", _describe(fault))
      kinds = self._counts.setdefault(fault.source, {})
      kinds[fault.kind] = kinds.get(fault.kind, 0) + 1
      # An example that is left out may come before a row's first fault.
      if fault.kind not in faults.CHOSEN and fault.position not in positions:
        positions.add(fault.position)
        self._num_replaced += 1
        if self._num_replaced in _SAID_AT:
          logging.warning(
            "Left out of %d examples so far: %s",
            *(self._num_examples, self.summary()),
          )
    self._ledger.write(batch_faults)
    self._check_fraction()

  def _check_fraction(self) -> None:
    expected = self._max_bad_fraction * max(self._num_examples, _MIN_EXAMPLES)
    allowed = expected + _DEVIATIONS * math.sqrt(expected)
    if self._num_replaced <= allowed:
      return
    first = [fault for group in self._first.values() for fault in group]
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
  config: pipeline.DataConfig,
  *,
  folder: pathlib.Path | None,
  batch_size: int,
  seed: int,
  rows: Sequence[int] | None = None,
  with_labels: bool = False,
  classes: tuple[str, ...] = (),
  process_index: int = 0,
  tokenizer: tokenizers.Tokenizer | None = None,
  clocks: clocks_lib.Clocks | None = None,
  share: float = 0.0,
  phase: ledger_lib.Phase = ledger_lib.Phase(),
  fused: rows_lib.Rows | None = None,
) -> Loader:
  """Return the training data of one process of a run.

  Args:
    config: checked config of the data.
    folder: folder of the run, for data_errors.jsonl; None writes no file.
    batch_size: size of the global batch.
    seed: as in `pipeline.make_train_dataset`.
    rows: rows of the global batch that this process needs; None for all.
    with_labels: whether batches have labels.
    classes: as in `pipeline.make_train_dataset`.
    process_index: index among the run's processes.
    tokenizer: tokenizer of the captions; None makes the config's.
    clocks: clocks of the watchdog.
    share: evaluate.holdout, the share of each source that is left out.
    phase: phase of the run; its loader begins at its first batch.
    fused: rows of a fused model, of fusing/fused_data.make_rows.
  """
  ledger = ledger_lib.Ledger(
    folder, batch_size=batch_size, process_index=process_index, phase=phase
  )
  splits = pipeline.split_sources(config, share)
  opened = {name: split.rest for name, split in splits.items()}
  probe.check_languages(opened, config.sources, config.languages)
  tokenizer = tokenizer or pipeline.make_tokenizer(config, opened)
  region_probe.check(
    config.regions, config.sources, opened, tokenizer, config.vocab_size
  )
  dataset = pipeline.make_train_dataset(
    config,
    opened=opened,
    batch_size=batch_size,
    seed=seed,
    rows=rows,
    with_labels=with_labels,
    classes=classes,
    tokenizer=tokenizer,
    repeated=ledger.repeated,
    clocks=clocks,
    fused=fused,
  )
  made = Loader(
    dataset,
    ledger=ledger,
    max_bad_fraction=config.max_bad_fraction,
    facts={
      name: ledger_lib.Facts(
        len(split.rest),
        split.rest.fingerprint(),
        split.facts() if share else None,
      )
      for name, split in splits.items()
    },
  )
  if phase.first_batch:
    made.set_state({"next_index": phase.first_batch})
  return made


def _describe(fault: faults.Fault) -> str:
  name = fault.key or f"number {fault.index}"
  return f"example {name} of {fault.source}: {fault.kind}: {fault.message}"
