"""From a source to batches: the whole chain is in `make_train_dataset`."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import grain
import numpy as np

import input_pipeline
from input_pipeline import captions, image_ops, tokenizers
from input_pipeline.sources import array_record, prepared


@dataclasses.dataclass(frozen=True)
class Data:
  """The section `data` of a config; its fields are explained in base.py."""

  source: str
  cache_dir: str
  languages: tuple[str, ...]
  image_size: int
  num_tokens: int
  tokenizer: str
  tokenizer_path: str
  vocab_size: int
  crop_scale: tuple[float, float]
  flip_probability: float
  num_threads: int
  num_prefetch_batches: int

  def check(self) -> None:
    """Raise ValueError for the first field that cannot be worked with."""
    _check_choice("source", self.source, input_pipeline.SOURCES)
    _check_choice("tokenizer", self.tokenizer, tokenizers.TOKENIZERS)
    if self.tokenizer_path and self.tokenizer in tokenizers.WITHOUT_FILE:
      raise ValueError(
        f'data.tokenizer_path must be "" for data.tokenizer='
        f'"{self.tokenizer}", which reads no file; got {self.tokenizer_path!r}'
      )
    known = input_pipeline.SOURCES[self.source].LANGUAGES
    if known is not None:
      _check_languages(self.languages, known)
    if len(self.crop_scale) != 2 or not (
      0 < self.crop_scale[0] <= self.crop_scale[1] < math.inf
    ):
      raise ValueError(
        "data.crop_scale must be (low, high) with 0 < low <= high, got "
        f"{self.crop_scale}"
      )
    if not 0 <= self.flip_probability <= 1:
      raise ValueError(
        "data.flip_probability must be between 0 and 1, got "
        f"{self.flip_probability}"
      )
    for name, lowest in (
      ("image_size", 1),
      ("num_tokens", 2),  # one token and the end of text
      ("num_threads", 0),
      ("num_prefetch_batches", 0),
    ):
      if getattr(self, name) < lowest:
        raise ValueError(
          f"data.{name} must be at least {lowest}, got {getattr(self, name)}"
        )


@dataclasses.dataclass(frozen=True)
class Examples:
  """A split in memory, in the order of the source, without augmentation.

  `images` is uint8 [N, Y, X, 3]; `keys` and each of `texts` have length N.
  """

  keys: tuple[str, ...]
  texts: dict[str, tuple[str, ...]]
  images: np.ndarray


def make_train_dataset(
  config: Data,
  *,
  batch_size: int,
  seed: int,
  rows: Sequence[int] | None = None,
  with_labels: bool = False,
) -> grain.IterDataset:
  """Return the endless training data of one of several processes.

  Yields {"images": uint8 [b, Y, X, 3], "tokens": int32 [b, L]}: those rows of
  each global batch that the process needs, all of them by default. The global
  batch of a step (which examples, captions and crops, in which rows) depends
  on `seed` alone, not on the number of processes or threads. Nor does an
  iterator's position: it is the same on all processes. With labels there is
  "labels" too, int32 [b], equal where captions are equal.
  """
  rows = range(batch_size) if rows is None else rows
  if not len(rows) or not 0 <= min(rows) <= max(rows) < batch_size:
    raise ValueError(f"rows must be of 0 to {batch_size - 1}; got {rows}")
  folder = prepare(config)
  source = array_record.Records(folder / "train.array_record")
  if not len(source):
    raise ValueError(f"no training examples in {folder}")
  tokenizer = make_tokenizer(config)

  def make_example(
    record: array_record.Record, rng: np.random.Generator
  ) -> dict[str, np.ndarray]:
    try:
      text = captions.choose(record.texts, config.languages, rng)
      image = image_ops.decode(record.image)
    except ValueError as error:
      raise ValueError(f"example {record.key}: {error}") from error
    image = image_ops.random_crop(
      image, rng, size=config.image_size, scale=config.crop_scale
    )
    image = image_ops.random_flip(
      image, rng, probability=config.flip_probability
    )
    example = {"images": image, "tokens": tokenizer([text])[0]}
    if with_labels:
      example["labels"] = captions.label(text)
    return example

  # Everything up to to_iter_dataset is lazy: an element is computed when its
  # index is asked for, so the examples of other processes cost nothing.
  stream = (
    grain.MapDataset.source(source)
    .seed(seed)
    .shuffle()  # a new order each epoch
    .repeat()
    .random_map(make_example)  # rng from the seed and the place in the stream
  )
  return (
    grain.MapDataset.source(_Share(stream, batch_size, tuple(rows)))
    .batch(len(rows), drop_remainder=True)
    .to_iter_dataset(
      grain.ReadOptions(
        num_threads=config.num_threads,
        prefetch_buffer_size=config.num_prefetch_batches,
      )
    )
  )


@dataclasses.dataclass(frozen=True)
class _Share:
  """Those examples of a stream that are in some rows of the global batches."""

  stream: grain.MapDataset
  batch_size: int
  rows: tuple[int, ...]

  def __len__(self) -> int:
    return len(self.stream) // self.batch_size * len(self.rows)

  def __getitem__(self, index: int) -> Any:
    batch, place = divmod(index, len(self.rows))
    return self.stream[batch * self.batch_size + self.rows[place]]


def prepare(config: Data) -> pathlib.Path:
  """Return the folder of prepared data, made now if it is not there.

  Raises ValueError for a config that does not fit it, OSError for a folder
  that cannot be written, ModuleNotFoundError for a missing package.
  """
  config.check()
  folder = input_pipeline.SOURCES[config.source].prepare(
    pathlib.Path(config.cache_dir), config.image_size
  )
  manifest = prepared.read_manifest(folder, check_digests=False)
  _check_languages(config.languages, manifest.languages)
  return folder


def splits(config: Data) -> tuple[str, ...]:
  """Return the names of all splits, the one that is only left out too."""
  manifest = prepared.read_manifest(prepare(config), check_digests=False)
  return tuple(manifest.splits)


def read_split(config: Data, split: str) -> Examples:
  """Return a whole split, images decoded and resized to image_size."""
  records = _read_records(config, split)
  images = [
    image_ops.resize(image_ops.decode(record.image), config.image_size)
    for record in records
  ]
  size = config.image_size
  return Examples(
    keys=tuple(record.key for record in records),
    texts=_texts(records),
    images=np.stack(images) if images else np.zeros((0, size, size, 3), "u1"),
  )


def all_texts(config: Data) -> dict[str, tuple[str, ...]]:
  """Return every name there is, of all splits and what is in none of them.

  Language -> names, in the order of `all_keys`.
  """
  return _texts(_read_all_records(config))


def all_keys(config: Data) -> tuple[str, ...]:
  """Return the keys that belong to `all_texts`."""
  return tuple(record.key for record in _read_all_records(config))


def make_tokenizer(config: Data) -> tokenizers.Tokenizer:
  """Return the tokenizer, trained on the captions of `train` if need be.

  `vocab_size` of it is at most config.vocab_size. Raises FileNotFoundError or
  ValueError where config.tokenizer_path is not what the tokenizer reads.
  """
  # Only what is trained here needs the data; a file can be missing at once.
  trains = config.tokenizer in tokenizers.WITHOUT_FILE
  folder = prepare(config) if trains else pathlib.Path(config.cache_dir)

  def texts() -> list[str]:
    # In a fixed order, so that a tie between merges falls the same way.
    return [
      record.texts[language]
      for record in _read_records(config, "train")
      for language in sorted(config.languages)
      if language in record.texts
    ]

  return tokenizers.TOKENIZERS[config.tokenizer](
    texts,
    folder / "tokenizers",
    languages=config.languages,
    vocab_size=config.vocab_size,
    num_tokens=config.num_tokens,
    path=config.tokenizer_path,
  )


def _read_records(config: Data, split: str) -> list[array_record.Record]:
  names = splits(config)
  if split not in names:
    raise ValueError(f"the data has the splits {list(names)}, not {split!r}")
  folder = prepare(config)
  return list(array_record.Records(folder / f"{split}.array_record"))


def _read_all_records(config: Data) -> list[array_record.Record]:
  records = [
    record
    for split in splits(config)
    for record in _read_records(config, split)
  ]
  return sorted(records, key=lambda record: record.key)


def _texts(
  records: list[array_record.Record],
) -> dict[str, tuple[str, ...]]:
  languages = sorted({lang for record in records for lang in record.texts})
  return {
    language: tuple(record.texts.get(language, "") for record in records)
    for language in languages
  }


def _check_choice(name: str, got: str, known: Mapping[str, object]) -> None:
  if got not in known:
    raise ValueError(f"data.{name} must be one of {list(known)}, got {got!r}")


def _check_languages(got: tuple[str, ...], known: tuple[str, ...]) -> None:
  if not got or len(set(got)) != len(got) or not set(got) <= set(known):
    raise ValueError(
      f"data.languages must be some of {list(known)}, each once; got "
      f"{got if isinstance(got, str) else list(got)!r}"
    )
