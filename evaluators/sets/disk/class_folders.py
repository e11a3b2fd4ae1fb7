"""Labelled sets as folders of images by class, ImageNet's among them.

  val/n01440764/*.JPEG    ImageNet by synset, also below ILSVRC/Data/CLS-LOC, as
                          ImageNet-A, -O, -R and -Sketch are
  val/*.JPEG              Kaggle's flat folder with LOC_val_solution.csv, whose
                          lines are "ILSVRC2012_val_00000001,n01751748 ..."
  0/*.jpeg ... 999/*.jpeg ImageNet-V2: the folder's name is the label
  cat/*.png, dog/*.png    any other: labels in the order of the sorted names
                          (torchvision's ImageFolder), "_" of a name a space

ImageNet's labels are the 1,000 synsets in their order, those of a subset alone
for ImageNet-A, -O and -R. A `classnames.txt` or a
`zeroshot_classification_templates.txt` beside the folders comes before the
names and templates that ship with the code.
"""

import csv
import dataclasses
import functools
import io
import re
from collections.abc import Collection, Mapping, Sequence

from evaluators.sets import (
  clip_benchmark,
  field_set,
  names,
  text_files,
  wds,
)
from evaluators.sets.disk import rows
from input_pipeline.storage import folders

_SYNSET = re.compile(r"n\d{8}")
_SOLUTION = "LOC_val_solution.csv"
# Folders with the folders by class; the set's own is "".
_PARTS = (
  *("val", "ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val", "sketch", "test"),
  *("imagenetv2-matched-frequency-format-val", "ImageNetV2-matched-frequency"),
  *("imagenet-a", "imagenet-o", "imagenet-r"),
)
# Folders of a part, beside which a folder "train" has the training split.
_HELD_OUT = ("val", "test")
# Images that a message names.
_NUM_NAMED = 3


def open_any(
  name: str,
  root: str,
  *,
  cache_dir: str,
  classes: Sequence[str] = (),
  suffixes: Collection[str] = folders.IMAGES,
) -> field_set.FieldSet:
  """Return the set of one's own folders by class.

  Args:
    name: name of the set.
    root: folder of the folders.
    cache_dir: folder for the table.
    classes: name of each class in the order of the sorted folders, or the
      folders' own names in any order; () for these.
    suffixes: suffixes of the files: of images, or of videos.

  Raises:
    ValueError: there is no folder with such files, or classes do not fit.
  """
  opened = open_set("", root, cache_dir=cache_dir, suffixes=suffixes)
  if opened is None:
    kind = "images" if suffixes == folders.IMAGES else "videos"
    raise ValueError(
      f"evaluate.sets.{name}.source.path must be a folder with a folder of "
      f"{kind} for each class; got {root!r}"
    )
  if classes:
    field = f"evaluate.sets.{name}.classes"
    opened = _renamed(opened, classes, field)
    if opened.training is not None:
      training = opened.training
      opened = dataclasses.replace(
        opened, training=lambda: _renamed(training(), classes, field)
      )
  return dataclasses.replace(opened, name=name)


def _renamed(
  opened: field_set.FieldSet, classes: Sequence[str], field: str
) -> field_set.FieldSet:
  named = _ordered(classes, opened.classes, field)
  return dataclasses.replace(opened, classes=named)


def _ordered(
  lines: Sequence[str], values: Sequence[str], file: str
) -> tuple[str, ...]:
  """Return a name for each folder, from lines in the folders' order.

  Lines that are the folders' names mean them, in whatever order.
  """
  if len(lines) != len(values):
    raise ValueError(
      f"{file} has {len(lines)} names; there are {len(values)} folders by class"
    )
  by_name = {line.replace("_", " "): line for line in lines}
  spaced = [value.replace("_", " ") for value in values]
  if set(by_name) == set(spaced):
    return tuple(by_name[value] for value in spaced)
  return tuple(lines)


def open_set(
  key: str,
  root: str,
  *,
  cache_dir: str,
  suffixes: Collection[str] = folders.IMAGES,
) -> field_set.FieldSet | None:
  """Return the labelled set of a folder; None where no form is there.

  Args:
    key: key of the set, for names, or another name.
    root: folder of the set.
    cache_dir: folder for the table.
    suffixes: suffixes of the files.

  Raises:
    ValueError: images are there, and some have no label.
  """
  # ImageNet's own folder has the 1.3 million images of train/ too.
  parts = (*_PARTS, "") if key == "imagenet1k" else ("", *_PARTS)
  for part in parts:
    folder = f"{root}/{part}".rstrip("/")
    opened = _part(key, root, folder, cache_dir=cache_dir, suffixes=suffixes)
    if opened is None:
      continue
    above, _, last = folder.rpartition("/")
    training = f"{above}/train"
    if last in _HELD_OUT and folders.is_folder(training):
      opened = dataclasses.replace(
        opened,
        training=functools.partial(
          *(_training, key, root, training),
          cache_dir=cache_dir,
          suffixes=suffixes,
        ),
      )
    return opened
  return None


def _training(
  key: str,
  root: str,
  folder: str,
  *,
  cache_dir: str,
  suffixes: Collection[str],
) -> field_set.FieldSet:
  """Return the training split of a set."""
  opened = _part(key, root, folder, cache_dir=cache_dir, suffixes=suffixes)
  if opened is None:
    raise ValueError(f"{folder} has no image in a folder of a class")
  return opened


def _part(
  key: str,
  root: str,
  folder: str,
  *,
  cache_dir: str,
  suffixes: Collection[str],
) -> field_set.FieldSet | None:
  """Return the set of one folder with folders by class; None for none."""
  images, deeper = _images(folder, suffixes)
  by_image, values = _labels(key, root, folder, images) if images else ({}, ())
  if not by_image:
    return None
  others = deeper + [name for name in images if name not in by_image]
  warnings = ()
  if others:
    warnings = (
      f"{folder}: {len(others)} images are left out, which are in no folder "
      f"of a class, or in one below it, as {others[0]}",
    )
  opened = _made(key, (root, folder), by_image, values, cache_dir)
  return dataclasses.replace(opened, warnings=warnings)


def _images(
  folder: str, suffixes: Collection[str]
) -> tuple[list[str], list[str]]:
  """Return the images of a folder and of those in it, and those below.

  They have one of the suffixes.
  """
  try:
    listed = folders.walk(folder, "--data_root")
  except (ValueError, OSError):
    return [], []
  images = [
    name for name in listed if f".{name.rpartition('.')[2].lower()}" in suffixes
  ]
  return (
    [name for name in images if name.count("/") <= 1],
    [name for name in images if name.count("/") > 1],
  )


def _labels(
  key: str, root: str, folder: str, images: Sequence[str]
) -> tuple[Mapping[str, int], Sequence[str]]:
  """Return the label of each image, and the name of each class on disk."""
  flat = [name for name in images if "/" not in name]
  if len(flat) == len(images):
    return _solution(key, root, folder, images)
  by_class = {name.partition("/")[0] for name in images if "/" in name}
  values = _values(key, folder, by_class)
  labels = {value: label for label, value in enumerate(values)}
  return {
    name: labels[name.partition("/")[0]] for name in images if "/" in name
  }, values


def _values(key: str, folder: str, by_class: set[str]) -> Sequence[str]:
  """Return the names of the folders by label."""
  synsets = names.synsets(key)
  if all(_SYNSET.fullmatch(name) for name in by_class) and synsets:
    unknown = sorted(by_class - set(synsets))
    if unknown:
      raise ValueError(
        f"{folder}/{unknown[0]} is none of the {len(synsets)} synsets of {key}"
        f"; {len(unknown)} such folders"
      )
    return synsets
  if key == "imagenetv2":
    wrong = [x for x in by_class if not x.isdigit() or int(x) >= 1000]
    if wrong:
      raise ValueError(
        f"{folder}/{min(wrong)}: expected folders 0 to 999, the labels"
      )
    return [str(label) for label in range(1000)]
  return sorted(by_class)


def _solution(
  key: str, root: str, folder: str, images: Sequence[str]
) -> tuple[Mapping[str, int], Sequence[str]]:
  """Return the labels of a flat folder by LOC_val_solution.csv."""
  synsets = names.synsets(key)
  above = folder
  paths = [f"{root}/{_SOLUTION}"]
  for _ in range(4):  # ILSVRC/Data/CLS-LOC/val
    paths.append(f"{above}/{_SOLUTION}")
    above = above.rpartition("/")[0] or "."
  path = next((path for path in paths if rows.exists(path)), "")
  if not path or not synsets:
    return {}, ()
  labels = {synset: label for label, synset in enumerate(synsets)}
  by_id = {}
  text = text_files.read(path) or ""
  for line, row in enumerate(csv.reader(io.StringIO(text)), 1):
    if line == 1 or not row:
      continue
    synset = row[1].split(" ")[0] if len(row) == 2 else ""
    if synset not in labels:
      raise ValueError(
        f"{path}, line {line}: expected an image and a synset of {key}; got "
        f"{','.join(row)[:60]!r}"
      )
    by_id[row[0]] = labels[synset]
  without = [x for x in images if x.rpartition(".")[0] not in by_id]
  if without:
    raise ValueError(
      f"{path} has no line for {len(without)} of {len(images)} images of "
      f"{folder}: {', '.join(without[:_NUM_NAMED])}"
    )
  return {name: by_id[name.rpartition(".")[0]] for name in images}, synsets


def _made(
  key: str,
  at: tuple[str, str],
  by_image: Mapping[str, int],
  values: Sequence[str],
  cache_dir: str,
) -> field_set.FieldSet:
  root, folder = at
  own = _lines(root, folder, wds.CLASSES)
  shipped = names.classes(key)
  from_folders = tuple(value.replace("_", " ") for value in values)
  is_named = bool(_SYNSET.fullmatch(values[0]) or values[0].isdigit())
  classes, origin = from_folders, f"folders of {folder}"
  if own[0]:
    classes, origin = _ordered(own[0], values, own[1]), own[1]
  elif shipped and (is_named or len(shipped) == len(values)):
    classes, origin = shipped, names.ORIGIN
  templates, origin_templates = _lines(root, folder, wds.TEMPLATES)
  if not templates:
    templates = names.templates(key) or ("a photo of a {c}.",)
    origin_templates = names.ORIGIN if names.templates(key) else "the code"
  table = [
    {"image": name, "key": name, "label": str(label)}
    for name, label in by_image.items()
  ]
  source = rows.source(table, folder, cache_dir=cache_dir, labels="label")
  return field_set.FieldSet(
    key,
    "classification",
    source,
    ("label",),
    classes=tuple(classes),
    templates=tuple(templates),
    task=clip_benchmark.published(key),
    origins={"classes": origin, "templates": origin_templates},
  )


def _lines(root: str, folder: str, file: str) -> tuple[tuple[str, ...], str]:
  """Return the lines of a text file beside the folders, and its path."""
  for path in (f"{folder}/{file}", f"{root}/{file}"):
    text = text_files.read(path)
    if text:
      return tuple(text_files.lines(text)), path
  return (), ""
