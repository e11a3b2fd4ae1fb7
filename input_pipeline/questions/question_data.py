"""Data of a model that answers questions: splits as arrays, and batches.

Without `legacy_protocol`, nothing of the test split is known in training: words
and answers are those of the training split, and the best epoch is chosen on a
validation split. With it they are those of both splits, and the best epoch is
the best on the test split, as in the released code of MEVF and QCR, whose
figures are comparable to no other way.
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import grain
import numpy as np
from PIL import Image

from input_pipeline import examples as examples_lib
from input_pipeline import faults, ledger, loader
from input_pipeline.images import image_ops, image_protocols
from input_pipeline.questions import layouts, vocabulary, word_vectors
from models.vqa import answering
from runtime import checks, marks

# Name of the data in messages, and in the record of what a run has read.
SOURCE = "questions"
_REDUCTIONS = ("sum", "mean")
# Parts that a run of --task=vqa may train.
ANSWERS, AUTOENCODER, ROUTER = PARTS = ("answers", "autoencoder", "router")


@dataclasses.dataclass(frozen=True)
class VqaConfig:
  """Fields of `config.vqa`; configs/base.py explains them."""

  trains: marks.Fixed[str] = ANSWERS
  layout: marks.Fixed[str] = ""
  path: marks.Free[str] = ""
  legacy_protocol: marks.Fixed[bool] = False
  validation_share: marks.Fixed[float] = 0.1
  glove_path: marks.Fixed[str] = ""
  num_tokens: marks.Fixed[int] = 12
  num_epochs: marks.Free[int] = 20
  epoch_factors: marks.Fixed[tuple[tuple[int, float], ...]] = ()
  answer_reduction: marks.Fixed[str] = "sum"
  reconstruction_weight: marks.Fixed[float] = 0.001
  noise_sigma: marks.Fixed[float] = 0.1
  autoencoder_from: marks.Fixed[str] = ""
  router_from: marks.Fixed[str] = ""
  model: answering.AnsweringConfig = answering.AnsweringConfig()

  @property
  def is_on(self) -> bool:
    """Whether the run is one of --task=vqa."""
    return bool(self.layout) or self.trains != ANSWERS

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError where a field's value cannot be used."""
    if not self.is_on:
      return
    checks.one_of("vqa.trains", self.trains, PARTS)
    if self.trains != ANSWERS:
      for field in ("autoencoder_from", "router_from"):
        if path := getattr(self, field):
          checks.refuse(
            f'vqa.{field} must be "" with vqa.trains="{self.trains}"; got'
            f" {path!r}"
          )
    if self.trains == AUTOENCODER:
      checks.above("vqa.noise_sigma", self.noise_sigma, 0)
      self.model.check()
      return
    uses_router = self.trains == ROUTER or self.router_from
    if uses_router and self.model.kind in answering.HEADS:
      self._check_is_routed()
    checks.one_of("vqa.layout", self.layout, layouts.LAYOUTS)
    checks.one_of("vqa.answer_reduction", self.answer_reduction, _REDUCTIONS)
    checks.in_range("vqa.validation_share", self.validation_share, 0, 1)
    checks.at_least("vqa.reconstruction_weight", self.reconstruction_weight, 0)
    for field in ("num_tokens", "num_epochs"):
      checks.at_least(f"vqa.{field}", getattr(self, field), 1)
    self.model.check()

  def _check_is_routed(self) -> None:
    if len(self.model.heads) < 2:
      reason = (
        f'vqa.trains="{ROUTER}"'
        if self.trains == ROUTER
        else f"vqa.router_from={self.router_from!r}"
      )
      checks.refuse(
        f'vqa.model.kind must be "qcr", which has a router, with {reason}; got'
        f" {self.model.kind!r}"
      )

  @checks.collected()
  def check_paths(self) -> None:
    """Raise ValueError for a folder or file that is not there."""
    for field, is_there in (
      ("path", pathlib.Path.is_dir),
      ("glove_path", pathlib.Path.is_file),
    ):
      path = getattr(self, field)
      if field == "glove_path" and not path:
        continue
      if not path or not is_there(pathlib.Path(path)):
        kind = "folder" if field == "path" else "file"
        checks.refuse(f"vqa.{field} must be a {kind} on disk; got {path!r}")


@dataclasses.dataclass(frozen=True)
class Split:
  """Questions as arrays.

  Attributes:
    questions: in order.
    image_N: int32 index of each question's image in Data's arrays.
    tokens_NL: int32 words.
    head_N: int32 head that has the answer.
    label_N: int32 index of the answer there; -1 where the head lacks it.
    type_N: int32 type of the question, 0 closed and 1 open.
  """

  questions: tuple[layouts.Question, ...]
  image_N: np.ndarray
  tokens_NL: np.ndarray
  head_N: np.ndarray
  label_N: np.ndarray
  type_N: np.ndarray

  def __len__(self) -> int:
    return len(self.questions)

  @property
  def num_outside(self) -> int:
    """Number of questions with an answer that the vocabulary lacks."""
    return int((self.label_N < 0).sum())


@dataclasses.dataclass(frozen=True)
class Data:
  """All that a run reads.

  Attributes:
    splits: "train", "validation" (none with legacy_protocol), "test".
    words: words of the vocabulary.
    answers: answers of the heads.
    vectors_TVW: float32 [2, V, W], vectors that words begin with, and their
      TF-IDF means.
    images_KYXC: uint8 images of all splits, for the image tower; None where
      they were not read.
    grey_KYX: uint8, for the autoencoder; None with images_KYXC.
    notes: lines about the data.
  """

  splits: Mapping[str, Split]
  words: vocabulary.Words
  answers: vocabulary.Answers
  vectors_TVW: np.ndarray
  images_KYXC: np.ndarray | None
  grey_KYX: np.ndarray | None
  notes: tuple[str, ...]

  @property
  def selection(self) -> str:
    """Split that the best epoch is chosen on."""
    return "validation" if "validation" in self.splits else "test"

  @property
  def num_answers(self) -> dict[str, int]:
    """Number of answers of each head."""
    return {head: len(listed) for head, listed in self.answers.heads.items()}

  def arrays(self, split: str, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return the batch of some rows of a split, by name."""
    part = self.splits[split]
    arrays = {
      "tokens": part.tokens_NL[rows],
      "heads": part.head_N[rows],
      "labels": part.label_N[rows],
      "types": part.type_N[rows],
    }
    if self.images_KYXC is not None and self.grey_KYX is not None:
      image_b = part.image_N[rows]
      arrays["images"] = self.images_KYXC[image_b]
      arrays["grey"] = self.grey_KYX[image_b]
    return arrays

  def digest(self) -> str:
    """Return a digest of the splits' questions."""
    text = repr({name: s.questions for name, s in self.splits.items()})
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def read(
  config: VqaConfig, protocol: image_protocols.Protocol | None, seed: int
) -> Data:
  """Read a set whole.

  Args:
    config: checked.
    protocol: image protocol of the image tower; None reads no image.
    seed: seed of the vectors, where no file has them.

  Raises:
    ValueError: questions or images that cannot be used; the message names them.
  """
  folder = pathlib.Path(config.path)
  questions = layouts.read(folder, config.layout)
  questions = _split(questions, config)
  known = [*questions["train"]]
  if config.legacy_protocol:
    known += questions["test"]
  words = vocabulary.make_words(known)
  answers = vocabulary.make_answers(known, config.model.heads)
  names = sorted({q.image for part in questions.values() for q in part})
  images_KYXC = grey_KYX = None
  if protocol is not None:
    load = functools.partial(_load, folder, config, protocol)
    pixels, greys = zip(*map(load, names), strict=True)
    images_KYXC, grey_KYX = np.stack(pixels), np.stack(greys)
  numbers = {name: index for index, name in enumerate(names)}
  splits = {}
  for name, part in questions.items():
    head_N, label_N = answers.labels(part)
    splits[name] = Split(
      tuple(part),
      np.array([numbers[q.image] for q in part], np.int32),
      words.tokens([q.text for q in part], config.num_tokens),
      head_N,
      label_N,
      np.array([q.type for q in part], np.int32),
    )
  vectors_TVW, note = _vectors(config, words, known, seed)
  return Data(
    splits,
    words,
    answers,
    vectors_TVW,
    images_KYXC,
    grey_KYX,
    (*_notes(splits, words, answers, config), note),
  )


def make_loader(
  data: Data, *, batch_size: int, seed: int, folder: pathlib.Path | None
) -> loader.Loader:
  """Return endless batches of the training split, in a new order each epoch.

  Args:
    data: what is read.
    batch_size: questions of a batch, at most those of the split.
    seed: seed of the order.
    folder: folder of the run, for the record of its data; None writes none.
  """
  size = len(data.splits["train"])
  if batch_size > size:
    raise ValueError(
      f"batch_size must be at most the {size} questions of training; got"
      f" {batch_size}"
    )

  def batch_of(rows: Sequence[int]) -> dict[str, Any]:
    arrays: dict[str, Any] = data.arrays("train", np.asarray(rows))
    no_faults: list[faults.Fault] = []
    return arrays | {examples_lib.FAULTS: no_faults}

  dataset = (
    grain.MapDataset.source(range(size))
    .seed(seed)
    .shuffle()
    .repeat()
    .batch(batch_size, drop_remainder=True, batch_fn=batch_of)
    .to_iter_dataset()
  )
  return loader.Loader(
    dataset,
    ledger=ledger.Ledger(folder, batch_size=batch_size, process_index=0),
    max_bad_fraction=0.0,
    facts={SOURCE: ledger.Facts(size, data.digest())},
  )


def _split(
  questions: dict[str, list[layouts.Question]], config: VqaConfig
) -> dict[str, list[layouts.Question]]:
  """Return the splits that a run uses, validation held out by image."""
  if config.legacy_protocol:
    return {name: questions[name] for name in ("train", "test")}
  if "validation" in questions:
    return questions
  parts: dict[str, list[layouts.Question]] = {"train": [], "validation": []}
  for question in questions["train"]:
    is_held_out = _is_held_out(question, config.validation_share)
    parts["validation" if is_held_out else "train"].append(question)
  sizes = {name: len(part) for name, part in parts.items()}
  if not all(sizes.values()):
    raise ValueError(
      f"vqa.validation_share={config.validation_share} must leave questions for"
      f" training and for validation; got {sizes}"
    )
  return parts | {"test": questions["test"]}


def _is_held_out(question: layouts.Question, share: float) -> bool:
  """Return whether the image's hash, as a number in [0, 1), is below share."""
  digest = hashlib.blake2b(question.image.encode(), digest_size=8).digest()
  return int.from_bytes(digest) / 2**64 < share


def _load(
  folder: pathlib.Path,
  config: VqaConfig,
  protocol: image_protocols.Protocol,
  name: str,
) -> tuple[np.ndarray, np.ndarray]:
  """Return an image for the tower and, in grey, for the autoencoder."""
  path = layouts.image_path(folder, config.layout, name)
  try:
    image = image_ops.decode(path.read_bytes())
  except faults.ExampleError as error:
    raise ValueError(f"{path}: {error.kind}: {error}") from error
  side = config.model.autoencoder_size
  grey = Image.fromarray(image).convert("L").resize((side, side))
  return protocol.apply(image), np.asarray(grey)


def _vectors(
  config: VqaConfig,
  words: vocabulary.Words,
  questions: Sequence[layouts.Question],
  seed: int,
) -> tuple[np.ndarray, str]:
  width, listed = config.model.word_width, words.listed
  if config.glove_path:
    vectors_VW, found = word_vectors.read_glove(
      config.glove_path, listed, width
    )
    note = f"{config.glove_path} has {found} of {len(listed)} words"
  else:
    draw = np.random.default_rng(seed).standard_normal
    vectors_VW = draw((len(listed), width), np.float32)
    note = 'vqa.glove_path="": vectors of words are drawn from the seed'
  means_VW = word_vectors.tf_idf_means(
    vectors_VW, [q.text for q in questions], listed
  )
  return np.stack([vectors_VW, means_VW]), note


def _notes(
  splits: Mapping[str, Split],
  words: vocabulary.Words,
  answers: vocabulary.Answers,
  config: VqaConfig,
) -> list[str]:
  sizes = ", ".join(f"{len(part):,} {name}" for name, part in splits.items())
  counts = ", ".join(f"{len(x)} {head}" for head, x in answers.heads.items())
  notes = [f"Questions: {sizes}; {len(words.listed)} words; answers: {counts}"]
  for name, part in splits.items():
    unknown = words.num_unknown(q.text for q in part.questions)
    if config.trains == ROUTER:  # it sees no answer
      notes += [f"Split {name}: {unknown} words are unknown"] * bool(unknown)
    elif part.num_outside or unknown:
      notes.append(
        f"Split {name}: {part.num_outside} of {len(part)} answers are outside"
        f" of the vocabulary and count as wrong; {unknown} words are unknown"
      )
  if config.legacy_protocol:
    notes.append(
      "vqa.legacy_protocol: words and answers are those of training and test,"
      " and the best epoch is chosen on the test split; its figures are no"
      " estimate for new questions"
    )
  return notes
