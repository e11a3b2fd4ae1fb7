"""Retrieval sets in the forms of their origins, read as tables of captions.

  COCO       {"images": [{"id", "file_name"}], "annotations": [{"image_id",
             "caption"}]}: captions_val2017.json of cocodataset.org, and
             coco_test_karpathy.json of mehdidc/retrieval_annotations 1.0.0
  Karpathy   {"images": [{"filepath", "filename", "split", "sentences": [{"raw"}
             ]}]}: dataset_coco.json, dataset_flickr30k.json and
             dataset_flickr8k.json (Karpathy and Fei-Fei, arXiv 1412.2306)
  Flickr     lines "NAME.jpg,caption" below a header:
             flickr30k_test_karpathy.txt of mehdidc/retrieval_annotations
  Multi30k   data/task1 of github.com/multi30k/dataset: raw/SPLIT.LANGUAGE, or
             .gz, and image_splits/SPLIT.txt, a line for each image
  XM3600     captions.jsonl of google.github.io/crossmodal-3600: {"image/key",
             "en": {"caption": [...]}, ...}, and images/KEY.jpg
  Parquet    the Hub's own form of nlphuji's sets, read without a table

Every caption of an image is kept: COCO's test split has 25,010 for 5,000.
"""

import gzip
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from evaluators.sets import clip_benchmark, field_set, text_files
from evaluators.sets.disk import rows
from input_pipeline import faults
from input_pipeline.storage import files

# The 36 languages of XM3600, as its files spell them (arXiv 2205.12522).
XM3600 = (
  *("ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fil", "fr"),
  *("he", "hi", "hr", "hu", "id", "it", "ja", "ko", "mi", "nl", "no", "pl"),
  *("pt", "quz", "ro", "ru", "sv", "sw", "te", "th", "tr", "uk", "vi", "zh"),
)
# The four of Multi30k's task 1.
MULTI30K = ("en", "de", "fr", "cs")

# Usual folders of images; "" is the folder of the set.
_IMAGES = (
  *("", "images", "Images", "val2014", "train2014", "val2017", "train2017"),
  *("flickr30k-images", "flickr30k_images", "Flicker8k_Dataset"),
  *("Flickr8k_Dataset", "flickr8k-images", "../val2014", "../val2017"),
)


def coco(path: str, *, cache_dir: str, image_root: str = "") -> dict[str, Any]:
  """Return the source of captions in COCO's form.

  Args:
    path: the JSON file.
    cache_dir: folder for the table.
    image_root: folder of the images; by default one of the usual, beside the
      file or above it.
  """
  value = rows.parsed(path)
  images = rows.field_of(value, "images", list, path)
  texts: dict[Any, list[str]] = {}
  annotations = rows.field_of(value, "annotations", list, path)
  for number, entry in enumerate(annotations):
    where = f"{path}, annotation {number}"
    image = rows.field_of(entry, "image_id", int, where)
    caption = rows.field_of(entry, "caption", str, where)
    texts.setdefault(image, []).append(caption)
  table = []
  for number, entry in enumerate(images):
    where = f"{path}, image {number}"
    name = rows.field_of(entry, "file_name", str, where)
    captions = texts.get(entry.get("id"), [])
    table.append({"image": name, "key": name, "caption": captions})
  others = texts.keys() - {entry["id"] for entry in images if "id" in entry}
  if others:
    logging.warning(
      "%s: captions of %d images are left out, which are not among its images, "
      "as %s",
      *(path, len(others), min(others)),
    )
  return _source(table, path, image_root, cache_dir)


def karpathy(
  path: str, *, cache_dir: str, split: str = "test", image_root: str = ""
) -> dict[str, Any]:
  """Return the source of a split of Karpathy's form; see `coco`."""
  images = rows.field_of(rows.parsed(path), "images", list, path)
  table = []
  present = set()
  for number, entry in enumerate(images):
    where = f"{path}, image {number}"
    present.add(rows.field_of(entry, "split", str, where))
    if entry["split"] != split:
      continue
    name = rows.field_of(entry, "filename", str, where)
    folder = entry.get("filepath") or ""
    name = f"{folder}/{name}" if folder else name
    captions = [
      rows.field_of(sentence, "raw", str, where)
      for sentence in rows.field_of(entry, "sentences", list, where)
    ]
    table.append({"image": name, "key": name, "caption": captions})
  if not table:
    raise ValueError(
      f"{path} has no image of the split {split!r}; it has "
      f"{', '.join(sorted(present))}"
    )
  return _source(table, path, image_root, cache_dir)


def flickr(
  path: str, *, cache_dir: str, image_root: str = ""
) -> dict[str, Any]:
  """Return the source of lines "NAME.jpg,caption"; see `coco`."""
  text = text_files.read(path)
  if text is None:
    raise ValueError(f"there is no {path}")
  captions: dict[str, list[str]] = {}
  for line, row in enumerate(text.split("\n")[1:], 2):
    if not row.strip():
      continue
    # A caption may have commas too.
    name, mark, caption = row.strip().partition(".jpg,")
    if not mark:
      raise ValueError(
        f"{path}, line {line}: expected NAME.jpg,caption; got {row[:60]!r}"
      )
    caption = caption.strip()
    captions.setdefault(f"{name}.jpg", []).append(caption)
  table = [
    {"image": name, "key": name, "caption": texts}
    for name, texts in captions.items()
  ]
  return _source(table, path, image_root, cache_dir)


def multi30k(
  root: str,
  *,
  cache_dir: str,
  split: str = "test_2016_flickr",
  image_root: str = "",
) -> dict[str, Any]:
  """Return the source of captions in the languages that are there.

  Args:
    root: clone of multi30k/dataset, or its folder data/task1.
    cache_dir: folder for the table.
    split: name of a split's files.
    image_root: folder of the images (Flickr30k's); see `coco`.
  """
  task = next(
    (
      folder
      for folder in (root, f"{root}/data/task1", f"{root}/task1")
      if rows.exists(f"{folder}/image_splits/{split}.txt")
    ),
    None,
  )
  if task is None:
    raise ValueError(f"{root} has no data/task1/image_splits/{split}.txt")
  path = f"{task}/image_splits/{split}.txt"
  images = text_files.lines(text_files.read(path) or "")
  texts = {}
  for language in MULTI30K:
    file, lines = _lines_of(f"{task}/raw/{split}.{language}")
    if lines is None:
      continue
    if len(lines) != len(images):
      raise ValueError(
        f"{file} has {len(lines)} lines; {path} names {len(images)} images"
      )
    texts[language] = lines
  if not texts:
    raise ValueError(f"{task}/raw has no {split}.en, .de, .fr or .cs, nor .gz")
  table = [
    {
      "image": name,
      "key": name,
      "caption": {language: lines[row] for language, lines in texts.items()},
    }
    for row, name in enumerate(images)
  ]
  return _source(table, path, image_root, cache_dir, root)


def xm3600(root: str, *, cache_dir: str) -> dict[str, Any]:
  """Return the source of XM3600's captions in its 36 languages."""
  path = f"{root}/captions.jsonl"
  table = []
  for number, entry in enumerate(rows.parsed_lines(path), 1):
    where = f"{path}, row {number}"
    key = rows.field_of(entry, "image/key", str, where)
    captions = {
      language: rows.field_of(
        rows.field_of(entry, language, dict, where), "caption", list, where
      )
      for language in XM3600
      if language in entry
    }
    table.append({"image": f"{key}.jpg", "key": key, "caption": captions})
  return _source(table, path, "", cache_dir)


def open_set(
  key: str, root: str, *, cache_dir: str
) -> field_set.FieldSet | None:
  """Return the retrieval set of a folder; None where no form is there."""
  source = _of_folder(root, cache_dir)
  if source is None:
    return None
  return field_set.FieldSet(
    key, "retrieval", source, task=clip_benchmark.published(key)
  )


# Files of a folder, best first, and their readers.
_FILES = (
  ("coco_test_karpathy.json", coco),
  ("dataset_coco.json", karpathy),
  ("dataset_flickr30k.json", karpathy),
  ("dataset_flickr8k.json", karpathy),
  ("flickr30k_test_karpathy.txt", flickr),
  ("flickr8k_test_karpathy.txt", flickr),
)


def _of_folder(root: str, cache_dir: str) -> Mapping[str, Any] | None:
  for file, read in _FILES:
    for folder in (root, f"{root}/annotations"):
      if rows.exists(f"{folder}/{file}"):
        return read(f"{folder}/{file}", cache_dir=cache_dir)
  if rows.exists(f"{root}/captions.jsonl"):
    return xm3600(root, cache_dir=cache_dir)
  for folder in (root, f"{root}/data/task1", f"{root}/task1"):
    if rows.exists(f"{folder}/image_splits/test_2016_flickr.txt"):
      return multi30k(root, cache_dir=cache_dir)
  return _parquet(root)


def _parquet(root: str) -> Mapping[str, Any] | None:
  """Return the source of Parquet files with `image` and `caption`."""
  for pattern in ("test*.parquet", "data/test*.parquet", "**/test/*.parquet"):
    try:
      files.find(f"{root}/{pattern}", "--data_root")
    except ValueError:
      continue
    return field_set.source("parquet", f"{root}/{pattern}")
  return None


def _source(
  table: Sequence[Mapping[str, Any]],
  path: str,
  image_root: str,
  cache_dir: str,
  root: str = "",
) -> dict[str, Any]:
  """Return the source of rows, their images in one of the usual folders."""
  if not table:
    raise ValueError(f"{path} has no images")
  root = root or path.rpartition("/")[0] or "."
  if not image_root:
    first = table[0]["image"]
    above = [f"../{folder}".rstrip("/") for folder in _IMAGES]
    image_root = rows.folder_with(root, (*_IMAGES, *above), first, path)
  return rows.source(table, image_root, cache_dir=cache_dir)


def _lines_of(path: str) -> tuple[str, list[str] | None]:
  """Return a text file's name and lines, compressed or not; None for none."""
  text = text_files.read(path)
  if text is not None:
    return path, text_files.lines(text)
  path = f"{path}.gz"
  try:
    data = gzip.decompress(files.read(path))
    return path, text_files.lines(data.decode("utf-8-sig"))
  except faults.ExampleError as error:
    if error.kind == "file_missing":
      return path, None
    raise OSError(str(error)) from error
  except (OSError, EOFError, UnicodeDecodeError) as error:
    raise ValueError(f"{path} is no text in gzip: {error}") from error
