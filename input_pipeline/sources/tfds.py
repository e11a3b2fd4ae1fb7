"""Data sets of TensorFlow Datasets, stored as ArrayRecord; no TensorFlow.

`path` is the folder of a prepared data set, NAME/VERSION or
NAME/CONFIG/VERSION with its dataset_info.json, local or at gs://; or a name,
"NAME[/CONFIG][:VERSION]", of a data set in the folder TFDS_DATA_DIR, else in
~/tensorflow_datasets. Nothing is downloaded. A data set that was prepared as
TFRecord has no random access: prepare it again with
file_format="array_record".

`image` is an Image feature, `caption` Text features ("captions.text" within a
sequence) or a ClassLabel, whose names are the captions, "_" as a space. Images
are returned as stored, not decoded.
"""

import functools
import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from input_pipeline import captions, faults
from input_pipeline.sources import columns, image_ids, source_config
from input_pipeline.sources import record as record_lib
from input_pipeline.storage import uids as uids_lib
from runtime.storage import remote

LANGUAGES = None

# Usual names of text features, best first. TFDS's own data sets of pairs have
# "caption" (laion400m) and "captions" (coco_captions).
_CAPTIONS = ("caption", "captions", "text", "title")
_NAME = re.compile(r"[A-Za-z]\w*(/[\w.+-]+)?(:[\w.*]+)?")


def splits(
  source: source_config.SourceConfig, context: source_config.SourceContext
) -> tuple[str, ...]:
  """Return the data set's splits."""
  return tuple(_builder(source.path, context.field).info.splits)


def open_split(
  source: source_config.SourceConfig,
  split: str,
  context: source_config.SourceContext,
) -> "Records":
  """Return a split, or a part of one such as "train[:90%]"."""
  return Records(source, split, context.field)


class Records:
  """Records of one split; see record.Records."""

  def __init__(
    self, source: source_config.SourceConfig, split: str, field: str
  ):
    self._arguments = source, split, field
    self._source = source
    info = _builder(source.path, field).info
    if not split:
      raise ValueError(
        f"{field}.split must be one of {list(info.splits)}; got ''"
      )
    self._image = _find_image(source, info.features, field)
    # Path -> whether its text is that of columns.value_text.
    self._captions = {
      path.removesuffix(columns.VALUE): path.endswith(columns.VALUE)
      for path in _find_captions(source, info.features, field)
    }
    for name in ("language_field", "uid"):
      path = getattr(source, name)
      if path:
        _feature(info.features, path, f"{field}.{name}")
    self._names = {
      path: tuple(feature.names)
      for path in self._captions
      if (feature := _feature(info.features, path, field)) is not None
      and isinstance(feature, _tfds().features.ClassLabel)
    }
    self._dir = str(info.data_dir)
    self._name = f"{info.full_name}:{split}"
    self._data = _data_source(source.path, split, field)
    self._spans = info.splits[split].file_instructions

  # Pickled without the data source, which has open readers.
  def __reduce__(self):
    return type(self), self._arguments

  def __len__(self) -> int:
    return len(self._data)

  def __getitem__(self, index: int) -> record_lib.Record:
    example = self._example(index)
    image = self._image_of(index, example)
    texts = tuple(
      text
      for path, is_value in self._captions.items()
      for text in self._texts_at(path, example, is_value=is_value)
      if not captions.is_blank(text)
    )
    if not texts:
      raise faults.ExampleError(
        "caption_missing",
        f"example {index} has no text in {tuple(self._captions)}",
      )
    language = self._source.language
    if self._source.language_field:
      found = _texts(_value(example, self._source.language_field))
      language = next(filter(None, found), language)
    key, origin = self._key(index, example), f"{self._name}, example {index}"
    return record_lib.Record(key, image, {language: texts}, origin)

  def fingerprint(self) -> str:
    """Return hex digits of the data set's version and its files' facts."""
    facts: list[Any] = [self._name]
    for span in self._spans:
      name = os.path.basename(span.filename)
      fact: tuple[Any, ...] = (name, span.skip, span.take)
      if not remote.is_remote(span.filename):
        status = os.stat(span.filename)
        fact += (status.st_size, status.st_mtime_ns)
      facts.append(fact)
    return record_lib.digest(facts)

  def image_state(self) -> str:
    """Return hex digits of sizes and versions of the files at a URL."""
    return record_lib.remote_state([span.filename for span in self._spans])

  def image_id(self, index: int) -> bytes:
    """Return the name of a record's image; see image_ids."""
    return image_ids.of_bytes(self._image_of(index, self._example(index)))

  def path_of(self, index: int) -> str:
    """Return the name of the split."""
    del index
    return self._name

  def uids(self) -> np.ndarray:
    """Return the UIDs; if they are in a feature, read every example."""
    found = np.empty(len(self), uids_lib.UID)
    for index in range(len(self)):
      try:
        example = self._example(index) if self._source.uid else {}
        key = self._key(index, example)
      except faults.ExampleError:
        key = f"broken record {index}"
      found[index] = uids_lib.uid(key)
    return found

  def _example(self, index: int) -> dict[str, Any]:
    if not 0 <= index < len(self):
      raise IndexError(f"no example {index} of {len(self)}")
    try:
      return self._data[index]
    except Exception as error:  # from array_record, protobuf or TFDS
      kind = "record_broken"
      if remote.is_remote(self._dir):
        kind = "read_failed"
      elif not os.path.isdir(self._dir):
        kind = "file_missing"
      raise faults.ExampleError(
        kind, f"{self._name}, example {index}: {error}"
      ) from error

  def _image_of(self, index: int, example: dict[str, Any]) -> bytes:
    image = _value(example, self._image)
    if not isinstance(image, bytes) or not image:
      raise faults.ExampleError(
        "image_missing", f"example {index} has no image"
      )
    return image

  def _key(self, index: int, example: dict[str, Any]) -> str:
    if self._source.uid:
      value = _value(example, self._source.uid)
      if isinstance(value, bytes):
        return value.decode()
      return columns.key_text(
        value.item() if isinstance(value, np.generic) else value
      )
    return f"{self._name}:{index}"

  def _texts_at(
    self, path: str, example: Any, *, is_value: bool
  ) -> Iterator[str]:
    """Yield the texts of a feature; one, of columns.value_text, for a value."""
    texts = self._texts(path, _value(example, path))
    yield from (
      [columns.value_text(" ".join(texts), path)] if is_value else texts
    )

  def _texts(self, path: str, value: Any) -> Iterator[str]:
    if path in self._names:
      names = self._names[path]
      for label in np.ravel(value).tolist():
        if 0 <= label < len(names):  # -1 is TFDS's "no label"
          yield names[label].replace("_", " ")
    else:
      yield from _texts(value)


def _tfds() -> Any:
  try:
    import tensorflow_datasets
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      'format="tfds" of data.sources needs the package tensorflow-datasets: '
      "pip install -r requirements-tfds.txt",
      name="tensorflow_datasets",
    ) from error
  return tensorflow_datasets


# Reading the metadata of a large data set takes seconds.
@functools.lru_cache(maxsize=16)
def _builder(path: str, field: str) -> Any:
  """Return TFDS's builder; ValueError for an unknown data set."""
  tfds = _tfds()
  folder = os.path.expanduser(path)
  is_folder = remote.is_remote(path) or os.path.isdir(folder)
  if not is_folder and not _NAME.fullmatch(path):
    raise ValueError(
      f"{field}.path must be the folder of a prepared data set, or NAME/CONFIG"
      f":VERSION of one; got {path!r}"
    )
  try:
    if is_folder:
      builder = tfds.builder_from_directory(folder)
    else:
      builder = tfds.core.read_only_builder.builder_from_files(path)
  except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
    text = str(error).splitlines()[0] if str(error) else repr(error)
    raise ValueError(
      f"{field}.path must be a prepared TFDS data set (a folder with "
      f"dataset_info.json, or a name below TFDS_DATA_DIR); got {path!r}: {text}"
    ) from error
  if not isinstance(builder.info.features, tfds.features.FeaturesDict):
    raise ValueError(f"{field}.path: {path} has no named features")
  return builder


def _data_source(path: str, split: str, field: str) -> Any:
  tfds = _tfds()
  builder = _builder(path, field)
  media = (tfds.features.Image, tfds.features.Video, tfds.features.Audio)
  decoders = {
    name: tfds.decode.SkipDecoding()
    for name, feature in builder.info.features.items()
    if isinstance(feature, media)
  }
  try:
    return builder.as_data_source(split, decoders=decoders)
  except NotImplementedError as error:
    raise ValueError(
      f"{field}.path: {path} is stored as {builder.info.file_format}, which has"
      ' no random access; prepare it with file_format="array_record"'
    ) from error
  except ValueError as error:
    raise ValueError(
      f"{field}.split must be one of {list(builder.info.splits)}; got {split!r}"
      f": {str(error).splitlines()[0]}"
    ) from error


def _feature(features: Any, path: str, field: str) -> Any:
  """Return a feature by its path; ValueError that lists all features."""
  tfds = _tfds()
  feature = features
  for name in path.split("."):
    if isinstance(feature, tfds.features.Sequence):
      feature = feature.feature
    if (
      not isinstance(feature, tfds.features.FeaturesDict) or name not in feature
    ):
      raise ValueError(
        f"{field} must be among the features {sorted(_paths(features))}; got "
        f"{path!r}"
      )
    feature = feature[name]
  while isinstance(feature, tfds.features.Sequence):
    feature = feature.feature
  return feature


def _paths(features: Any, prefix: str = "") -> Iterator[str]:
  tfds = _tfds()
  for name, feature in features.items():
    while isinstance(feature, tfds.features.Sequence):
      feature = feature.feature
    if isinstance(feature, tfds.features.FeaturesDict):
      yield from _paths(feature, f"{prefix}{name}.")
    else:
      yield prefix + name


def _find_image(
  source: source_config.SourceConfig, features: Any, field: str
) -> str:
  images = [
    name
    for name, feature in sorted(features.items())
    if isinstance(feature, _tfds().features.Image)
  ]
  wanted = source.image or tuple(images)
  if len(wanted) != 1 or wanted[0] not in images:
    raise ValueError(
      f"{field}.image must be one of the image features {images}; got "
      f"{list(source.image)}"
    )
  return wanted[0]


def _find_captions(
  source: source_config.SourceConfig, features: Any, field: str
) -> tuple[str, ...]:
  tfds = _tfds()
  kinds = (tfds.features.Text, tfds.features.ClassLabel)
  there = {
    path: kind
    for path in sorted(_paths(features))
    if (kind := _caption_kind(_feature(features, path, field), kinds))
  }
  if source.caption:
    for path in source.caption:
      if path.removesuffix(columns.VALUE) not in there:
        raise ValueError(
          f"{field}.caption must be among the features {list(there)} (text, or "
          f"labels that have names); got {path!r}"
        )
    return source.caption
  texts = [path for path, kind in there.items() if kind == "text"]
  labels = [path for path, kind in there.items() if kind == "label"]
  for name in _CAPTIONS:
    named = [path for path in texts if path.split(".")[0] == name]
    if len(named) == 1:
      return (named[0],)
  if len(labels) == 1:
    return (labels[0],)
  raise ValueError(
    f"{field}.caption must be given, one or several of {list(there)}"
  )


def _caption_kind(feature: Any, kinds: Sequence[type]) -> str | None:
  text, label = kinds
  if isinstance(feature, label):
    return "label" if feature.num_classes and feature.names else None
  is_string = isinstance(feature, text) or (
    not isinstance(feature, _tfds().features.Image)
    and getattr(feature, "np_dtype", None) in (object, np.object_, str, bytes)
  )
  return "text" if is_string else None


def _value(example: Any, path: str) -> Any:
  for name in path.split("."):
    # A sequence of dicts is stored as a dict of sequences.
    example = example[name]
  return example


def _texts(value: Any) -> Iterator[str]:
  if isinstance(value, bytes):
    yield value.decode("utf-8", "replace")
  elif isinstance(value, str):
    yield value
  elif isinstance(value, list | tuple | np.ndarray):
    for item in value:
      yield from _texts(item)
