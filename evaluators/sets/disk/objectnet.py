"""ObjectNet in the form of its origin: the 113 classes that ImageNet has too.

  objectnet-1.0/images/FOLDER/*.png
  objectnet-1.0/mappings/folder_to_objectnet_label.json
      {"air_freshener": "Air freshener", ...}
  objectnet-1.0/mappings/objectnet_to_imagenet_1k.json
      {"Alarm clock": "analog clock; digital clock", ...}

Labels are the folders of these classes in the order of their names, and class
names ObjectNet's in lower case (clip_benchmark/datasets/objectnet.py 1.6.2).
Images keep their red border of 2 pixels, as there.
"""

from evaluators.sets import clip_benchmark, field_set, names
from evaluators.sets.disk import rows
from input_pipeline.storage import folders

_LABELS = "folder_to_objectnet_label.json"
_SHARED = "objectnet_to_imagenet_1k.json"


def open_set(
  key: str, root: str, *, cache_dir: str
) -> field_set.FieldSet | None:
  """Return ObjectNet's classes that are ImageNet's; None where it is not there.

  Raises:
    ValueError: a mapping cannot be used, or no folder is of these classes.
  """
  for part in ("mappings/", "objectnet-1.0/mappings/", ""):
    if rows.exists(f"{root}/{part}{_SHARED}"):
      break
  else:
    return None
  path = f"{root}/{part}{_LABELS}"
  by_folder, shared = rows.parsed(path), rows.parsed(f"{root}/{part}{_SHARED}")
  if not isinstance(by_folder, dict) or not isinstance(shared, dict):
    raise ValueError(f"{path}: expected an object of names by folder")
  values = sorted(x for x, label in by_folder.items() if label in shared)
  labels = {folder: label for label, folder in enumerate(values)}
  for part in ("images", "objectnet-1.0/images", ""):
    above = f"{root}/{part}".rstrip("/")
    table = _table(above, labels)
    if table:
      break
  else:
    raise ValueError(f"{root} has no image in a folder that {path} names")
  return field_set.FieldSet(
    *(key, "classification"),
    rows.source(table, above, cache_dir=cache_dir, labels="label"),
    ("label",),
    classes=tuple(by_folder[folder].lower() for folder in values),
    templates=names.templates(key),
    task=clip_benchmark.published(key),
    origins={"classes": path, "templates": names.ORIGIN},
  )


def _table(above: str, labels: dict[str, int]) -> list[dict[str, str]]:
  """Return a row for each image of a class; images of others are not used."""
  try:
    listed = folders.walk(above, "--data_root")
  except (ValueError, OSError):
    return []
  return [
    {"image": name, "key": name, "label": str(labels[folder])}
    for name in listed
    if (folder := name.rpartition("/")[0]) in labels
    and f".{name.rpartition('.')[2].lower()}" in folders.IMAGES
  ]
