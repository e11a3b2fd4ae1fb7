"""Arrays of the example at a position of the stream; bad ones are replaced.

The arrays depend only on the seed, the position and the attempt: neither on the
process or thread that makes them, nor on earlier examples. This module imports
neither Grain nor JAX, so worker processes (workers.py) do without them.
"""

import dataclasses
import hashlib
import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from input_pipeline import captions, faults, mixture, tokenizers
from input_pipeline import clocks as clocks_lib
from input_pipeline.asking import asked
from input_pipeline.asking import rows as rows_lib
from input_pipeline.grammars import filled
from input_pipeline.images import augmentation
from input_pipeline.images import views as views_lib
from input_pipeline.regions import region_rows
from input_pipeline.selecting import balanced
from input_pipeline.sources import record as record_lib
from input_pipeline.videos import clips, sampling

# Address of an object in a library's message, different in each process.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
# Key of a batch under which its faults travel; everything else is an array.
FAULTS = "faults"
# Examples that are tried for one position. If 9 of 10 are bad, all 200 are bad
# for one position of 10**9.
MAX_ATTEMPTS = 200


@dataclasses.dataclass(frozen=True)
class Source:
  """An opened source, and the templates or grammars of its captions.

  Attributes:
    short_templates: templates that texts of at most `short_words` words are
      wrapped in.
    is_asked: whether its records have questions.
  """

  name: str
  records: record_lib.Records
  templates: tuple[str, ...]
  grammars: filled.Texts | None = None
  short_templates: tuple[str, ...] = ()
  short_words: int = 0
  is_asked: bool = False

  def draw(
    self, seed: int, slot: tuple[int, int], index: int
  ) -> tuple[int, int | None]:
    """Return an example's index, and its caption's number (None for any).

    The index is the one that is due, unless the source is balanced.

    Args:
      seed: seed of the run's examples.
      slot: position in the stream, and attempt.
      index: index of the example that is due.
    """
    if isinstance(self.records, balanced.Records):
      return self.records.draw(seed, *slot, index)
    return index, None


@dataclasses.dataclass(frozen=True)
class Maker:
  """Maker of examples; can be pickled.

  Attributes:
    seed: seed of `rng`.
    repeated: (position, attempt) -> fault of the run before it was resumed,
      raised again, so that the resumed run sees the same examples.
    classes: names whose numbers are the labels; () for hashes of captions.
    batch_size: rows of a global batch, whose positions follow each other.
    cut_captions: whether a caption of too many tokens is cut, or a fault.
    leave_out: provenances of texts that are not trained on: an example without
      another text is replaced as a bad one is, without a fault.
    clocks: clocks of an example's stages; their seconds travel with it.
    video: section of the clips, where examples are videos.
    fused: rows of a fused model; None for pairs of a dual encoder.
    regions: rows of a decoder beside the pairs; None without data.regions.
    views: section of further views of each image.
  """

  sources: tuple[Source, ...]
  languages: tuple[str, ...]
  max_caption_chars: int
  image_size: int
  augmentation: augmentation.Augmentation
  tokenizer: tokenizers.Tokenizer
  with_labels: bool
  seed: int
  repeated: Mapping[tuple[int, int], faults.Fault]
  classes: tuple[str, ...] = ()
  batch_size: int = 1
  with_metadata: bool = False
  cut_captions: bool = True
  leave_out: tuple[str, ...] = ()
  clocks: clocks_lib.Clocks = clocks_lib.Clocks()
  video: sampling.VideoConfig = sampling.VideoConfig()
  fused: rows_lib.Rows | None = None
  regions: region_rows.Rows | None = None
  views: views_lib.ViewsConfig = views_lib.ViewsConfig()

  def __call__(self, draw: mixture.Draw) -> dict[str, Any]:
    """Return the arrays of one example, and the faults of those it replaces."""
    source, index = self.sources[draw.source], draw.index
    example_faults: list[faults.Fault] = []
    clock = self.clocks.start("")
    for attempt in range(MAX_ATTEMPTS):
      slot = (draw.position, attempt)
      if slot in self.repeated:
        example_faults.append(self.repeated[slot])
      else:
        key = ""
        try:
          index, number = source.draw(self.seed, slot, index)
          clock.enter("read", f"example {index} of {source.name}")
          record = source.records[index]
          key = record.key
          clock.enter("caption", f"example {key} of {source.name}")
          drawn = rng(self.seed, *slot)
          with faults.located(record.origin):
            if number is not None:
              texts = captions.only(record.texts, number)
              record = dataclasses.replace(record, texts=texts)
            step = draw.position // self.batch_size
            arrays = self._make(source, record, step, drawn, clock)
          clock.stop()
          if self.clocks.folder:
            arrays[clocks_lib.SECONDS] = clock.seconds()
          return arrays | {FAULTS: tuple(example_faults)}
        except faults.ExampleError as error:
          text = _ADDRESS.sub("", str(error))
          facts = (*slot, source.name, index, key, error.kind, text)
          example_faults.append(faults.Fault(*facts))
        except captions.LeftOut:
          pass
        except ValueError as error:
          name = key or f"{index} of data.sources.{source.name}"
          raise ValueError(f"example {name}: {error}") from error
      index = substitute(self.seed, *slot, len(source.records))
    if not example_faults:
      raise ValueError(
        f"data.sources.{source.name}: {MAX_ATTEMPTS} examples in a row have no"
        f" text but those of data.leave_out={self.leave_out!r}"
      )
    last = example_faults[-1]
    raise ValueError(
      f"data.sources.{source.name}: {MAX_ATTEMPTS} examples in a row cannot "
      f"be used; the last one ({last.key or last.index}) has "
      f"{last.kind}: {last.message}"
    )

  def _make(
    self,
    source: Source,
    record: record_lib.Record,
    step: int,
    rng: np.random.Generator,
    clock: clocks_lib.Clock,
  ) -> dict[str, Any]:
    if self.fused is not None and self.fused.is_asked:
      return self._make_asked(source, record, rng, clock)
    augment = self.augmentation.of_batch(self.seed, step)
    kind = ""
    if source.grammars:
      kind, language, text = filled.draw(
        *(source.grammars, record, rng),
        batch=(self.seed, step),
        max_chars=self.max_caption_chars,
      )
      named = text
    else:
      texts = record.texts
      if source.short_templates and captions.AUGMENTED in self.leave_out:
        texts = captions.without_short(
          texts, self.languages, source.short_words
        )
      language, text = captions.draw(
        texts,
        self.languages,
        rng,
        max_chars=self.max_caption_chars,
        templates=source.templates,
      )
      named = text
      if source.short_templates and captions.is_short(text, source.short_words):
        kind = captions.AUGMENTED
        text = captions.wrapped(text, source.short_templates, rng)
    if not self.cut_captions:
      self._check_length(text)
    clock.enter("image")
    example: dict[str, Any] = {}
    augmented = None
    if self.regions is None:
      example |= self._images(augment, record.image, rng)
    else:
      augmented = augment.apply_with_moves(record.image, self.image_size, rng)
      example |= augmented.arrays
    clock.enter("tokenize")
    example["tokens"] = self.tokenizer([text])[0]
    if self.regions is not None and augmented is not None:
      # Draws of regions come last: image and caption are those without them.
      example |= (
        self.regions.answered(
          asked.question_of(record.fields), with_metadata=self.with_metadata
        )
        if source.is_asked
        else self.regions.arrays(
          *(record.regions, augmented, text, rng),
          with_metadata=self.with_metadata,
        )
      )
    if self.with_labels:
      example["labels"] = (
        captions.class_of(text, self.classes)
        if self.classes
        # A prompt leaves the text's label as it is: those that share a text
        # match, whatever wraps it (UniCL, arXiv 2204.03610, section 3.1).
        else captions.label(named)
      )
    if self.fused is not None:
      example["groups"] = rows_lib.group(record.image_id())
    if self.with_metadata:
      example |= {"key": record.key, "source": source.name}
      example |= {"language": language, "caption": text, "grammar": kind}
    if self.views.is_on:
      # After all else, so that nothing else depends on it.
      clock.enter("image")
      example |= self.views.arrays(record.image, self.image_size, rng)
    return example

  def _make_asked(
    self,
    source: Source,
    record: record_lib.Record,
    rng: np.random.Generator,
    clock: clocks_lib.Clock,
  ) -> dict[str, Any]:
    """Return the arrays of a question about an image or a video."""
    assert self.fused is not None
    question = self.fused.question(asked.question_of(record.fields))
    captions.check({"": question.texts}, self.max_caption_chars)
    if not self.cut_captions:
      for text in question.texts:
        self._check_length(text)
    clock.enter("image")
    example: dict[str, Any] = self._images(self.augmentation, record.image, rng)
    clock.enter("tokenize")
    tokens_QL = np.asarray(self.tokenizer(list(question.texts)))
    example |= self.fused.arrays(question, tokens_QL)
    if self.with_metadata:
      (language,) = record.texts
      example |= {"key": record.key, "source": source.name}
      example |= {"language": language, "grammar": ""}
      example |= rows_lib.shown(question)
    return example

  def _images(
    self,
    augment: augmentation.Augmentation,
    data: bytes,
    rng: np.random.Generator,
  ) -> dict[str, np.ndarray]:
    """Return the arrays of an image, or of a video's clips."""
    if self.video.is_on:
      facts = self.video, self.augmentation, self.image_size
      return clips.arrays(data, *facts, rng)
    return augment.apply(data, self.image_size, rng)

  def _check_length(self, text: str) -> None:
    """Raise faults.ExampleError for a caption that would be cut."""
    number, most = self.tokenizer.num_ids(text), self.tokenizer.num_tokens
    if number > most:
      raise faults.ExampleError(
        "caption_too_long",
        f"the caption has {number} tokens; data.num_tokens={most}, and"
        f" data.cut_captions is False: {text[:60]!r}",
      )


def stack(examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Return a batch: arrays stacked, faults in one list."""
  start = time.monotonic()
  names = [name for name in examples[0] if name != FAULTS]
  batch: dict[str, Any] = {
    name: np.stack([example[name] for example in examples]) for name in names
  }
  batch[FAULTS] = faults_of(examples)
  if clocks_lib.SECONDS in batch:
    batch[clocks_lib.ASSEMBLED] = clocks_lib.assembled(start)
  return batch


def faults_of(examples: Sequence[Mapping[str, Any]]) -> list[faults.Fault]:
  """Return the faults of all examples, in order."""
  return [fault for example in examples for fault in example[FAULTS]]


def example_seed(seed: int) -> int:
  """Return the seed that Grain gives the third operation after `seed`.

  Examples were once drawn by grain.MapDataset.random_map in that position, and
  batches must stay the same.
  """
  return int(np.random.SeedSequence((seed, 3)).generate_state(1, np.uint32)[0])


_local = threading.local()


def rng(seed: int, position: int, attempt: int) -> np.random.Generator:
  """Return the generator of one position, valid until this thread's next call.

  For attempt 0 it draws the numbers of grain.MapDataset.random_map.
  """
  # Moving a Philox takes less time than making one.
  if getattr(_local, "seed", None) != seed:
    _local.rng = np.random.Generator(np.random.Philox(seed))
    _local.seed = seed
  state = _local.rng.bit_generator.state
  counter = np.array([0, attempt, 0, position], np.uint64)
  _local.rng.bit_generator.state = state | {
    "state": state["state"] | {"counter": counter},
    "buffer": np.zeros(4, np.uint64),
    "buffer_pos": 4,  # the buffer of 4 is used up
    "has_uint32": 0,
    "uinteger": 0,
  }
  return _local.rng


def substitute(seed: int, position: int, attempt: int, length: int) -> int:
  """Return the index of the example that is tried after this one failed."""
  facts = f"{seed}/{position}/{attempt}".encode()
  digest = hashlib.blake2b(facts, digest_size=16).digest()
  return int.from_bytes(digest, "little") % length
