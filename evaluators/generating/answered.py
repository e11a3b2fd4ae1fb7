"""Accuracy of a decoder's answers to questions: VQA's, and POPE's.

The decoder writes each answer greedily. With answers of humans a question's
value is VQA v2's soft accuracy, else whether the answer is the annotated one;
texts are compared in lower case, words one space apart. POPE's answers are
judged by its own code's rule, as they were written.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import numpy as np

from evaluators import row_batches
from evaluators.generating import asking_ahead, settings
from evaluators.generating import captioner as captioner_lib
from evaluators.metrics import questions as questions_lib
from evaluators.metrics.generation import pope
from evaluators.sets import asked_questions
from input_pipeline import faults, model_inputs
from input_pipeline.asking import answers as answers_lib
from input_pipeline.asking import asked
from input_pipeline.images import image_ops
from input_pipeline.regions import region_targets
from input_pipeline.sources import record as record_lib

# Answers of POPE's questions.
_LABELS = {"yes": True, "no": False}


class Example(NamedTuple):
  """Question with what is right, and what was written.

  Attributes:
    key: name of the example.
    image: number of the image; copies of one image share it.
    question: question with its answers.
    answer: answer that the decoder wrote.
    is_whole: whether the decoder ended it.
  """

  key: str
  image: int
  question: asked.Question
  answer: str = ""
  is_whole: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
  """Figures of a set, and its questions in order.

  Attributes:
    record: record for results.json, of kind "questions" or "polling".
    examples: questions.
  """

  record: dict[str, Any]
  examples: tuple[Example, ...]


def evaluate(
  opened: asked_questions.Questions,
  writer: captioner_lib.Captioner,
  should_stop: Callable[[], bool] | None = None,
) -> Outcome:
  """Answer all questions, and judge the answers.

  Args:
    opened: set of questions.
    writer: decoder with its model.
    should_stop: function that ends the evaluation early, called before each
      batch; equal on all processes. None never does.

  Raises:
    ValueError: an image or a question cannot be used, or has no answer.
    embedding.Interrupted: the evaluation was told to stop.
  """
  waiting: collections.deque[Example] = collections.deque()
  num_cut = 0
  examples: list[Example] = []
  requests = _requests(opened, writer, waiting)
  room = region_targets.question_room(writer.decoder.num_tokens)
  for example, written in asking_ahead.written(
    *(writer, requests, waiting),
    field=opened.field,
    noun="questions",
    should_stop=should_stop,
  ):
    num_cut += len(writer.tokenizer.ids(example.question.text)) > room
    said = writer.caption_of(written)
    examples.append(example._replace(answer=said.text, is_whole=said.is_whole))
  judge = _polled if opened.judge == asked_questions.POLLING else _answered
  try:
    made = judge(examples)
  except ValueError as error:
    raise ValueError(f"{opened.field}: {error}") from error
  method = settings.Settings().facts(writer.decoder.num_tokens)["method"]
  made.setdefault("protocol", {})
  made["protocol"] |= {
    "generation": {
      "method": method,
      "num_tokens": writer.decoder.num_tokens,
      "num_questions_cut": num_cut,
      "num_answers_cut": sum(not x.is_whole for x in examples),
      "num_different_answers": len({x.answer for x in examples}),
    },
    "image_protocol": model_inputs.protocol_facts(writer.image_protocol),
    "dtype": writer.model.config.dtype,
    "data_fingerprint": opened.fingerprint(),
  }
  return Outcome(made, tuple(examples))


def _answered(examples: Sequence[Example]) -> dict[str, Any]:
  """Return the record of soft accuracy, or of accuracy."""
  answers = [answers_lib.normalised(x.answer) for x in examples]
  has_humans = any(x.question.answers for x in examples)
  types = [x.question.answer_type for x in examples]
  values = [
    _value(answer, x.question, has_humans=has_humans)
    for answer, x in zip(answers, examples, strict=True)
  ]
  expected = [
    _value(answers[other], examples[row].question, has_humans=has_humans)
    for row, other in enumerate(_next_of_type(types))
  ]
  made = questions_lib.record(
    np.array(values),
    types,
    np.array(expected),
    figure=questions_lib.FIGURES[has_humans],
    cluster_N=np.array([x.image for x in examples]),
  )
  return made | {
    "protocol": {
      "metric_version": "answers-1",
      "chance_is": "the decoder's answer to the next question of the type",
      "answers_are": "compared in lower case, words one space apart",
    }
  }


def _value(answer: str, question: asked.Question, *, has_humans: bool) -> float:
  """Return the value of a normalised answer."""
  if not has_humans:
    return float(answer == answers_lib.normalised(question.answer))
  humans = [answers_lib.normalised(x) for x in question.answers]
  return questions_lib.soft_accuracy(answer, humans)


def _polled(examples: Sequence[Example]) -> dict[str, Any]:
  """Return the record of POPE's figures."""
  return pope.record(
    [x.answer for x in examples],
    [
      pope.Question(
        str(x.image),
        x.question.text,
        _LABELS[answers_lib.normalised(x.question.answer)],
        x.question.answer_type,
      )
      for x in examples
    ],
  )


def _next_of_type(types: Sequence[str]) -> list[int]:
  """Return for each question the row of the next one of its type."""
  rows: dict[str, list[int]] = {}
  for row, name in enumerate(types):
    rows.setdefault(name, []).append(row)
  following = [0] * len(types)
  for some in rows.values():
    for row, other in zip(some, [*some[1:], some[0]], strict=True):
      following[row] = other
  return following


def _requests(
  opened: asked_questions.Questions,
  writer: captioner_lib.Captioner,
  waiting: collections.deque[Example],
) -> Generator[captioner_lib.Request]:
  """Yield the request of each question; put the question in `waiting`."""
  numbers: dict[bytes, int] = {}
  read = functools.partial(_read, writer.image_protocol, opened)
  for record, question, image in asking_ahead.read(
    read, len(opened.records), opened.num_threads
  ):
    number = numbers.setdefault(record.image_id(), len(numbers))
    waiting.append(Example(record.key, number, question))
    yield writer.asking(image, question.text)


def _read(
  protocol: model_inputs.Protocol, opened: asked_questions.Questions, row: int
) -> tuple[record_lib.Record, asked.Question, row_batches.Row]:
  """Return a record, its question and the model's input."""
  record = opened.records[row]
  with faults.located(record.origin or record.key):
    question = asked.question_of(record.fields)
    if opened.judge == asked_questions.POLLING:
      label = answers_lib.normalised(question.answer)
      if label not in _LABELS:
        raise faults.ExampleError(
          "record_broken",
          f"the answer must be yes or no; got {question.answer[:60]!r}",
        )
    elif not (question.answers or question.answer.strip()):
      raise faults.ExampleError(
        "record_broken", f"the question has no answer: {question.text[:60]!r}"
      )
    pixels_YXC = image_ops.decode(record.image)
    return record, question, protocol.apply(pixels_YXC)
