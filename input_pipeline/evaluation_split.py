"""Examples of one source as evaluations read them: in batches, in its order.

An image is decoded when its batch is made and is not kept, so that memory does
not grow with the number of examples.
"""

import dataclasses
import operator
from collections.abc import Iterator, Mapping
from concurrent import futures

import numpy as np

from input_pipeline import pipeline, sources
from input_pipeline.images import image_ops
from input_pipeline.selecting import subset
from input_pipeline.sources import record as record_lib
from input_pipeline.sources import source_config
from runtime import checks

# Fields of a source that only training reads, and their values elsewhere.
_ONLY_TRAINING = (("templates", ()), ("weight", 0), ("repeat", 1), ("keep", ""))


@dataclasses.dataclass(frozen=True)
class Batch:
  """Consecutive examples of a source.

  Attributes:
    keys: keys of the examples.
    texts: first caption of each example in each of its languages.
    images: uint8 [b, Y, X, 3], resized without augmentation; with
      data.augmentation.resize="naflex" patches uint8 [b, N, P] and shapes
      int32 [b, 2].
  """

  keys: tuple[str, ...]
  texts: tuple[Mapping[str, str], ...]
  images: np.ndarray | tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Split:
  """Opened examples of a source; nothing is decoded yet.

  Attributes:
    config: section `data` of the run: image size, augmentation, threads.
    records: records of the source.
  """

  config: pipeline.DataConfig
  records: record_lib.Records

  def __len__(self) -> int:
    return len(self.records)

  def batches(self, batch_size: int) -> Iterator[Batch]:
    """Yield all examples; the last batch may be smaller."""
    with futures.ThreadPoolExecutor(max(1, self.config.num_threads)) as pool:
      for start in range(0, len(self), batch_size):
        rows = range(start, min(start + batch_size, len(self)))
        keys, texts, images = zip(*pool.map(self._example, rows), strict=True)
        yield Batch(keys, texts, _stack(images))
        del images  # before the next batch is decoded

  def texts(self) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield key and first captions of each example; no image is decoded."""
    for row in range(len(self)):
      record = self.records[row]
      yield record.key, _first_texts(record)

  def image(self, row: int) -> np.ndarray:
    """Return one image as uint8 [Y, X, 3], whatever the tower reads."""
    return self._resized(self.records[row])

  def _example(self, row: int) -> tuple[str, Mapping[str, str], object]:
    record = self.records[row]
    augmentation = self.config.augmentation
    image = (
      augmentation.see(record.image)
      if augmentation.is_naflex
      else self._resized(record)
    )
    return record.key, _first_texts(record), image

  def _resized(self, record: record_lib.Record) -> np.ndarray:
    pixels = image_ops.decode(record.image)
    return image_ops.resize(pixels, self.config.image_size)


def check_source(source: source_config.SourceConfig, field: str) -> None:
  """Raise ValueError, naming the field, where an evaluation cannot read it.

  Args:
    source: section of a source.
    field: name of the section in messages.
  """
  checks.one_of(f"{field}.format", source.format, sources.FORMATS)
  source.check(field)
  for name, unused in _ONLY_TRAINING:
    if getattr(source, name) != unused:
      checks.refuse(
        f"{field}.{name} must be {unused!r} in an evaluation; got "
        f"{getattr(source, name)!r}"
      )


def open_split(
  config: pipeline.DataConfig,
  source: source_config.SourceConfig,
  *,
  name: str,
  section: str,
) -> Split:
  """Open the split of a source that `source.split` names.

  Args:
    config: section `data` of the run.
    source: section of the source, which need not be among config.sources.
    name: name of the source in `section`.
    section: field of the config that holds the source's section.

  Raises:
    ValueError: a field of the source cannot be used, or it has no example.
    OSError, ModuleNotFoundError: as the source's format raises them.
  """
  place = config.context(name, section)
  records = sources.FORMATS[source.format].open_split(
    source, source.split, place
  )
  if source.subset:
    records = subset.select(records, source, place)
  if not len(records):
    raise ValueError(f"{place.field} has no examples")
  return Split(config, records)


def open_all_splits(
  config: pipeline.DataConfig,
  source: source_config.SourceConfig,
  *,
  name: str,
  section: str,
) -> dict[str, Split]:
  """Open every split of a source, by its name; see `open_split`.

  A source without splits is returned as one split with the source's name.
  """
  place = config.context(name, section)
  module = sources.FORMATS[source.format]
  splits = module.splits(source, place)
  by_name = {split: split for split in splits} or {name: source.split}
  return {
    shown: Split(config, module.open_split(source, split, place))
    for shown, split in by_name.items()
  }


def first_texts(splits: Mapping[str, Split], language: str) -> tuple[str, ...]:
  """Return the first caption of each example in a language, by sorted key.

  Examples without a caption in the language are left out.
  """
  pairs = (pair for split in splits.values() for pair in split.texts())
  named = ((key, texts.get(language, "")) for key, texts in pairs)
  # The sort is stable: equal keys keep the order of the splits.
  return tuple(
    text for _, text in sorted(named, key=operator.itemgetter(0)) if text
  )


def _first_texts(record: record_lib.Record) -> Mapping[str, str]:
  return {language: texts[0] for language, texts in record.texts.items()}


def _stack(images: tuple) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
  if isinstance(images[0], tuple):
    patches, shapes = zip(*images, strict=True)
    return np.stack(patches), np.stack(shapes)
  return np.stack(images)
