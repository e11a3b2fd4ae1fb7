"""Splits that a fused model is evaluated on: the sections `data.tests`.

A split is read in its order, without chance. Its kind is that of its fields:
RETRIEVAL of captions, CHOICES with options, ANSWERS with questions.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any

import numpy as np

from input_pipeline import (
  captions,
  evaluation_split,
  faults,
  pipeline,
)
from input_pipeline import languages as languages_lib
from input_pipeline.asking import asked
from input_pipeline.images import image_ops, image_protocols
from input_pipeline.selecting import holdout, subset
from input_pipeline.sources import image_ids
from input_pipeline.sources import record as record_lib
from input_pipeline.videos import clips, sampling

RETRIEVAL, CHOICES, ANSWERS = ("retrieval", "choices", "answers")
# Field of the config with the sections of the splits.
SECTION = "data.tests"


@dataclasses.dataclass(frozen=True)
class Decoder:
  """Decoder of images, or of videos with as many clips as an evaluation has.

  Attributes:
    video: section of the clips, whose start is "uniform"; off for images.
    protocol: steps that each image or frame is resized and cropped by.
  """

  video: sampling.VideoConfig
  protocol: image_protocols.Protocol

  @property
  def shape(self) -> tuple[int, ...]:
    """Shape of a result: [P, T, Y, X, 3]."""
    video, size = self.video, self.protocol.size
    frames = (video.clips, video.frames) if video.is_on else (1, 1)
    return (*frames, size, size, 3)

  def __call__(self, record: record_lib.Record) -> np.ndarray:
    """Return uint8 [P, T, Y, X, 3]; raises faults.ExampleError."""
    with faults.located(record.origin or record.key):
      if self.video.is_on:
        return clips.at_inference(record.image, self.video, self.protocol)
      pixels = image_ops.decode(record.image)
      return self.protocol.apply(pixels)[None, None]


@dataclasses.dataclass(frozen=True)
class Split:
  """Opened split; nothing is decoded yet.

  Attributes:
    kind: RETRIEVAL, CHOICES or ANSWERS.
    field: field of the config that has its section, for messages.
    languages: data.languages, in which captions are read.
  """

  kind: str
  field: str
  records: Any
  decoder: Decoder
  num_threads: int
  languages: tuple[str, ...]

  def __len__(self) -> int:
    return len(self.records)

  def fingerprint(self) -> str:
    """Return hex digits that identify the examples, without reading them."""
    return self.records.fingerprint()


def open_test(
  data: pipeline.DataConfig,
  name: str,
  *,
  protocol: image_protocols.Protocol,
  num_clips: int = 0,
) -> Split:
  """Open a split.

  Args:
    data: section `data`, checked.
    name: name of the split in data.tests.
    protocol: image protocol, of data.image_size.
    num_clips: clips of a video; 0 for data.video.clips. Not read for images.

  Raises:
    ValueError: a field of the section cannot be used, or it has no example.
    OSError, ModuleNotFoundError: as the source's format raises them.
  """
  context = data.context(name, SECTION)
  source = dataclasses.replace(data.tests[name], is_video=data.video.is_on)
  evaluation_split.check_source(source, context.field)
  records = asked.open_split(source, source.split, context)
  if source.subset:
    records = subset.select(records, source, context)
  if not len(records):
    raise ValueError(f"{context.field} has no examples")
  fields = {field for field, _ in source.question_fields}
  kind = RETRIEVAL
  if fields:
    kind = CHOICES if asked.OPTIONS in fields else ANSWERS
    if not fields & {asked.ANSWER, asked.ANSWERS}:
      raise ValueError(
        f"{context.field}.question_fields must name answer, or answers of"
        f" humans, to be judged by; got {sorted(fields)}"
      )
  video = data.video
  if video.is_on:
    video = video.at_inference(num_clips or video.clips)
  decoder = Decoder(video, protocol)
  return Split(
    *(kind, context.field, records, decoder, data.num_threads),
    data.languages,
  )


class Videos:
  """Images or videos of a RETRIEVAL split, each once, and all their texts.

  Attributes:
    keys: key of each image or video, N in all.
    texts: captions, M in all, each of one image or video.
    owners: int32 [M], image or video of each text.
    broken: position -> fault of those that `images` could not decode; their
      scores are to be left out.
    left_out: faults of those that were left out when the split was opened.
  """

  def __init__(self, split: Split):
    """Read all records, without decoding.

    Raises:
      ValueError: none of them can be used.
    """
    self._split = split
    self.broken: dict[int, faults.ExampleError] = {}
    self.left_out: list[faults.ExampleError] = []
    self._records, rows = self._by_image()
    self._rows: list[int] = []
    keys: list[str] = []
    texts: list[str] = []
    owners: list[int] = []
    for row in rows:
      try:
        record = self._records[row]
        own = _captions(record, split.languages)
      except faults.ExampleError as error:
        self.left_out.append(error)
        continue
      owners += [len(keys)] * len(own)
      texts += own
      keys.append(record.key)
      self._rows.append(row)
    if not keys:
      raise ValueError(
        f"{split.field}: none of {len(split)} examples can be used; the first:"
        f" {self.left_out[0].kind}: {self.left_out[0]}"
      )
    self.keys, self.texts = tuple(keys), tuple(texts)
    self.owners = np.array(owners, np.int32)

  def __len__(self) -> int:
    return len(self.keys)

  def images(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return uint8 [b, P, T, Y, X, 3]; zeros, and a fault, of broken ones."""
    decoder = self._split.decoder
    images = np.zeros((len(indices), *decoder.shape), np.uint8)

    def decode(place: int) -> None:
      index = int(indices[place])
      try:
        images[place] = decoder(self._records[self._rows[index]])
      except faults.ExampleError as error:
        self.broken[index] = error

    with futures.ThreadPoolExecutor(max(1, self._split.num_threads)) as pool:
      list(pool.map(decode, range(len(indices))))
    return images

  def _by_image(self) -> tuple[Any, range]:
    """Return records with an example for each image, and their positions."""
    records = self._split.records
    names, rows = [], []
    for row in range(len(records)):
      try:
        names.append(records.image_id(row))
        rows.append(row)
      except faults.ExampleError as error:
        self.left_out.append(error)
    ids = np.array(names, image_ids.DTYPE)
    if len({*names}) == len(names):
      # Read one by one: `Images` would hold the same.
      return _At(records, rows), range(len(rows))
    images = holdout.Images(records, np.array(rows), ids)
    return images, range(len(images))


@dataclasses.dataclass(frozen=True)
class _At:
  """Records at some positions."""

  records: Any
  rows: Sequence[int]

  def __getitem__(self, index: int) -> record_lib.Record:
    return self.records[self.rows[index]]


@dataclasses.dataclass(frozen=True)
class Questions:
  """Consecutive questions of a split.

  Attributes:
    keys: key of each, at most B.
    questions: questions, with texts, options and answers as they are written.
    groups: name of the image or video of each, by which intervals are taken.
    images: uint8 [B, P, T, Y, X, 3]; a last batch repeats its last one.
  """

  keys: tuple[str, ...]
  questions: tuple[asked.Question, ...]
  groups: tuple[bytes, ...]
  images: np.ndarray

  def __len__(self) -> int:
    return len(self.keys)


def question_batches(
  split: Split, size: int, left_out: list[faults.ExampleError]
) -> Iterator[Questions]:
  """Yield the questions of a CHOICES or ANSWERS split once, in order.

  An image or video is decoded once for all questions about it that follow each
  other.

  Args:
    split: split with questions.
    size: B, questions of a batch.
    left_out: receives the faults of questions that cannot be used.
  """
  waiting: list[tuple[str, asked.Question, bytes, np.ndarray]] = []
  last: dict[bytes, Any] = {}
  with futures.ThreadPoolExecutor(max(1, split.num_threads)) as pool:
    for start in range(0, len(split), size):
      rows = range(start, min(start + size, len(split)))
      read = [*pool.map(functools.partial(_read, split), rows)]
      decoded: dict[bytes, Any] = {}
      for one in read:
        if isinstance(one, faults.ExampleError):
          continue
        record, _, name = one
        if name not in decoded:
          decoded[name] = last.get(name) or pool.submit(split.decoder, record)
      last = decoded
      for one in read:
        if isinstance(one, faults.ExampleError):
          left_out.append(one)
          continue
        record, question, name = one
        try:
          pixels = decoded[name].result()
        except faults.ExampleError as error:
          left_out.append(error)
          continue
        waiting.append((record.key, question, name, pixels))
      while len(waiting) >= size:
        yield _batch(waiting[:size], size)
        waiting = waiting[size:]
  if waiting:
    yield _batch(waiting, size)


def _read(
  split: Split, row: int
) -> tuple[record_lib.Record, asked.Question, bytes] | faults.ExampleError:
  try:
    record = split.records[row]
    with faults.located(record.origin or record.key):
      question = asked.question_of(record.fields)
      if not question.answer and not question.answers:
        raise faults.ExampleError("record_broken", "there is no answer")
      if split.kind == CHOICES and question.right < 0:
        raise faults.ExampleError("record_broken", "there are no options")
  except faults.ExampleError as error:
    return error
  return record, question, record.image_id()


def _batch(
  waiting: Sequence[tuple[str, asked.Question, bytes, np.ndarray]], size: int
) -> Questions:
  keys, questions, groups, images = zip(*waiting, strict=True)
  filled = [*images] + [images[-1]] * (size - len(images))
  return Questions(keys, questions, groups, np.stack(filled))


def _captions(
  record: record_lib.Record, languages: Sequence[str]
) -> tuple[str, ...]:
  """Return captions in the first language that has some.

  Raises faults.ExampleError where there is none.
  """
  texts: Mapping[str, Sequence[str]] = record.texts
  for language in languages:
    own = languages_lib.texts_in(texts, language)
    if found := tuple(text for text in own if not captions.is_blank(text)):
      return found
  raise faults.ExampleError(
    "caption_missing",
    f"{record.key} has no caption in data.languages={tuple(languages)}; it has"
    f" {[*texts]}",
  )
