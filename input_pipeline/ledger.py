"""Files of a run about its data: errors, and the sources that it read.

data_errors.jsonl has each example that was left out of the batches, with the
reason.

A line is one fault, with the step (0 makes state 1) and the row of the global
batch where the example was due, or the totals up to a step:

  {"step": 7, "row": 3, "attempt": 0, "source": "main", "index": 12345,
   "key": "000123", "kind": "image_broken", "message": "..."}
  {"step": 1000, "examples": 256000, "replaced": 17,
   "totals": {"main": {"image_broken": 18}}}

Lines of a run with phases have the "phase" too: faults and totals are counted
for each. Of several processes each writes a file of its own
(data_errors.1.jsonl, ...); all are read when a run goes on. data_sources.json
has `Facts` of each source at the newest checkpoint, data_sources.PHASE.json
those of a later phase.
"""

import collections
import copy
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from absl import logging

from input_pipeline import faults
from runtime.storage import jsonl, whole_files

_NAME = "data_errors"
_SOURCES = "data_sources"
# Lines that a process writes of one kind; further faults are only counted.
# Transient kinds have no limit: a resumed run must know every such fault.
MAX_LINES = 1000


class Phase(NamedTuple):
  """Phase of a run: its name, first step, and position of its first batch."""

  name: str = ""
  first_step: int = 0
  first_batch: int = 0


@dataclasses.dataclass(frozen=True)
class Facts:
  """Facts about a source when a run read it.

  Attributes:
    examples: number of examples that are trained on.
    fingerprint: see record.Records.
    held_out: facts about the others, of holdout.Split; None without any.
  """

  examples: int
  fingerprint: str
  held_out: dict[str, int | str] | None = None


@dataclasses.dataclass
class Totals:
  """Counts of a process before a step.

  Attributes:
    step: the step.
    examples: rows of the batches that were consumed.
    replaced: rows that took the place of an example that was left out.
    totals: source -> kind -> faults; more than `replaced` where an example
      that took the place of a bad one was bad as well.
    regions: counts of regions/region_rows.COUNTED; {} without regions.
  """

  step: int
  examples: int
  replaced: int
  totals: dict[str, dict[str, int]]
  regions: dict[str, int] = dataclasses.field(default_factory=dict)


def check_held_out(
  folder: pathlib.Path | None,
  held_out: Mapping[str, dict[str, int | str] | None],
  phase: Phase | None = None,
) -> None:
  """Raise ValueError where a run did not hold out what is held out now.

  Args:
    folder: folder of the run.
    held_out: source -> facts, as Facts has them.
    phase: phase whose sources these are; None for the first one.
  """
  for name, was in _read_facts(folder, phase or Phase()).items():
    if name in held_out and was.held_out != held_out[name]:
      raise ValueError(
        f"data.sources.{name} has other images than when {folder} was saved, "
        "and evaluate.holdout would hold out images that were trained on: "
        "bring back the data of that time, or give another --workdir"
      )


def _sources(phase: Phase) -> str:
  """Return the name of the file with the facts of a phase's sources."""
  later = f".{phase.name}" if phase.first_step else ""
  return f"{_SOURCES}{later}.json"


def _read_facts(folder: pathlib.Path | None, phase: Phase) -> dict[str, Facts]:
  path = folder / _sources(phase) if folder else None
  if path is None or not path.exists():
    return {}
  fields = json.loads(path.read_text())
  return {name: Facts(**facts) for name, facts in fields.items()}


class Ledger:
  """The files of a run; this process appends to its own."""

  def __init__(
    self,
    folder: pathlib.Path | None,
    *,
    batch_size: int,
    process_index: int = 0,
    phase: Phase = Phase(),
  ):
    """Read the lines of earlier runs.

    Args:
      folder: folder of the run; None writes no file.
      batch_size: size of the global batch.
      process_index: among the run's processes.
      phase: phase whose lines are read and written.
    """
    self._phase = phase
    # Steps of the files are the run's; positions and totals count batches.
    self._shift = phase.first_step - phase.first_batch
    self._batch_size = batch_size
    self._written: set[tuple[int, int]] = set()
    self._num_lines: collections.Counter[str] = collections.Counter()
    self._totals: list[Totals] = []
    self._file: jsonl.Writer | jsonl.BucketWriter | None = None
    self._folder = folder
    self._is_first = process_index == 0
    # (position, attempt) -> transient fault of an earlier run, to be repeated.
    self.repeated: dict[tuple[int, int], faults.Fault] = {}
    if folder is None:
      return
    suffix = f".{process_index}" if process_index else ""
    own = folder / f"{_NAME}{suffix}.jsonl"
    self._file = jsonl.writer(own)
    for path in folder.glob(f"{_NAME}*.jsonl"):
      for line in jsonl.read(path):
        self._read(line, is_own=path == own)

  def _read(self, line: Mapping[str, Any], *, is_own: bool) -> None:
    fields = dict(line)
    if fields.pop("phase", "") != self._phase.name:
      return
    fields["step"] -= self._shift
    if "totals" in fields:
      if is_own:
        self._totals.append(Totals(**fields))
      return
    position = fields.pop("step") * self._batch_size + fields.pop("row")
    fault = faults.Fault(position, **fields)
    self._written.add(fault.slot)
    self._num_lines[fault.kind] += is_own
    if fault.kind in faults.TRANSIENT:
      self.repeated[fault.slot] = fault

  def totals(self, step: int) -> Totals:
    """Return the counts before a step."""
    none = Totals(step=0, examples=0, replaced=0, totals={})
    before = [line for line in self._totals if line.step <= step]
    # Several lines may have one step; the last run wrote the last of them.
    last = max(reversed(before), key=lambda line: line.step, default=none)
    return copy.deepcopy(last)

  def write(self, new: Iterable[faults.Fault]) -> None:
    """Append faults that are not there yet, up to MAX_LINES of a kind."""
    for fault in new:
      is_known = fault.slot in self._written
      is_one_too_many = (
        self._num_lines[fault.kind] >= MAX_LINES
        and fault.kind not in faults.TRANSIENT
      )
      if is_known or is_one_too_many:
        continue
      self._num_lines[fault.kind] += 1
      self._written.add(fault.slot)
      step, row = divmod(fault.position, self._batch_size)
      self._append(
        {
          "step": step + self._shift,
          "row": row,
          "attempt": fault.attempt,
          "source": fault.source,
          "index": fault.index,
          "key": fault.key,
          "kind": fault.kind,
          "message": fault.message,
        }
      )

  def write_totals(self, totals: Totals) -> None:
    """Append the counts before a step, and put all lines on disk."""
    has_counts = totals.totals or totals.regions
    if has_counts and totals not in self._totals:
      fields = dataclasses.asdict(totals)
      if not totals.regions:
        del fields["regions"]
      self._append(fields | {"step": totals.step + self._shift})
      self._totals.append(copy.deepcopy(totals))
    if self._file is not None:
      self._file.sync()

  def write_facts(self, facts: Mapping[str, Facts]) -> None:
    """Write data_sources.json, once for all processes."""
    if self._folder is None or not self._is_first:
      return
    path = self._folder / _sources(self._phase)
    if self._facts() != facts:
      fields = {name: dataclasses.asdict(x) for name, x in facts.items()}
      text = json.dumps(fields, indent=2, sort_keys=True)
      whole_files.write(path, text.encode() + b"\n")

  def check_facts(self, facts: Mapping[str, Facts]) -> None:
    """Raise ValueError for other examples than the run had.

    Their number may not differ, nor may the images that are held out.
    The order of examples depends on that number. If only the fingerprint
    differs (copied files have other times), a warning is logged.
    """
    for name, was in self._facts().items():
      now = facts[name]
      if now.examples != was.examples:
        raise ValueError(
          f"data.sources.{name} has {now.examples} examples and had "
          f"{was.examples} when {self._folder} was saved: bring back the data "
          "of that time to resume this run, or give another --workdir"
        )
      if now.fingerprint != was.fingerprint:
        logging.warning(
          "Files of data.sources.%s have changed since %s was saved; the run "
          "goes on exactly only if their examples are the same",
          *(name, self._folder),
        )
    check_held_out(
      self._folder,
      {name: now.held_out for name, now in facts.items()},
      self._phase,
    )

  def _facts(self) -> dict[str, Facts]:
    return _read_facts(self._folder, self._phase)

  def close(self) -> None:
    """Close the file."""
    if self._file is not None:
      self._file.close()

  def _append(self, line: Mapping[str, Any]) -> None:
    name = self._phase.name
    if self._file is not None:
      self._file.write({**line, "phase": name} if name else line)
