"""Vocabulary of answers: which answer has which number.

It is that of the training questions, the most frequent answers first, or of a
file, such as the 3,129 answers that published systems of VQA v2 share. A run
keeps it in its folder, so that it is the same where the run is resumed or
evaluated.
"""

import collections
import dataclasses
import functools
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from input_pipeline import faults
from input_pipeline.storage import files
from runtime.storage import whole_files

# Name of the file in a run's folder.
FILE = "answers.json"


def normalised(text: str) -> str:
  """Return an answer in lower case, its words separated by one space.

  Answers are compared so, in training and evaluation. VQA's server has further
  rules, for articles, numerals and punctuation, which are not applied.

  >>> normalised(" A  Red heart ")
  'a red heart'
  """
  return " ".join(text.lower().split())


@dataclasses.dataclass(frozen=True)
class Answers:
  """Answers of a vocabulary.

  Attributes:
    listed: answers, each with the number of its place.
    guesses: (type of a question, its most frequent training answer) each, for
      the figure of chance; "" is any type.
  """

  listed: tuple[str, ...] = ()
  guesses: tuple[tuple[str, str], ...] = ()

  @functools.cached_property
  def numbers(self) -> Mapping[str, int]:
    """Return the number of each answer."""
    return {answer: number for number, answer in enumerate(self.listed)}

  def label(self, answer: str) -> int:
    """Return the number of an answer, -1 where the vocabulary lacks it."""
    return self.numbers.get(normalised(answer), -1)

  def known_label(self, answer: str) -> int:
    """Return the number of a training answer.

    Raises:
      faults.ExampleError: "answer_unknown" where the vocabulary lacks it.
    """
    label = self.label(answer)
    if label < 0:
      raise faults.ExampleError(
        "answer_unknown",
        f"the answer must be one of the {len(self.listed)} of the vocabulary;"
        f" got {answer[:60]!r}",
      )
    return label

  def soft_labels(
    self, humans: Sequence[str], num_labels: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers, int32 [M], and soft accuracies, float32 [M], of answers.

    The accuracy is min(humans who gave the answer / 3, 1), as in
    evaluators/metrics/questions.py. Answers that the vocabulary lacks have no
    place; -1 and 0 fill up.

    Args:
      humans: answer of each person.
      num_labels: M.

    Raises:
      ValueError: the vocabulary has more than M of the answers.

    >>> Answers(("red", "blue")).soft_labels(["red", "Red", "green"], 2)
    (array([ 0, -1], dtype=int32), array([0.6666667, 0.       ], dtype=float32))
    """
    counts = collections.Counter(
      label for answer in humans if (label := self.label(answer)) >= 0
    )
    if len(counts) > num_labels:
      raise ValueError(
        "fusion.num_labels must be at least the different answers to a"
        f" question, {len(counts)}; got {num_labels}"
      )
    label_M = np.full(num_labels, -1, np.int32)
    score_M = np.zeros(num_labels, np.float32)
    for place, (label, count) in enumerate(sorted(counts.items())):
      label_M[place], score_M[place] = label, min(count / 3, 1.0)
    return label_M, score_M

  def guess(self, answer_type: str) -> str:
    """Return the most frequent training answer of a type, "" without any."""
    guesses = dict(self.guesses)
    return guesses.get(answer_type, guesses.get("", ""))

  def write(self, path: pathlib.Path) -> None:
    """Write the vocabulary as JSON, for `read`."""
    fields = {"answers": self.listed, "guesses": dict(self.guesses)}
    whole_files.write(path, json.dumps(fields, indent=1).encode() + b"\n")


def count(
  questions: Iterable[tuple[str, Sequence[str]]],
) -> tuple[dict[str, int], tuple[tuple[str, str], ...]]:
  """Return the answers with their numbers, and the guesses of `Answers`.

  The most frequent answer is first, of equal ones the first by its letters.

  Args:
    questions: type and answers of each question: one, or those of humans.

  >>> count([("what", ["Red"]), ("what", ["blue"]), ("who", ["red"])])
  ({'red': 2, 'blue': 1}, (('', 'red'), ('what', 'blue'), ('who', 'red')))
  """
  by_type = collections.defaultdict[str, collections.Counter[str]](
    collections.Counter
  )
  for answer_type, given in questions:
    texts = [text for answer in given if (text := normalised(answer))]
    for name in {"", answer_type}:
      by_type[name].update(texts)
  ordered = {name: _ordered(counts) for name, counts in by_type.items()}
  guesses = tuple(
    (name, next(iter(counts)))
    for name, counts in sorted(ordered.items())
    if counts
  )
  return ordered.get("", {}), guesses


def kept(folder: pathlib.Path) -> Answers | None:
  """Return the vocabulary in a run's folder; None without one.

  Raises:
    ValueError: the file is not one of `Answers.write`.
  """
  path = folder / FILE
  if not path.exists():
    return None
  try:
    fields = json.loads(path.read_text())
    guesses = tuple(sorted(fields["guesses"].items()))
    return Answers(_listed(fields["answers"], str(path), "workdir"), guesses)
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(
      f"{path} must be the answers of a run; got {error}"
    ) from error


def read(path: str, field: str) -> Answers:
  """Return the vocabulary of a file, without guesses.

  It is a JSON list of answers, an object of answers and their numbers as other
  projects publish them, or a text of one a line.

  Args:
    path: file, on disk or at a URL.
    field: name of its config field, for messages.

  Raises:
    ValueError: it is not there, or an answer is there twice or is empty.
  """
  try:
    text = files.read(path).decode("utf-8-sig")
    content = (
      json.loads(text)
      if path.endswith(".json")
      else [line for line in text.splitlines() if line.strip()]
    )
  except (OSError, ValueError) as error:
    raise ValueError(
      f"{field} must be a file of answers, a text of one a line or .json; got"
      f" {path}: {error}"
    ) from error
  return Answers(_listed(content, path, field))


def _listed(content: Any, path: str, field: str) -> tuple[str, ...]:
  if isinstance(content, dict):
    numbers = sorted(content.values(), key=str)
    if {*map(str, numbers)} != {*map(str, range(len(content)))}:
      raise ValueError(
        f"{field}={path}: the numbers of {len(content)} answers must be 0 to"
        f" {len(content) - 1}, each once; got {numbers[:3]}, ..."
      )
    content = sorted(content, key=lambda answer: int(content[answer]))
  if not isinstance(content, list) or not all(
    isinstance(answer, str) for answer in content
  ):
    raise ValueError(f"{field}={path} must be a list of texts as JSON")
  listed = tuple(map(normalised, content))
  twice = [x for x, number in collections.Counter(listed).items() if number > 1]
  if twice or "" in listed or not listed:
    raise ValueError(
      f"{field}={path} must have answers, each once in lower case and none"
      f" empty; got {len(listed)} with {twice[:3]} several times"
    )
  return listed


def _ordered(counts: Mapping[str, int]) -> dict[str, int]:
  return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
