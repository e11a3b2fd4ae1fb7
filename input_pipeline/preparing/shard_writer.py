"""Shards of a prepared folder, each whole or not there, by several processes.

A shard holds the examples start..stop of a split, without those that cannot be
used, so its bytes depend on neither the other shards nor on who writes it.
Beside it are its facts (`Facts`, JSON) and the UIDs of its records; a shard
that has its facts is complete.
"""

import collections
import concurrent.futures
import concurrent.futures.process
import contextlib
import dataclasses
import json
import multiprocessing
import os
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from input_pipeline import faults
from input_pipeline.sources import array_record, prepared
from input_pipeline.sources import record as record_lib
from runtime import progress, whole_files

# Examples between two looks at the shared counters, which all workers lock.
_COUNTED_AT_ONCE = 50
# Seconds between two looks of the parent: what a terminal shows of progress.
_POLL_SECONDS = 0.2
# Characters of a fault's message that are kept; some quote what they read.
_MAX_MESSAGE = 500


@dataclasses.dataclass(frozen=True)
class Task:
  """One shard to write.

  Attributes:
    split: index of its records among those given to `write_all`.
    path: of its file.
    start, stop: examples of the split.
    uids: of these examples where their keys do not tell; UID [stop - start].
  """

  split: int
  path: pathlib.Path
  start: int
  stop: int
  uids: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Facts:
  """What is known of a complete shard.

  Attributes:
    num_records: in the file.
    num_bytes: of the file.
    digest: BLAKE2b of it.
    languages: of its texts.
    faults: (index in the split, kind, message) of each example left out.
  """

  num_records: int
  num_bytes: int
  digest: str
  languages: list[str]
  faults: list[tuple[int, str, str]]


class TooManyFaultsError(Exception):
  """More examples than are allowed cannot be used.

  Attributes:
    faults: (split, index, kind, message) of those of unfinished shards.
  """

  def __init__(self, found: Sequence[tuple[int, int, str, str]]):
    super().__init__(f"{len(found)} examples of an unfinished shard")
    self.faults = tuple(found)

  # Made anew from its argument where it arrives from a worker.
  def __reduce__(self):
    return type(self), (self.faults,)


def facts_path(path: pathlib.Path) -> pathlib.Path:
  """Return the file of a shard's facts."""
  return path.with_suffix(".json")


def uids_path(path: pathlib.Path) -> pathlib.Path:
  """Return the file of a shard's UIDs."""
  return path.with_suffix(".uids")


def read_facts(path: pathlib.Path) -> Facts | None:
  """Return the facts of a shard, None where it is not complete."""
  try:
    fields = json.loads(facts_path(path).read_text())
  except FileNotFoundError:
    return None
  found = [(index, kind, text) for index, kind, text in fields["faults"]]
  return Facts(**fields | {"faults": found})


def write_all(
  splits: Sequence[record_lib.Records],
  tasks: Sequence[Task],
  *,
  num_workers: int,
  num_done: int,
  num_bad: int,
  max_bad: int,
  label: str,
) -> None:
  """Write all shards that are given.

  Args:
    splits: that the tasks refer to.
    tasks: shards that are not complete.
    num_workers: processes; 0 writes in this one.
    num_done: examples in the shards that are complete.
    num_bad: of these, the ones left out.
    max_bad: most that may be left out in all.
    label: what is done, for the line of progress.

  Raises:
    TooManyFaultsError: shards that are complete stay.
    OSError: as `array_record.write`.
  """
  if num_bad > max_bad:
    raise TooManyFaultsError([])
  total = num_done + sum(task.stop - task.start for task in tasks)
  with progress.Progress(label, total) as bar:
    bar.advance(num_done)
    if num_workers and tasks:
      _write_in_pool(splits, tasks, num_workers, num_bad, max_bad, bar)
      return

    def count(done: int, bad: int) -> bool:
      nonlocal num_bad
      num_bad += bad
      bar.advance(done)
      return num_bad <= max_bad

    for task in tasks:
      write(splits[task.split], task, count)


def write(
  records: record_lib.Records, task: Task, count: Callable[[int, int], bool]
) -> None:
  """Write one shard.

  Args:
    records: of its split.
    task: what to write.
    count: is told of examples done, and those of them left out; returns
      whether to go on.

  Raises TooManyFaultsError when `count` says so, OSError.
  """
  found: list[tuple[int, str, str]] = []
  languages: set[str] = set()
  uids: list[tuple[int, int]] = []

  def usable() -> Iterator[record_lib.Record]:
    counted = 0, 0
    for index in range(task.start, task.stop):
      try:
        record = records[index]
      except faults.ExampleError as error:
        found.append((index, error.kind, str(error)[:_MAX_MESSAGE]))
      else:
        uid = record_lib.uid(record.key)
        if task.uids is not None:
          wanted = task.uids[index - task.start]
          if uid != tuple(wanted.tolist()):
            # A prepared record has no name but its key.
            uid = tuple(wanted.tolist())
            key = record_lib.uid_hex(wanted)
            record = dataclasses.replace(record, key=key)
        uids.append(uid)
        languages.update(record.texts)
        yield record
      done, bad = index + 1 - task.start, len(found)
      if done - counted[0] == _COUNTED_AT_ONCE or index + 1 == task.stop:
        if not count(done - counted[0], bad - counted[1]):
          raise TooManyFaultsError([(task.split, *fault) for fault in found])
        counted = done, bad

  temporary = task.path.with_name(f".{task.path.name}.tmp-{os.getpid()}")
  try:
    num_records = array_record.write(
      temporary, usable(), array_record.UNCOMPRESSED
    )
    facts = Facts(
      num_records=num_records,
      num_bytes=temporary.stat().st_size,
      digest=prepared.digest_of(temporary),
      languages=sorted(languages),
      faults=found,
    )
    os.replace(temporary, task.path)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise
  whole_files.write(
    uids_path(task.path), np.array(uids, record_lib.UID).tobytes()
  )
  whole_files.write(
    facts_path(task.path), json.dumps(dataclasses.asdict(facts)).encode()
  )


def _write_in_pool(
  splits: Sequence[record_lib.Records],
  tasks: Sequence[Task],
  num_workers: int,
  num_bad: int,
  max_bad: int,
  bar: progress.Progress,
) -> None:
  # Not forked: the parent may have threads, of JAX and of fsspec.
  context = multiprocessing.get_context("spawn")
  counts = context.Array("q", [0, 0])
  stop = context.Event()
  seen = 0
  with concurrent.futures.ProcessPoolExecutor(
    min(num_workers, len(tasks)),
    mp_context=context,
    initializer=_begin_worker,
    initargs=(splits, counts, stop),
  ) as pool:
    pending = {pool.submit(_write_in_worker, task) for task in tasks}
    unfinished: list[tuple[int, int, str, str]] = []
    try:
      while pending:
        done, pending = concurrent.futures.wait(
          pending, _POLL_SECONDS, concurrent.futures.FIRST_COMPLETED
        )
        num_counted, bad = counts[:]
        bar.advance(num_counted - seen)
        seen = num_counted
        if num_bad + bad > max_bad:
          stop.set()
        for future in done:
          with contextlib.suppress(concurrent.futures.CancelledError):
            try:
              future.result()
            except TooManyFaultsError as error:
              unfinished += error.faults
        if stop.is_set():
          for future in pending:
            future.cancel()
    except concurrent.futures.process.BrokenProcessPool as error:
      raise OSError(
        "a worker process was ended from outside (is memory short?); what is "
        "complete stays, the same command goes on, with fewer --num_workers"
      ) from error
    except BaseException:
      stop.set()
      pool.shutdown(cancel_futures=True)
      raise
  if stop.is_set():
    raise TooManyFaultsError(unfinished)


# Of a worker process, which has one set of records for all its shards.
_worker: dict[str, Any] = {}


def _begin_worker(
  splits: Sequence[record_lib.Records], counts: Any, stop: Any
) -> None:
  _worker.update(splits=splits, counts=counts, stop=stop)
  # The parent is told of Ctrl-C too, and ends its workers.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  # A parent that was killed tells nobody.
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
  parent = multiprocessing.parent_process()
  assert parent is not None
  parent.join()
  os._exit(1)


def _write_in_worker(task: Task) -> None:
  counts, stop = _worker["counts"], _worker["stop"]

  def count(done: int, bad: int) -> bool:
    with counts.get_lock():
      counts[0] += done
      counts[1] += bad
    return not stop.is_set()

  write(_worker["splits"][task.split], task, count)


def count_kinds(kinds: Sequence[str]) -> dict[str, int]:
  """Return kind -> how often, the most frequent first."""
  counted = collections.Counter(kinds).items()
  return dict(sorted(counted, key=lambda item: (-item[1], item[0])))
