"""Shards of a prepared folder, each whole or not there, by several processes.

A shard holds the examples start..stop of a split, without those that cannot be
used, so its bytes depend neither on other shards nor on the process.
Beside it are its facts (`Facts`, JSON), the UIDs of its records and the names
of their images; a shard that has its facts is complete.
"""

import collections
import contextlib
import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from input_pipeline import captions, faults
from input_pipeline.images import image_ops, picture
from input_pipeline.sources import array_record, prepared
from input_pipeline.sources import record as record_lib
from input_pipeline.storage import uids as uids_lib
from input_pipeline.videos import clips
from runtime import processes, progress
from runtime.storage import whole_files

# Examples of a shard that are counted at once: each time costs a message.
_COUNTED_AT_ONCE = 50
# Characters of a fault's message that are kept; some messages quote bytes.
_MAX_MESSAGE = 500
_ADVICE = (
  "fewer --num_workers. Complete shards stay; the same command goes on from"
  " there"
)

# Check of an image or video -> function that raises faults.ExampleError.
IMAGE_CHECKS: Mapping[str, Callable[[bytes], object]] = {
  "header": picture.size,
  "decode": image_ops.decode,
  "video_header": clips.size,
  "video_decode": clips.decode,
}

# An example left out: (index in the split, kind, message).
Fault = tuple[int, str, str]


@dataclasses.dataclass(frozen=True)
class Task:
  """One shard to write.

  Attributes:
    split: index of its records among the splits of `write_all`.
    path: path of its file.
    start, stop: examples of the split.
    uids: UID [stop - start] of the examples, where keys differ from UIDs.
    image_check: key of IMAGE_CHECKS.
    max_caption_chars: see Job.
    image_ids: origin of the names of images that are written: "record", or
      "source" that may have them stored; "" writes none.
  """

  split: int
  path: pathlib.Path
  start: int
  stop: int
  uids: np.ndarray | None
  image_check: str
  max_caption_chars: int
  image_ids: str = ""


@dataclasses.dataclass(frozen=True)
class Facts:
  """Facts about a complete shard.

  Attributes:
    num_records: records in the file.
    num_bytes: size of the file.
    digest: BLAKE2b of the file.
    languages: languages of its texts.
    faults: one for each example left out.
  """

  num_records: int
  num_bytes: int
  digest: str
  languages: list[str]
  faults: list[Fault]


class TooManyFaultsError(Exception):
  """More examples than are allowed cannot be used.

  Attributes:
    faults: (split, index, kind, message) of the unfinished shards' faults.
  """

  def __init__(self, left_out: Sequence[tuple[int, int, str, str]]):
    super().__init__(f"{len(left_out)} examples of unfinished shards")
    self.faults = tuple(left_out)


def facts_path(path: pathlib.Path) -> pathlib.Path:
  """Return the file of a shard's facts."""
  return path.with_suffix(".json")


def uids_path(path: pathlib.Path) -> pathlib.Path:
  """Return the file of a shard's UIDs."""
  return path.with_suffix(".uids")


def image_ids_path(path: pathlib.Path) -> pathlib.Path:
  """Return the file of the names of a shard's images."""
  return path.with_suffix(".image_ids")


def read_facts(path: pathlib.Path) -> Facts | None:
  """Return the facts of a shard, None where it is not complete."""
  try:
    fields = json.loads(facts_path(path).read_text())
  except FileNotFoundError:
    return None
  return Facts(**fields | {"faults": [tuple(x) for x in fields["faults"]]})


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
  """Write the shards of all tasks.

  Args:
    splits: splits that the tasks refer to.
    tasks: shards that are not complete.
    num_workers: processes; 0 writes in this one.
    num_done: examples in the shards that are complete.
    num_bad: number of them that were left out.
    max_bad: most that may be left out in all.
    label: label of the progress line.

  Raises:
    TooManyFaultsError: shards that are complete stay.
    OSError: as `array_record.write`, or a worker process was killed.
  """
  if num_bad > max_bad:
    raise TooManyFaultsError([])
  total = num_done + sum(task.stop - task.start for task in tasks)
  # Number of a task -> faults of its shard, which is not complete.
  unfinished: dict[int, list[Fault]] = {}
  with progress.Progress(label, total) as bar:
    bar.advance(num_done)

    def count(number: int, counted: tuple[int, list[Fault]]) -> None:
      nonlocal num_bad
      num_examples, new = counted
      bar.advance(num_examples)
      num_bad += len(new)
      unfinished.setdefault(number, []).extend(new)
      if num_bad > max_bad:
        raise TooManyFaultsError(
          [
            (tasks[number].split, *fault)
            for number, left_out in unfinished.items()
            for fault in left_out
          ]
        )

    if not (num_workers and tasks):
      for number, task in enumerate(tasks):
        write(splits[task.split], task, functools.partial(count, number))
        unfinished.pop(number, None)
      return
    with contextlib.closing(processes.Pool(num_workers, _ADVICE)) as pool:
      fn = functools.partial(_write_in_worker, tuple(splits))
      for number, _ in pool.results(fn, tasks, count):
        unfinished.pop(number, None)


def _write_in_worker(splits: Sequence[record_lib.Records], task: Task) -> None:
  write(splits[task.split], task, processes.tell)


def write(
  records: record_lib.Records,
  task: Task,
  count: Callable[[tuple[int, list[Fault]]], None],
) -> None:
  """Write one shard.

  Args:
    records: records of the split.
    task: the shard.
    count: is called now and then with the number of examples read since the
      last call, and the faults of those left out; may raise to end the task.

  Raises:
    OSError: as `array_record.write`.
  """
  check = IMAGE_CHECKS[task.image_check]
  left_out: list[Fault] = []
  languages: set[str] = set()
  uids: list[tuple[int, int]] = []
  image_ids: list[bytes] = []

  def usable() -> Iterator[record_lib.Record]:
    num_counted = num_faults = 0
    for index in range(task.start, task.stop):
      try:
        record = records[index]
        captions.check(record.texts, task.max_caption_chars)
        with faults.located(record.origin):
          check(record.image)
        image_id = b""
        if task.image_ids == "source":
          image_id = records.image_id(index)
        elif task.image_ids:
          image_id = record.image_id()
      except faults.ExampleError as error:
        left_out.append((index, error.kind, str(error)[:_MAX_MESSAGE]))
      else:
        uid = uids_lib.uid(record.key)
        if task.uids is not None:
          wanted = task.uids[index - task.start]
          if uid != tuple(wanted.tolist()):
            # A prepared record has no name but its key.
            uid = tuple(wanted.tolist())
            key = uids_lib.uid_hex(wanted)
            record = dataclasses.replace(record, key=key)
        uids.append(uid)
        image_ids.append(image_id)
        languages.update(record.texts)
        yield record
      done = index + 1 - task.start
      if done - num_counted == _COUNTED_AT_ONCE or index + 1 == task.stop:
        count((done - num_counted, left_out[num_faults:]))
        num_counted, num_faults = done, len(left_out)

  with whole_files.new_file(task.path) as temporary:
    num_records = array_record.write(
      temporary, usable(), array_record.UNCOMPRESSED
    )
    facts = Facts(
      num_records=num_records,
      num_bytes=temporary.stat().st_size,
      digest=prepared.digest_of(temporary),
      languages=sorted(languages),
      faults=left_out,
    )
  whole_files.write(
    uids_path(task.path), np.array(uids, uids_lib.UID).tobytes()
  )
  if task.image_ids:
    whole_files.write(image_ids_path(task.path), b"".join(image_ids))
  whole_files.write(
    facts_path(task.path), json.dumps(dataclasses.asdict(facts)).encode()
  )


def count_kinds(kinds: Sequence[str]) -> dict[str, int]:
  """Return kind -> how often, the most frequent first."""
  counted = collections.Counter(kinds).items()
  return dict(sorted(counted, key=lambda item: (-item[1], item[0])))
