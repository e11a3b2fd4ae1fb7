"""Examples of one source as evaluations read them: in batches, in its order.

An image is decoded when its batch is made and is not kept, so that memory does
not grow with the number of examples.
"""

import dataclasses
import operator
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any

import numpy as np

from input_pipeline import captions, faults, model_inputs, pipeline, sources
from input_pipeline import languages as languages_lib
from input_pipeline.grammars import filled
from input_pipeline.images import image_ops, image_protocols, naflex
from input_pipeline.selecting import holdout, subset
from input_pipeline.selecting import sample as sample_lib
from input_pipeline.sources import record as record_lib
from input_pipeline.sources import source_config
from input_pipeline.videos import video
from input_pipeline.videos import views as views_lib
from runtime import checks

# Fields of a source that only training reads, and their values elsewhere.
_ONLY_TRAINING = (("templates", ()), ("weight", 0), ("repeat", 1), ("keep", ""))


# Function of uint8 [Y, X, 3] and an example's key to an image of that shape.
Change = Callable[[np.ndarray, str], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Batch:
  """Consecutive examples of a source, or some of them.

  Attributes:
    rows: position in its source of each example that can be used.
    keys: keys of these examples.
    texts: captions of each of them in each of its languages, by
      languages.normalised.
    images: uint8 [b, Y, X, 3]; of a NaFlex protocol, patches uint8 [b, N, P]
      and shapes int32 [b, 2]; of videos, views uint8 [b, P, T, Y, X, 3].
    broken: position -> error of each example that cannot be used.
  """

  rows: tuple[int, ...]
  keys: tuple[str, ...]
  texts: tuple[Mapping[str, Sequence[str]], ...]
  images: np.ndarray | tuple[np.ndarray, np.ndarray]
  broken: Mapping[int, faults.ExampleError] = dataclasses.field(
    default_factory=dict
  )


@dataclasses.dataclass(frozen=True)
class Split:
  """Opened examples of a source; nothing is decoded yet.

  Attributes:
    records: records of the source.
    protocol: image protocol of the model.
    num_threads: threads that decode.
    field: field of the config that holds the source, for messages.
    leaves_out: whether examples that cannot be used are left out with a
      warning where there is no `on_fault`, as training leaves them out.
    image_ids: names of the images of a held-out split; see image_ids.
    change: change to each image after resize and crop, such as a corruption;
      None for videos.
    views: views of each video, where the records hold them in place of images.
  """

  records: (
    record_lib.Records | holdout.Images | holdout.Joined | sample_lib.Sample
  )
  protocol: model_inputs.Protocol
  num_threads: int
  field: str
  leaves_out: bool = False
  image_ids: np.ndarray | None = None
  change: Change | None = None
  views: views_lib.ViewsConfig | None = None

  def __len__(self) -> int:
    return len(self.records)

  def fingerprint(self) -> str:
    """Return hex digits that identify the examples, without reading them."""
    if self.image_ids is not None:
      return record_lib.digest(self.image_ids.tolist())
    return self.records.fingerprint()

  def state(self) -> str:
    """Return hex digits that change with images, captions and their order.

    No image is read: pictures on disk count by size and time of change, those
    at a URL that a table names by their addresses alone.
    """
    facts = [self.fingerprint(), record_lib.image_state(self.records)]
    if self.image_ids is not None:
      facts.append(self.records.fingerprint())
    return record_lib.digest(facts)

  def sample(self, num: int) -> "Split":
    """Return some examples, in their order; all where there are no more.

    They are those whose names (UIDs, or names of held-out images) have the
    lowest hashes: the same for any order of the examples, any process and any
    run, and those of a smaller sample are among those of a larger one.

    Args:
      num: number of examples.
    """
    if num >= len(self):
      return self
    rows = sample_lib.rows(self.records, self.image_ids, num)
    return dataclasses.replace(
      self,
      records=sample_lib.Sample(self.records, rows),
      image_ids=None if self.image_ids is None else self.image_ids[rows],
    )

  def batches(
    self,
    batch_size: int,
    *,
    rows: range | None = None,
    places: Sequence[int] | None = None,
  ) -> Iterator[Batch]:
    """Yield examples in order; the last batch may be smaller.

    Args:
      batch_size: most examples of a batch.
      rows: positions of the examples; None for all.
      places: positions within a batch of those that this process reads, as
        others read the rest; None for all.
    """
    rows = range(len(self)) if rows is None else rows
    places = range(batch_size) if places is None else places
    with futures.ThreadPoolExecutor(max(1, self.num_threads)) as pool:
      for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        own = [part[place] for place in places if place < len(part)]
        usable, broken = [], {}
        for row, example in zip(own, pool.map(self._example, own), strict=True):
          if isinstance(example, faults.ExampleError):
            broken[row] = example
          else:
            usable.append(example)
        numbers, keys, texts, images = (
          zip(*usable, strict=True) if usable else ((), (), (), ())
        )
        stacked = _stack(images) if images else self._no_images()
        yield Batch(numbers, keys, texts, stacked, broken)
        # Before the next batch is decoded.
        del images, stacked, usable
        example = None

  def images(
    self, rows: Sequence[int]
  ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Decode the images at some rows, in their order, as a Batch has them.

    Raises:
      faults.ExampleError: an example cannot be used.
    """
    with futures.ThreadPoolExecutor(max(1, self.num_threads)) as pool:
      examples = [*pool.map(self._example, rows)]
    images = []
    for example in examples:
      if isinstance(example, faults.ExampleError):
        raise example
      images.append(example[-1])
    return _stack(tuple(images))

  def texts(self) -> Iterator[tuple[str, Mapping[str, Sequence[str]]]]:
    """Yield key and captions of each example; no image is decoded."""
    for row in range(len(self)):
      try:
        record = self.records[row]
      except faults.ExampleError:
        if not self.leaves_out:
          raise
        continue
      yield record.key, _texts(record)

  def image(self, row: int) -> np.ndarray:
    """Return one image as people look at it: uint8 [Y, X, 3].

    It is cut as the model sees it; for NaFlex it is the whole image. Of a
    video, it is the frame in the middle of the middle clip.
    """
    if self.views is not None:
      data = self.records[row].image
      return views_lib.middle(data, self.views, self._square)
    return self._cut(image_ops.decode(self.records[row].image))

  def _cut(self, pixels_YXC: np.ndarray) -> np.ndarray:
    """Return the pixels that the model sees, before patches are made."""
    if isinstance(self.protocol, naflex.Protocol):
      return naflex.resize(
        pixels_YXC, self.protocol.patch_size, self.protocol.max_num_patches
      )
    return self.protocol.apply(pixels_YXC)

  @property
  def _square(self) -> image_protocols.Protocol:
    """The protocol of a model that reads videos: it makes squares."""
    assert isinstance(self.protocol, image_protocols.Protocol)
    return self.protocol

  def _input(self, pixels_YXC: np.ndarray, key: str) -> Any:
    """Return the model's input of an image, changed where there is a change."""
    if self.change is None:
      return self.protocol.apply(pixels_YXC)
    changed_YXC = self.change(self._cut(pixels_YXC), key)
    if isinstance(self.protocol, naflex.Protocol):
      # Not `apply`, which might resize the resized image once more.
      sizes = self.protocol.patch_size, self.protocol.max_num_patches
      patches, shape, _ = naflex.patchify(changed_YXC, *sizes)
      return patches, shape
    return changed_YXC

  def _no_images(self) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Return images as those of a batch, of which there are none."""
    if self.views is not None:
      size = self._square.size
      frames = self.views.num, self.views.frames
      return np.zeros((0, *frames, size, size, 3), np.uint8)
    blank = self.protocol.apply(np.zeros((64, 64, 3), np.uint8))
    if isinstance(blank, tuple):
      patches, shape = _stack((blank,))
      return patches[:0], shape[:0]
    return blank[None][:0]

  def _example(self, row: int) -> tuple[Any, ...] | faults.ExampleError:
    try:
      record = self.records[row]
      with faults.located(record.origin):
        image = (
          self._input(image_ops.decode(record.image), record.key)
          if self.views is None
          else views_lib.at_inference(record.image, self.views, self._square)
        )
      return row, record.key, _texts(record), image
    except faults.ExampleError as error:
      return error


def check_source(source: source_config.SourceConfig, field: str) -> None:
  """Raise ValueError, naming the field, where an evaluation cannot read it.

  Args:
    source: section of a source.
    field: name of the section in messages.
  """
  sources.check(source, field)
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
  protocol: model_inputs.Protocol,
  views: views_lib.ViewsConfig | None = None,
) -> Split:
  """Open the split of a source that `source.split` names.

  Args:
    config: section `data` of the run.
    source: section of the source, which need not be among config.sources.
    name: name of the source in `section`.
    section: field of the config that holds the source's section.
    protocol: image protocol of the model.
    views: views of each video, for a source of videos.

  Raises:
    ValueError: a field of the source cannot be used, or it has no example.
    OSError, ModuleNotFoundError: as the source's format raises them, and PyAV
      is missing.
  """
  if views is not None:
    video.check_installed()
  place = config.context(name, section)
  records = filled.open_split(source, source.split, place)
  if source.subset:
    records = subset.select(records, source, place)
  if not len(records):
    raise ValueError(f"{place.field} has no examples")
  return Split(records, protocol, config.num_threads, place.field, views=views)


def open_source(
  source: source_config.SourceConfig,
  *,
  protocol: model_inputs.Protocol,
  num_threads: int,
  cache_dir: pathlib.Path,
  name: str,
  section: str,
) -> Split:
  """Open the split of a source that is in no config.

  Args:
    source: section of the source.
    protocol: image protocol of the model.
    num_threads: threads that decode.
    cache_dir: folder of indices.
    name: name of the source, for messages.
    section: flag that names the source.

  Raises:
    ValueError: the source cannot be used, or it has no example.
  """
  # No set is drawn, which alone asks for a size.
  context = source_config.SourceContext(
    *(name, cache_dir), image_size=1, section=section
  )
  records = filled.open_split(source, source.split, context)
  if not len(records):
    raise ValueError(f"{section}={name} has no examples")
  return Split(records, protocol, num_threads, f"{section}={name}")


def open_held_out(
  config: pipeline.DataConfig,
  name: str,
  *,
  share: float,
  protocol: model_inputs.Protocol,
) -> Split:
  """Open what training leaves out of a source: images, with all captions.

  Args:
    config: section `data` of the run.
    name: name of the source in data.sources.
    share: evaluate.holdout.
    protocol: image protocol of the model.

  Raises:
    ValueError: the source has no example to hold out.
    OSError, ModuleNotFoundError: as the source's format raises them.
  """
  images = pipeline.split_source(config, name, share).images()
  return Split(
    images,
    protocol,
    config.num_threads,
    f"{holdout.FIELD} of data.sources.{name}",
    leaves_out=True,
    image_ids=images.ids,
  )


def joined(splits: Sequence[Split]) -> Split:
  """Return the images of several sources that `open_held_out` returned."""
  ids = [split.image_ids for split in splits if split.image_ids is not None]
  return dataclasses.replace(
    splits[0],
    records=holdout.Joined([split.records for split in splits]),
    field=", ".join(split.field for split in splits),
    image_ids=np.concatenate(ids),
  )


def open_all_splits(
  config: pipeline.DataConfig,
  source: source_config.SourceConfig,
  *,
  name: str,
  section: str,
  protocol: model_inputs.Protocol,
) -> dict[str, Split]:
  """Open every split of a source, by its name; see `open_split`.

  A source without splits is returned as one split with the source's name.
  """
  place = config.context(name, section)
  module = sources.FORMATS[source.format]
  splits = module.splits(source, place)
  by_name = {split: split for split in splits} or {name: source.split}
  return {
    shown: Split(
      filled.open_split(source, split, place),
      protocol,
      config.num_threads,
      place.field,
    )
    for shown, split in by_name.items()
  }


def mirrored(
  images: np.ndarray | tuple[np.ndarray, np.ndarray],
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
  """Return images of a Batch mirrored left to right; videos have no mirror."""
  if isinstance(images, tuple):
    return naflex.mirrored(*images)
  return images[:, :, ::-1]


def path_of(split: Split, row: int) -> str:
  """Return the path of the file that has an example; "" where none is known."""
  find = getattr(split.records, "path_of", None)
  return "" if find is None else find(row)


def all_texts(splits: Mapping[str, Split], language: str) -> tuple[str, ...]:
  """Return the captions of each example in a language, by sorted key.

  Examples without a caption in the language are left out.
  """
  pairs = (pair for split in splits.values() for pair in split.texts())
  code = languages_lib.normalised(language)
  named = ((key, texts.get(code, ())) for key, texts in pairs)
  # The sort is stable: equal keys keep the order of the splits.
  ordered = sorted(named, key=operator.itemgetter(0))
  return tuple(text for _, texts in ordered for text in texts)


def _texts(record: record_lib.Record) -> Mapping[str, Sequence[str]]:
  """Return the texts that are not blank, by normalised language."""
  kept: dict[str, tuple[str, ...]] = {}
  for language, texts in record.texts.items():
    code = languages_lib.normalised(language)
    whole = tuple(text for text in texts if not captions.is_blank(text))
    if whole:
      kept[code] = kept.get(code, ()) + whole
  return kept


def _stack(images: tuple) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
  if isinstance(images[0], tuple):
    patches, shapes = zip(*images, strict=True)
    return np.stack(patches), np.stack(shapes)
  return np.stack(images)
