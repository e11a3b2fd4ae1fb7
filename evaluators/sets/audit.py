"""Audit of a set before any image is embedded: names, templates and labels.

Errors make every figure of the set wrong: a label without a name, templates
without {c}. Warnings are what a person should know: two classes of one name
(ImageNet has "missile" and "sunglasses" twice), a class without a name (one of
CLEVR's distances), classes without an example, sizes that are not the published
ones.
"""

import collections
import dataclasses
import pathlib
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from evaluators.sets import field_set, text_files
from evaluators.sets import labels as labels_lib
from evaluators.sets.disk import items

_NUM_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Report:
  """Findings of an audit.

  Attributes:
    errors: lines, each naming a file and what is wrong.
    warnings: lines.
    facts: plain data for the record: sizes, and digests of names, of templates
      and of labels.
    is_published: whether sizes and number of classes are those that DataComp
      states; None for a set that it does not have.
  """

  errors: tuple[str, ...]
  warnings: tuple[str, ...]
  facts: Mapping[str, Any]
  is_published: bool | None

  def check(self) -> None:
    """Raise ValueError with all errors, a line each."""
    if self.errors:
      raise ValueError("\n  ".join(self.errors))


def audited(
  opened: field_set.FieldSet, cache_dir: pathlib.Path, field: str
) -> tuple[labels_lib.Labels, Report]:
  """Read the labels of a set, and audit it; arguments as labels.read.

  Raises:
    ValueError: a label is broken, or the audit has errors; all are named.
  """
  labels, number = labels_lib.Labels(), 0
  if opened.texts:
    labels = labels_lib.read(opened, cache_dir, field)
  elif opened.items:
    number = len(items.read(opened.items))
  else:
    number = labels_lib.num_examples(opened, cache_dir, field)
  report = audit(opened, labels, number)
  report.check()
  return labels, report


def audit(
  opened: field_set.FieldSet, labels: labels_lib.Labels, num_examples: int = 0
) -> Report:
  """Compare the names, templates and labels of a set.

  Args:
    opened: the set.
    labels: labels of all its examples.
    num_examples: number of examples of a set without labels.
  """
  errors, warnings = [], list(opened.warnings)
  arrays = (labels.label_N, labels.targets_NA, labels.groups_NG)
  lengths = [len(array) for array in arrays if array is not None]
  num_examples = lengths[0] if lengths else num_examples
  facts: dict[str, Any] = {"num_examples": num_examples}
  parts = opened.objectives or {"": (opened.classes, opened.templates)}
  if opened.classes or opened.objectives:
    at = {what: opened.origins.get(what, what) for what in _PARTS}
    for objective, (classes, templates) in parts.items():
      prefix = f"{objective}:" if objective else ""
      warnings += _blank(classes, at["classes"])
      warnings += _same(classes, at["classes"])
      if len(classes) == 1:
        warnings.append(f"{at['classes']}: one class, so every answer is right")
      wrong, odd = _templates(templates, at["templates"])
      errors, warnings = errors + wrong, warnings + odd
      facts[f"{prefix}num_classes"] = len(classes)
      facts[f"{prefix}classes_digest"] = text_files.digest(classes)
      texts = opened.captions or templates
      facts[f"{prefix}templates_digest"] = text_files.digest(texts)
    wrong, odd = _labels(opened, labels, at["classes"])
    errors, warnings = errors + wrong, warnings + odd
  facts |= _digests(labels)
  odd = [*_published(opened, num_examples)]
  return Report(
    tuple(dict.fromkeys(errors)),
    tuple(dict.fromkeys([*warnings, *odd])),
    facts,
    None if opened.task is None else not odd,
  )


_PARTS = ("classes", "templates")


def canonical(name: str) -> str:
  """Return a class name as texts are compared: case, "_" and marks apart.

  As big_vision canonicalises names (evaluators/proj/image_text/prompts.py),
  with commas dropped too.

  >>> canonical("Great_White  shark.") == canonical("great white shark")
  True
  """
  plain = name.lower().replace("_", " ")
  kept = plain.translate(str.maketrans("", "", string.punctuation))
  # Names of marks alone, as in a set of letters, stay different.
  return " ".join((kept if kept.strip() else plain).split())


def _blank(classes: Sequence[str], file: str) -> Iterator[str]:
  """Yield a warning for each class without a name."""
  for line, name in enumerate(classes, 1):
    if not name:
      yield f"{file}, line {line}: the name of class {line - 1} is empty"


def _same(classes: Sequence[str], file: str) -> Iterator[str]:
  """Yield a warning where classes have one name."""
  lines = collections.defaultdict(list)
  for line, name in enumerate(classes, 1):
    if name:
      lines[canonical(name)].append(line)
  same = [numbers for numbers in lines.values() if len(numbers) > 1]
  if same:
    shown = ", ".join(
      f"{classes[numbers[0] - 1]!r} on lines {' and '.join(map(str, numbers))}"
      for numbers in same[:_NUM_NAMED]
    )
    more = ", ..." if len(same) > _NUM_NAMED else ""
    yield f"{file}: classes of the same name: {shown}{more}"


def _templates(
  templates: Sequence[str], file: str
) -> tuple[list[str], list[str]]:
  """Return errors and warnings about templates."""
  without = [
    line for line, template in enumerate(templates, 1) if "{c}" not in template
  ]
  doubles = [x for x, n in collections.Counter(templates).items() if n > 1]
  warnings = [f"{file}: the template {x!r} comes twice" for x in doubles]
  if not without:
    return [], warnings
  line = without[0]
  message = (
    f"{file}, line {line}: expected {{c}} in place of the class's name; got "
    f"{templates[line - 1]!r}"
  )
  if len(without) == len(templates):
    return [message], warnings
  more = f" (and {len(without) - 1} more lines)" if len(without) > 1 else ""
  return [], [*warnings, message + more]


def _labels(
  opened: field_set.FieldSet, labels: labels_lib.Labels, file: str
) -> tuple[list[str], list[str]]:
  """Return errors and warnings about labels and the names of classes."""
  if labels.label_N is None:
    if labels.targets_NA is None:
      return [], []
    counts = labels.targets_NA.sum(axis=0)
  else:
    low, high = int(labels.label_N.min()), int(labels.label_N.max())
    if low < 0 or high >= len(opened.classes):
      wrong = low if low < 0 else high
      row = int(np.flatnonzero(labels.label_N == wrong)[0])
      return [
        f"{file} has {len(opened.classes)} names, for labels 0 to "
        f"{len(opened.classes) - 1}; got label {wrong}, first in example {row}"
        f" of {opened.source['path']}"
      ], []
    counts = np.bincount(labels.label_N, minlength=len(opened.classes))
  empty = np.flatnonzero(counts == 0)
  if not empty.size:
    return [], []
  shown = ", ".join(
    f"{opened.classes[i]!r} (line {i + 1})" for i in empty[:_NUM_NAMED].tolist()
  )
  more = ", ..." if empty.size > _NUM_NAMED else ""
  line = (
    f"{file}: {empty.size} of {len(counts)} classes have no example: {shown}"
    f"{more}"
  )
  if labels.label_N is not None and empty[-1] == len(counts) - 1:
    line += (
      f"; the last label is {int(labels.label_N.max())}, so that lines may be "
      "too many"
    )
  return [], [line]


def _digests(labels: labels_lib.Labels) -> dict[str, str]:
  """Return a digest of each array of labels."""
  return {
    f"{name}_digest": text_files.digest(
      [str(array.shape), array.astype("<i8").tobytes().hex()]
    )
    for name, array in (
      ("labels", labels.label_N),
      ("targets", labels.targets_NA),
      ("groups", labels.groups_NG),
    )
    if array is not None
  }


def _published(opened: field_set.FieldSet, num_examples: int) -> Iterator[str]:
  """Yield what differs from the set that DataComp states."""
  task = opened.task
  if task is None:
    return
  if num_examples != task.size:
    yield (
      f"{opened.name} has {num_examples} examples at {opened.source['path']}; "
      f"the published set has {task.size}: figures are not to be compared"
    )
  if task.classes and opened.classes and len(opened.classes) != task.classes:
    yield (
      f"{opened.origins.get('classes', opened.name)} has {len(opened.classes)} "
      f"classes; the published set has {task.classes}: figures are not to be "
      "compared"
    )
