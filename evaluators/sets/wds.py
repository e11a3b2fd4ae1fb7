"""CLIP_benchmark's `wds_*` folders, on disk or at gs://, s3:// or https://.

  ROOT/classnames.txt                          a class a line; line i is label i
  ROOT/zeroshot_classification_templates.txt   a template a line, with {c}
  ROOT/dataset_type.txt      retrieval or multilabel; absent: classification
  ROOT/SPLIT/nshards.txt     number of tars
  ROOT/SPLIT/0.tar, 1.tar, ...                 not padded with zeros

A sample is an image with `.cls` (its label), `.npy` (a row of 0 and 1 by class,
or group metadata) or `.txt` (captions, a line each); clip_benchmark/
webdataset_builder.py 1.6.2 writes it. DataComp's sets have this layout, and
those of faces "objective:text" in each line of classes and templates
(eval_utils/fairness_eval.py). Nothing is downloaded.
"""

import collections
import functools

from evaluators.sets import (
  clip_benchmark,
  field_set,
  names,
  text_files,
)
from input_pipeline.storage import files
from runtime import checks

CLASSES = "classnames.txt"
TEMPLATES = "zeroshot_classification_templates.txt"
TYPE = "dataset_type.txt"
SHARDS = "nshards.txt"
SPLIT, TRAIN = "test", "train"

_HUB = "https://huggingface.co/datasets/"
# Member of a sample with each of its texts, of input_pipeline/sources/
# webdataset_layout.py.
_MEMBERS = {"label": "cls", "targets": "npy:array", "groups": "npy:array"}
_TYPES = ("classification", "multilabel", "retrieval")
# Objectives of FairFace's and UTKFace's lines, in DataComp's order.
OBJECTIVES = ("race", "gender", "age", "toxic")


def is_set(root: str, split: str = SPLIT) -> bool:
  """Return whether a folder has this layout, for a split."""
  return text_files.read(f"{root.rstrip('/')}/{split}/{SHARDS}") is not None


def open_set(
  root: str, field: str, *, name: str = "", split: str = SPLIT
) -> field_set.FieldSet:
  """Return the set of a folder; its text files are read, and no image.

  Args:
    root: the folder.
    field: flag or config field that names it, for messages.
    name: key of the set, for DataComp's facts and for names that ship with the
      code where the folder has none; by default the folder's name without
      `wds_` and `_test`.
    split: folder of the tars.

  Raises:
    ValueError: everything that is wrong with the folder.
  """
  root = root.rstrip("/")
  if root.startswith(_HUB):  # the address of its page is CLIP_benchmark's
    root = root.replace("/tree/", "/resolve/")
  name = name or name_of(root)
  task = clip_benchmark.published(name)
  digests = _digests(root)
  warnings: list[str] = []
  if not digests and not is_set(root, split):
    raise ValueError(
      f"{field}: {root} is no set: expected {CLASSES}, {TEMPLATES}, "
      f"{split}/{SHARDS} and {split}/0.tar, ... in it"
    )
  with checks.collected():
    kind = _kind(root)
    source = field_set.source("webdataset", _tars(root, split, field, warnings))
    if kind == "retrieval":
      source["caption"] = ("txt:lines",)
      return field_set.FieldSet(
        *(name, kind, source),
        task=task,
        digests=digests,
        warnings=tuple(warnings),
      )
    rows, origins = {}, {}
    for what, file, shipped in (
      ("classes", CLASSES, names.classes(name)),
      ("templates", TEMPLATES, names.templates(name)),
    ):
      text = text_files.read(f"{root}/{file}")
      rows[what] = tuple(text_files.lines(text)) if text else shipped
      origins[what] = f"{root}/{file}" if text else names.ORIGIN
      if not rows[what]:
        checks.refuse(
          f"{field}: {root} has no {file}, a line each, and none ships with "
          f"the code for {name}"
        )
      elif not text:
        warnings.append(
          f"{root} has no {file}; those of {names.ORIGIN} are used"
        )
    objectives = _objectives(root, rows) if _is_faces(rows) else {}
  if objectives:
    kind = "faces"
  fields = task.fields if task is not None and kind != "multilabel" else ()
  texts_of = {"multilabel": ("targets",), "faces": ("groups",)}
  texts = texts_of.get(kind, ("label", "groups") if fields else ("label",))
  source["caption"] = tuple(_MEMBERS[text] for text in texts)
  source["language"] = field_set.LABELS
  has_training = split == SPLIT and is_set(root, TRAIN)
  return field_set.FieldSet(
    *(name, kind, source, texts),
    training=functools.partial(open_set, root, field, name=name, split=TRAIN)
    if has_training
    else None,
    classes=() if objectives else rows["classes"],
    templates=() if objectives else rows["templates"],
    objectives=objectives,
    fields=fields,
    task=task,
    origins=origins,
    digests=digests,
    warnings=tuple(warnings),
  )


def name_of(root: str) -> str:
  """Return the key of a folder of the published name, else its name."""
  # An address of the Hub's files, as https://huggingface.co/datasets/ORG/NAME/
  # resolve/main.
  folder = root.removesuffix("/resolve/main").rpartition("/")[2]
  ranks = {
    key: clip_benchmark.folders(key).index(folder)
    for key in clip_benchmark.known()
    if folder in clip_benchmark.folders(key)
  }
  plain = folder.removeprefix("wds_").removesuffix("_test")
  return min(ranks, key=lambda key: ranks[key]) if ranks else plain


def _kind(root: str) -> str:
  text = text_files.read(f"{root}/{TYPE}")
  kind = "classification" if text is None else text.strip().lower()
  checks.one_of(f"{root}/{TYPE}", kind, _TYPES)
  return kind


def _tars(root: str, split: str, field: str, warnings: list[str]) -> str:
  """Return the pattern of a split's tars, all of which are there."""
  path = f"{root}/{split}/{SHARDS}"
  text = text_files.read(path)
  if text is None:
    checks.refuse(
      f"{field}: {root} has no {split}/{SHARDS}, the number of the tars "
      f"{split}/0.tar, {split}/1.tar, ..."
    )
    return ""
  if not (text.strip().isascii() and text.strip().isdigit() and int(text)):
    checks.refuse(
      f"{path}, line 1: expected a number of tars; got {text.strip()!r}"
    )
    return ""
  number = int(text)
  ends = f"{{0..{number - 1}}}" if number > 1 else "0"
  pattern = f"{root}/{split}/{ends}.tar"
  try:
    files.find(pattern, f"{field}: {path} says {number}, which")
  except ValueError as error:
    checks.refuse(str(error))
  try:
    files.facts(f"{root}/{split}/{number}.tar")
    warnings.append(f"{path} says {number}, but {split}/{number}.tar is there")
  except OSError:
    pass
  return pattern


def _digests(root: str) -> dict[str, str]:
  """Return digests of the text files that a folder has."""
  texts = {file: text_files.read(f"{root}/{file}") for file in _TEXTS}
  return {
    file: text_files.digest([text])
    for file, text in texts.items()
    if text is not None
  }


_TEXTS = (CLASSES, TEMPLATES, TYPE)


def _is_faces(rows: dict[str, tuple[str, ...]]) -> bool:
  """Return whether each line begins with an objective."""
  every = [line for lines in rows.values() for line in lines if line]
  return bool(every) and all(
    line.partition(":")[0] in OBJECTIVES and ":" in line for line in every
  )


def _objectives(
  root: str, rows: dict[str, tuple[str, ...]]
) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
  """Return classes and templates of each objective."""
  parts = {}
  for what, lines in rows.items():
    by_objective = collections.defaultdict(list)
    for line in lines:
      objective, _, text = line.partition(":")
      by_objective[objective].append(text.strip())
    parts[what] = by_objective
  for objective in parts["classes"]:
    if objective not in parts["templates"]:
      checks.refuse(
        f"{root}/{TEMPLATES} must have a template of each objective; got none "
        f"of {objective!r}"
      )
  return {
    objective: (
      tuple(parts["classes"][objective]),
      tuple(parts["templates"][objective]),
    )
    for objective in OBJECTIVES
    if objective in parts["classes"]
  }
