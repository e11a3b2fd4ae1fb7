"""Targets of a decoder, one row of a batch: captions and boxes as ids.

A row is one of box_tokens.TASKS. Its ids, of which "given" ones are not
predicted:

  caption    task | text of the image, end
  referring  task, text of a region (given) | box, end
  grounded   task, box (given) | text of the region, end
  answer     task, question, task (given) | answer, end

Source: LocCa (arXiv 2403.19596), as SigLIP 2 has it (arXiv 2502.14786, section
2.2): a box is predicted for a region's caption, and a caption for a box. LocCa
itself predicts box and caption in its third task (`given_weight=1`). The task
is an id of its own, not the words of a prompt; the end behind a box and the
rule for long texts are ours. Answers to questions are those of LiT-decoder's
tasks (arXiv 2303.17376): the question is a prefix without loss; the task's id
behind it, where the answer begins, is ours.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from input_pipeline.regions import box_tokens
from runtime import checks, marks

CAPTION, REFERRING, GROUNDED = box_tokens.TASKS
ANSWER = box_tokens.ANSWER
# Tasks of a row: one that is drawn, or all of them, each with a row of its own.
DRAWN, ALL = DRAWS = ("drawn", "all")
# Rule for a box that cannot be used.
FAULT, SKIP = BROKEN = ("fault", "skip")
# Ids of a box and its end, beside one of text.
_FEWEST = box_tokens.NUM_SIDES + 2


@dataclasses.dataclass(frozen=True)
class RegionsConfig:
  """Fields of the section `data.regions`; configs/base.py explains them."""

  num_tokens: marks.Fixed[int] = 0
  tasks: marks.Fixed[str] = DRAWN
  probabilities: marks.Fixed[tuple[float, float, float]] = (1 / 3, 1 / 3, 1 / 3)
  given_weight: marks.Fixed[float] = 0.0
  num_bins: marks.Fixed[int] = 1000
  order: marks.Fixed[str] = "yxyx"
  least_visible: marks.Fixed[float] = 0.5
  broken: marks.Fixed[str] = FAULT
  answers: marks.Fixed[bool] = False

  @property
  def is_on(self) -> bool:
    """Whether batches have targets of a decoder."""
    return self.num_tokens > 0

  @property
  def needs_regions(self) -> bool:
    """Whether a target may be one of a region."""
    is_drawn = self.tasks == DRAWN
    return self.is_on and not (is_drawn and self.probabilities[0] == 1)

  @property
  def taught(self) -> tuple[str, ...]:
    """Tasks that a decoder learns, of Vocabulary.tasks; () where off."""
    if not self.is_on:
      return ()
    shares = zip(box_tokens.TASKS, self.probabilities, strict=True)
    own = tuple(task for task, x in shares if x or self.tasks == ALL)
    return (*own, ANSWER) if self.answers else own

  @property
  def has_one_task(self) -> bool:
    """Whether an example has one target, in arrays without an axis of tasks."""
    return self.tasks == DRAWN

  @property
  def row_shape(self) -> tuple[int, ...]:
    """Shape of the ids of an example: [L], or [tasks, L]."""
    rows = (len(box_tokens.TASKS),) if self.tasks == ALL else ()
    return (*rows, self.num_tokens)

  def shapes(self) -> dict[str, tuple[tuple[int, ...], type]]:
    """Return shape and dtype of each array of an example; {} where off."""
    if not self.is_on:
      return {}
    return {
      "decoder_tokens": (self.row_shape, np.int32),
      "decoder_targets": (self.row_shape, np.int32),
      "decoder_weights": (self.row_shape, np.float32),
      "decoder_tasks": (self.row_shape[:-1], np.int32),
    }

  def vocabulary(self, num_text: int) -> box_tokens.Vocabulary:
    """Return the ids behind `num_text` (data.vocab_size) ids of text."""
    return box_tokens.Vocabulary(
      num_text, self.num_bins, self.order, self.answers
    )

  def check(self) -> None:
    """Raise ValueError, naming the field, for a value that cannot be used."""
    checks.at_least("data.regions.num_tokens", self.num_tokens, 0)
    if not self.is_on:
      if self.answers:
        checks.refuse(
          "data.regions.answers must be False without a decoder's targets,"
          " data.regions.num_tokens=0; got True"
        )
      return
    if self.answers and self.tasks == ALL:
      checks.refuse(
        f"data.regions.tasks must be {DRAWN!r} with data.regions.answers, whose"
        f" rows have one task; got {self.tasks!r}"
      )
    checks.at_least("data.regions.num_tokens", self.num_tokens, _FEWEST)
    checks.one_of("data.regions.tasks", self.tasks, DRAWS)
    shares = self.probabilities
    if (
      len(shares) != len(box_tokens.TASKS)
      or not all(0 <= share <= 1 for share in shares)
      or not math.isclose(sum(shares), 1, abs_tol=1e-6)
    ):
      checks.refuse(
        "data.regions.probabilities must be three of 0 to 1 that sum to 1, of"
        f" {', '.join(box_tokens.TASKS)}; got {shares}, sum {sum(shares):g}"
      )
    if not 0 <= self.given_weight < math.inf:
      checks.refuse(
        "data.regions.given_weight must be finite and at least 0; got"
        f" {self.given_weight}"
      )
    checks.at_least("data.regions.num_bins", self.num_bins, 2)
    checks.one_of("data.regions.order", self.order, box_tokens.ORDERS)
    if not 0 < self.least_visible <= 1:
      checks.refuse(
        "data.regions.least_visible must be above 0 and at most 1; got"
        f" {self.least_visible}"
      )
    checks.one_of("data.regions.broken", self.broken, BROKEN)


@dataclasses.dataclass(frozen=True)
class Target:
  """Ids of one task.

  Attributes:
    tokens: int32 [L], ids that the decoder reads: the task, then the targets
      but the last.
    targets: int32 [L], ids that it predicts, each behind the token in its
      place.
    weights: float32 [L], weights of their losses: 1 for the predicted ones,
      `given_weight` for given ones, 0 for padding.
    num_cut: ids of text that were left out, as L has no place for them.
  """

  tokens: np.ndarray
  targets: np.ndarray
  weights: np.ndarray
  num_cut: int = 0


@dataclasses.dataclass(frozen=True)
class Writer:
  """Writer of targets; can be pickled.

  Attributes:
    vocabulary: ids.
    num_tokens: L, length of a row.
    end_id: id behind each target, the tokenizer's end of text.
    pad_id: id that fills a row up.
    given_weight: weight of given ids.
  """

  vocabulary: box_tokens.Vocabulary
  num_tokens: int
  end_id: int
  pad_id: int
  given_weight: float

  def write(
    self, task: str, text: Sequence[int], box_4: np.ndarray | None = None
  ) -> Target:
    """Return the target of a task.

    A text that is too long loses its end. Where it is what the decoder
    predicts, no end id follows it then: the decoder is not taught to end a
    caption in its middle.

    Args:
      task: one of box_tokens.TASKS.
      text: ids of the caption, without marks.
      box_4: box of the region, (left, top, right, bottom) in shares of the
        image; None for the caption of the image.

    >>> ids = box_tokens.Vocabulary(100, 11)
    >>> writer = Writer(ids, 8, end_id=1, pad_id=0, given_weight=0.0)
    >>> target = writer.write("referring", [7, 8], np.array([0, 0, 1, 0.5]))
    >>> target.tokens, target.targets
    (array([112,   7,   8, 100, 100, 105, 110,   1], dtype=int32),
     array([  7,   8, 100, 100, 105, 110,   1,   0], dtype=int32))
    >>> target.weights
    array([0., 0., 1., 1., 1., 1., 1., 0.], dtype=float32)
    """
    box: list[int] = []
    if box_4 is not None:
      box = self.vocabulary.box_ids(box_4).tolist()
    room = self.num_tokens - len(box)
    if task == REFERRING:
      kept = list(text[: room - 1])
      given, predicted = kept, [*box, self.end_id]
    else:
      kept = list(text[:room])
      end = [self.end_id] if len(kept) == len(text) < room else []
      given, predicted = box, [*kept, *end]
    ids = np.full(self.num_tokens, self.pad_id, np.int32)
    length = len(given) + len(predicted)
    ids[:length] = [*given, *predicted]
    weights = np.zeros(self.num_tokens, np.float32)
    weights[: len(given)] = self.given_weight
    weights[len(given) : length] = 1
    first = np.array([self.vocabulary.task_id(task)], np.int32)
    tokens = np.concatenate([first, ids[:-1]])
    return Target(tokens, ids, weights, len(text) - len(kept))

  def answer(self, question: Sequence[int], text: Sequence[int]) -> Target:
    """Return the target of a question, whose ids are given, with its answer.

    A question that is too long loses its end, and so does an answer.

    Args:
      question: ids of the question, without marks.
      text: ids of the answer, without marks.

    >>> ids = box_tokens.Vocabulary(100, 11, has_answers=True)
    >>> writer = Writer(ids, 8, end_id=1, pad_id=0, given_weight=0.0)
    >>> target = writer.answer([7, 8], [5])
    >>> target.tokens, target.targets
    (array([114,   7,   8, 114,   5,   1,   0,   0], dtype=int32),
     array([  7,   8, 114,   5,   1,   0,   0,   0], dtype=int32))
    >>> target.weights
    array([0., 0., 0., 1., 1., 0., 0., 0.], dtype=float32)
    """
    task = self.vocabulary.task_id(ANSWER)
    asked = list(question[: question_room(self.num_tokens)])
    given = [*asked, task]
    kept = list(text[: self.num_tokens - len(given)])
    length = len(given) + len(kept)
    ids = np.full(self.num_tokens, self.pad_id, np.int32)
    ids[:length] = [*given, *kept]
    if len(kept) == len(text) and length < self.num_tokens:
      ids[length] = self.end_id
      length += 1
    weights = np.zeros(self.num_tokens, np.float32)
    weights[len(given) : length] = 1
    tokens = np.concatenate([np.array([task], np.int32), ids[:-1]])
    num_cut = len(question) - len(asked) + len(text) - len(kept)
    return Target(tokens, ids, weights, num_cut)

  def empty(self, task: str) -> Target:
    """Return the target of a task that an image has nothing for: weights 0."""
    ids = np.full(self.num_tokens, self.pad_id, np.int32)
    tokens = ids.copy()
    tokens[0] = self.vocabulary.task_id(task)
    return Target(tokens, ids, np.zeros(self.num_tokens, np.float32))


def question_room(num_tokens: int) -> int:
  """Return the most ids of a question: half of the places, less the task's.

  >>> question_room(64)
  31
  """
  return num_tokens // 2 - 1
