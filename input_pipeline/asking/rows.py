"""Rows of a fused model's batches, beside their images: see `arrays`.

Tasks are those of models/fusion/fusion_config.py, which this module does not
import: worker processes do without JAX.
"""

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np

from input_pipeline import faults
from input_pipeline.asking import answers as answers_lib
from input_pipeline.asking import asked

MATCHED = ("pretraining", "retrieval")
ANSWERED, CHOSEN, SOFT = ASKED = ("answers", "choices", "vqa")
TASKS = (*MATCHED, *ASKED)
# Task -> fields that each source's question_fields must name.
NEEDS = {
  ANSWERED: (asked.QUESTION, asked.ANSWER),
  CHOSEN: (asked.OPTIONS, asked.ANSWER),
  SOFT: (asked.QUESTION, asked.ANSWERS),
}


@dataclasses.dataclass(frozen=True)
class Rows:
  """Arrays of a batch beside its images; can be pickled.

  Attributes:
    task: one of TASKS.
    answers: vocabulary, of ANSWERED and SOFT.
    num_choices: options of a row, of CHOSEN.
    num_labels: most known answers of humans to a question, of SOFT.
  """

  task: str
  answers: answers_lib.Answers = answers_lib.Answers()
  num_choices: int = 0
  num_labels: int = 0

  @property
  def is_asked(self) -> bool:
    """Whether rows have questions, not captions."""
    return self.task in ASKED

  def question(self, question: asked.Question) -> asked.Question:
    """Return a training question, checked.

    Raises:
      faults.ExampleError: "answer_unknown" where the vocabulary lacks the
        answer, "record_broken" for other options than `num_choices`, or where
        there is no answer.
    """
    if self.task == CHOSEN:
      if len(question.options) != self.num_choices or question.right < 0:
        raise faults.ExampleError(
          "record_broken",
          f"the example must have {self.num_choices} options (fusion."
          f"num_choices) and an answer; got {len(question.options)} options and"
          f" the answer {question.answer!r}",
        )
    elif self.task == ANSWERED:
      self.answers.known_label(question.answer)
    elif not question.answers:
      raise faults.ExampleError(
        "record_broken", "the example must have answers of humans; got none"
      )
    return question

  def arrays(
    self, question: asked.Question, tokens_QL: np.ndarray
  ) -> dict[str, Any]:
    """Return the arrays of a row that `question` has checked.

    Args:
      question: result of `question`.
      tokens_QL: ids of `question.texts`.

    Returns:
      ANSWERED: "tokens" int32 [L] of the question, "labels" int32 [], number of
      the answer. CHOSEN: "tokens" int32 [num_choices, L] of "question option",
      "labels" int32 [], the right one. SOFT: "tokens" int32 [L], "labels" int32
      [num_labels] of the answers of humans, -1 fills up, "scores" float32
      [num_labels]. Of a SOFT question whose answers are all unknown, every
      label is -1: its target is 0 for all answers.
    """
    if self.task == CHOSEN:
      return {"tokens": tokens_QL, "labels": np.int32(question.right)}
    row: dict[str, Any] = {"tokens": tokens_QL[0]}
    if self.task == ANSWERED:
      return row | {"labels": np.int32(self.answers.label(question.answer))}
    label_M, score_M = self.answers.soft_labels(
      question.answers, self.num_labels
    )
    return row | {"labels": label_M, "scores": score_M}


def group(image_id: bytes) -> np.int32:
  """Return a number of an image or video, of 31 bits: equal for equal ones.

  Two others share it with probability 2^-31. In a batch of 1,024 rows, one pair
  is taken for one image in 4,100 batches, and is then no negative of the other:
  nothing else comes of it.

  Args:
    image_id: name of the image; see sources/image_ids.py.
  """
  digest = hashlib.blake2b(image_id, digest_size=4, person=b"group").digest()
  return np.int32(int.from_bytes(digest) >> 1)


def shown(question: asked.Question) -> dict[str, Any]:
  """Return a question for people: str scalars.

  "answer" has its text, or those of humans; "options" is JSON of a list.
  """
  humans = ", ".join(question.answers)
  return {
    "caption": question.text,
    "answer": question.answer or humans,
    "options": json.dumps(question.options),
  }
