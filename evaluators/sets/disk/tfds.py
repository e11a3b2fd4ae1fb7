"""Labelled sets of TensorFlow Datasets; see input_pipeline/sources/tfds.py."""

import functools
import os
import re

from evaluators.sets import clip_benchmark, field_set, names, text_files
from evaluators.sets.disk import rows

_SYNSET = re.compile(r"n\d{8}")
_TRAIN = "train"


def open_set(
  folder: str, *, split: str = "", label: str = "label", key: str = ""
) -> field_set.FieldSet:
  """Return the labelled set of a prepared data set.

  Class names are those of FEATURE.labels.txt in the folder; where these are
  synsets, or numbers, the names that ship with the code for `key`.

  Args:
    folder: folder of a data set's version, with dataset_info.json, on disk or
      at a URL.
    split: split, or a part of one such as "test[:50%]"; by default "test", or
      "validation" where there is none.
    label: the ClassLabel feature.
    key: key of the set; by default the data set's name.

  Raises:
    ValueError: the folder has no labels of that name.
  """
  folder = os.path.expanduser(folder).rstrip("/")
  path = f"{folder}/{label}.labels.txt"
  text = text_files.read(path)
  if text is None:
    raise ValueError(
      f"{folder} has no {label}.labels.txt; the feature of the labels has "
      "another name, or the folder is none of a data set's version"
    )
  splits = _splits(folder) if split == "" else []
  split = split or _chosen(splits, folder)
  values = tuple(text_files.lines(text))
  key = key or clip_benchmark.key_of(_name(folder)) or _name(folder)
  shipped = names.classes(key)
  classes, origin = tuple(value.replace("_", " ") for value in values), path
  is_code = all(_SYNSET.fullmatch(x) or x.isdigit() for x in values)
  if is_code and len(shipped) == len(values):
    classes, origin = shipped, names.ORIGIN
  templates = names.templates(key)
  return field_set.FieldSet(
    key,
    "classification",
    field_set.source(
      *("tfds", folder),
      split=split,
      caption=(label,),
      language=field_set.LABELS,
    ),
    ("name",),
    values=tuple(value.replace("_", " ") for value in values),
    classes=classes,
    templates=templates or ("a photo of a {c}.",),
    task=clip_benchmark.published(key),
    origins={
      "classes": origin,
      "templates": names.ORIGIN if templates else "the code",
    },
    digests={f"{label}.labels.txt": text_files.digest([text])},
    training=functools.partial(
      open_set, folder, split=_TRAIN, label=label, key=key
    )
    if _TRAIN in splits
    else None,
  )


def _splits(folder: str) -> list[str]:
  """Return the names of the splits."""
  path = _info(folder)
  splits = rows.field_of(rows.parsed(path), "splits", list, path)
  return [str(x.get("name")) for x in splits if isinstance(x, dict)]


def _chosen(splits: list[str], folder: str) -> str:
  """Return the split to evaluate on."""
  for name in ("test", "validation"):
    if name in splits:
      return name
  raise ValueError(
    f"{_info(folder)} has no split test or validation, but {splits}; write "
    "tfds:FOLDER@SPLIT"
  )


def _info(folder: str) -> str:
  return f"{folder}/dataset_info.json"


def _name(folder: str) -> str:
  """Return the name of a data set: NAME/VERSION, NAME/CONFIG/VERSION.

  >>> _name("a/cifar10/3.0.2"), _name("a/imagenet2012/5.1.0")
  ('cifar10', 'imagenet1k')
  """
  parts = folder.split("/")
  name = parts[-2] if len(parts) > 1 else parts[-1]
  return _NAMES.get(name, name)


# Data set of TFDS -> name of the set here, where it is another.
_NAMES = {
  "imagenet2012": "imagenet1k",
  "cars196": "cars",
  "svhn_cropped": "svhn",
  "oxford_iiit_pet": "pets",
  "oxford_flowers102": "flowers",
  "patch_camelyon": "pcam",
  "imagenet_v2": "imagenetv2",
  "imagenet_a": "imagenet-a",
  "imagenet_r": "imagenet-r",
}
