"""Labels and groups of a set's examples, from the texts of its source.

A labelled set has them where others have captions (FieldSet.texts), so that
they come with the images, from any source. `read` gets them alone, for an audit
before any image is decoded.

Shape letters: N examples, A classes, G numbers of the group metadata.
"""

import concurrent.futures
import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from evaluators.sets import field_set, text_files
from evaluators.sets.gazetteers import gazetteer
from input_pipeline import faults, sources
from input_pipeline.sources import (
  columns,
  source_config,
  webdataset,
  webdataset_layout,
)
from input_pipeline.sources.tables import folder, table
from input_pipeline.storage import (
  files,
  folders,
  tar_headers,
  tar_index,
  tar_scan,
)
from runtime.storage import remote, whole_files

# Members of a sample that are not read: images, by their extensions.
_IMAGES = frozenset(suffix[1:] for suffix in folders.IMAGES)
# Value of an attribute that an example has not.
NONE = "(none)"
# Most values of an attribute: more are names of examples, not groups.
MOST_VALUES = 200
# Description of a text, for its number of values.
_KINDS = {
  "label": "a whole number",
  "name": "a class of the source",
  "targets": "{} numbers, each 0 or 1",
  "groups": "{} whole numbers",
}
# Remote tars that are read at once; each has a block of tar_scan's in memory.
_NUM_THREADS = 16
# Problems that a message names.
_NUM_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Labels:
  """Labels of examples, in their order; None for what a set has not.

  Attributes:
    label_N: int32 [N], the class of each.
    targets_NA: bool [N, A], the classes of each of a multilabel set.
    groups_NG: int32 [N, G], one column for each of FieldSet.fields.
    degrees_N2: float64, latitude and longitude of each image.
    attributes: value [N] of each of FieldSet.attributes, NONE for a missing
      one.
  """

  label_N: np.ndarray | None = None
  targets_NA: np.ndarray | None = None
  groups_NG: np.ndarray | None = None
  degrees_N2: np.ndarray | None = None
  attributes: Mapping[str, Sequence[str]] = dataclasses.field(
    default_factory=dict
  )


def read(
  opened: field_set.FieldSet, cache_dir: pathlib.Path, field: str
) -> Labels:
  """Return the labels of a set's files; no image is decoded.

  Args:
    opened: the set.
    cache_dir: folder for an index.
    field: flag or config field of the set, for messages.

  Raises:
    ValueError: a label is missing or broken; the message names its file.
  """
  rows, names = texts_of(opened, cache_dir, field)
  return parsed(opened, rows, names)


def texts_of(
  opened: field_set.FieldSet, cache_dir: pathlib.Path, field: str
) -> tuple[list[Sequence[str]], list[str]]:
  """Return the texts of all examples, and their names; arguments as `read`."""
  rows, names = [], []
  wrong: list[str] = []
  for texts, name in _texts(opened, cache_dir, field):
    if isinstance(texts, faults.ExampleError):
      wrong.append(str(texts))
      continue
    rows.append(texts)
    names.append(name)
  if wrong:
    summary = _summary(wrong, len(rows) + len(wrong), opened.name)
    raise ValueError(f"{field}: {summary}")
  return rows, names


def num_examples(
  opened: field_set.FieldSet, cache_dir: pathlib.Path, field: str
) -> int:
  """Return the number of examples of a set; arguments as `read`."""
  source = source_config.SourceConfig(**opened.source)
  return len(_records(source, cache_dir, field))


def of_examples(
  opened: field_set.FieldSet,
  texts: Sequence[Mapping[str, Sequence[str]]],
  keys: Sequence[str],
) -> Labels:
  """Return the labels of examples that were embedded (embedding.Examples).

  Args:
    opened: the set.
    texts: texts of each example by language.
    keys: key of each example, for messages.
  """
  rows = [row.get(field_set.LABELS, ()) for row in texts]
  return parsed(opened, rows, [f"{opened.name}, {key}" for key in keys])


def parsed(
  opened: field_set.FieldSet,
  rows: Sequence[Sequence[str]],
  names: Sequence[str] | None = None,
) -> Labels:
  """Return the labels that the texts of examples are.

  Args:
    opened: the set.
    rows: texts of each example, in the order of `source.caption`.
    names: name of each example in messages; its position by default.

  Raises:
    ValueError: a text is not what FieldSet.texts says.
  """
  if not opened.texts:
    return Labels()
  lengths = {
    "label": 1,
    "name": 1,
    "targets": len(opened.classes),
    "groups": len(opened.fields),
  }
  parts: dict[str, list[Sequence[float]]] = {what: [] for what in opened.texts}
  num_labels = len(opened.texts) - len(opened.attributes)
  attributes: dict[str, list[str]] = {name: [] for name in opened.attributes}
  wrong = []
  for row, texts in enumerate(rows):
    where = names[row] if names else f"example {row} of {opened.name}"
    if len(texts) != len(opened.texts):
      wrong.append(
        f"{where}: expected {' and '.join(opened.texts)}; got {list(texts)}"
      )
      continue
    for name, text in zip(attributes, texts[num_labels:], strict=True):
      attributes[name].append(value_of(text))
    for what, text in zip(opened.texts, texts[:num_labels], strict=False):
      if what in gazetteer.MOST_DEGREES:
        try:
          parts[what].append([gazetteer.degrees(value_of(text), what)])
        except ValueError as error:
          wrong.append(f"{where}: {error}")
        continue
      try:
        numbers = (
          [opened.values.index(text)] if what == "name" else _numbers(text)
        )
        if len(numbers) != lengths[what]:
          raise ValueError
        if what == "targets" and not set(numbers) <= {0, 1}:
          raise ValueError
      except ValueError:
        number = lengths[what]
        wrong.append(
          f"{where}: {what} must be {_KINDS[what].format(number)}; got "
          f"{text[:60]!r}"
        )
      else:
        parts[what].append(numbers)
  if wrong:
    raise ValueError(_summary(wrong, len(rows), opened.name))
  if not rows:
    raise ValueError(f"{opened.name} has no example")
  label = parts.get("label", parts.get("name"))
  targets, groups = parts.get("targets"), parts.get("groups")
  degrees = [parts[x] for x in gazetteer.MOST_DEGREES if x in parts]
  return Labels(
    label_N=None if label is None else np.array(label, np.int32)[:, 0],
    targets_NA=None if targets is None else np.array(targets, bool),
    groups_NG=None if groups is None else np.array(groups, np.int32),
    degrees_N2=np.hstack(degrees) if degrees else None,
    attributes=attributes,
  )


def value_of(text: str) -> str:
  """Return the value of an attribute's text, NONE for a missing one.

  >>> value_of("=left"), value_of("=")
  ('left', '(none)')
  """
  return text.removeprefix(columns.VALUE_MARK) or NONE


def _numbers(text: str) -> list[int]:
  """Return whole numbers of int32; ValueError for others. "3.0" is 3."""
  numbers = []
  for word in text.split():
    value = float(word)
    # Not "abs(value) >= bound": NaN is none either.
    if not abs(value) < 2**31 or value != int(value):
      raise ValueError
    numbers.append(int(value))
  return numbers


def _summary(wrong: Sequence[str], number: int, name: str) -> str:
  more = len(wrong) - _NUM_NAMED
  ends = [f"and {more} more of {number} examples of {name}"] if more > 0 else []
  return "; ".join([*wrong[:_NUM_NAMED], *ends])


def _texts(
  opened: field_set.FieldSet, cache_dir: pathlib.Path, field: str
) -> Iterator[tuple[Sequence[str] | faults.ExampleError, str]]:
  """Yield the texts of each example, or its fault, and its name."""
  source = source_config.SourceConfig(**opened.source)
  if source.format == "webdataset":
    yield from _texts_of_tars(source, cache_dir, field)
    return
  records = _records(source, cache_dir, field)
  for index in range(len(records)):
    name = f"example {index} of {opened.name}"
    try:
      if isinstance(records, table.Records | folder.Records):
        name = records.where(index)
        by_language = records.texts(index)
      else:
        record = records[index]
        name, by_language = record.origin or name, record.texts
    except faults.ExampleError as error:
      yield error, name
    else:
      yield [text for texts in by_language.values() for text in texts], name


def _records(
  source: source_config.SourceConfig, cache_dir: pathlib.Path, field: str
) -> Any:
  context = source_config.SourceContext(
    "source", cache_dir, image_size=1, section=field
  )
  module = sources.FORMATS[source.format]
  return module.open_split(source, source.split, context)


def _texts_of_tars(
  source: source_config.SourceConfig, cache_dir: pathlib.Path, field: str
) -> Iterator[tuple[Sequence[str] | faults.ExampleError, str]]:
  """Yield the texts of samples, whose images are not read.

  Texts of remote tars are kept by the tars' versions: reading them again may
  mean reading all images.
  """
  layout = webdataset_layout.make(source, field)
  folder = tar_index.prepare(
    files.find(source.path, field),
    uid_field=layout.uid_field,
    cache_dir=cache_dir,
    name=field,
  )
  index = tar_index.read(folder)
  numbers = range(len(index.tars))
  if not remote.is_remote(source.path):
    for number in numbers:
      yield from _texts_of_tar(index, number, layout)
    return
  digest = text_files.digest([folder.name, repr(source)])
  kept = cache_dir / "labels" / f"{digest}.json"
  if kept.is_file():
    yield from json.loads(kept.read_text("utf-8"))
    return
  with concurrent.futures.ThreadPoolExecutor(_NUM_THREADS) as pool:
    # Lists, as each thread reads a whole tar.
    of_tar = lambda number: [*_texts_of_tar(index, number, layout)]  # noqa: E731
    rows = [row for part in pool.map(of_tar, numbers) for row in part]
  if not any(isinstance(texts, faults.ExampleError) for texts, _ in rows):
    kept.parent.mkdir(parents=True, exist_ok=True)
    whole_files.write(kept, json.dumps(rows).encode())
  yield from rows


def _texts_of_tar(
  index: tar_index.Index, number: int, layout: webdataset_layout.Layout
) -> Iterator[tuple[Sequence[str] | faults.ExampleError, str]]:
  """Yield the texts of the samples of a tar, or their faults, and names."""
  tar = index.tars[number]
  window = tar_scan.Window(tar)
  start = index.stops[number - 1] if number else 0
  for row in range(start, index.stops[number]):
    ranges = index.ranges(row)
    name = f"{tar.path}, byte {ranges[0][0]}"
    try:
      webdataset.check_ranges(tar, ranges, name)
      key, members = webdataset.members_of(
        [(window, begin, begin + length) for begin, length in ranges],
        name,
        _IMAGES,
      )
      name = f"{tar.path}, {key}"
      texts = webdataset_layout.texts_of(members, layout, name)
      yield [text for part in texts.values() for text in part], name
    except tar_headers.HeaderError as error:
      yield webdataset.changed(tar, f"{name}: {error}"), name
    except faults.ExampleError as error:
      yield error, name
