"""Words of questions and their answers, as numbers."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from input_pipeline.questions import layouts

# A mark of a closed answer that is an open one too: the two are not the same.
ALSO_OPEN = "#"
# Remarks at the end of VQA-RAD's questions.
_REMARK = re.compile(r"\?\s*-\s*(yes/no|open)\s*$")
_LEFT_OUT = re.compile(r"[,?.]")


def words(text: str) -> list[str]:
  """Split a question into words, by the rules of MEVF's and QCR's releases.

  >>> words("Is the patient's x ray normal? -yes/no")
  ['is', 'the', 'patient', "'s", 'x-ray', 'normal']
  """
  text = _LEFT_OUT.sub("", _REMARK.sub("", text.lower()))
  return text.replace("'s", " 's").replace("x ray", "x-ray").split()


@dataclasses.dataclass(frozen=True)
class Words:
  """Words of the training questions, each with the number of its place."""

  listed: tuple[str, ...]

  def tokens(self, texts: Sequence[str], length: int) -> np.ndarray:
    """Return int32 [N, length], questions cut or padded at the end.

    The last word stands for all that are not listed, as in the released code;
    padding is the number of words.
    """
    numbers = {word: index for index, word in enumerate(self.listed)}
    tokens_NL = np.full((len(texts), length), len(self.listed), np.int32)
    for row, text in zip(tokens_NL, texts, strict=True):
      known = [numbers.get(w, len(numbers) - 1) for w in words(text)[:length]]
      row[: len(known)] = known
    return tokens_NL

  def num_unknown(self, texts: Iterable[str]) -> int:
    """Return the number of words in texts that are not listed."""
    known = set(self.listed)
    return sum(word not in known for text in texts for word in words(text))


def make_words(questions: Sequence[layouts.Question]) -> Words:
  """Return the words of questions, in the order of their first use."""
  each = (word for question in questions for word in words(question.text))
  return Words(tuple(dict.fromkeys(each)))


@dataclasses.dataclass(frozen=True)
class Answers:
  """Answers of each head of a model.

  Attributes:
    heads: head -> its answers. With one head, questions of both types have it;
      with two, the first has closed questions and the second open ones.
  """

  heads: Mapping[str, tuple[str, ...]]

  def labels(
    self, questions: Sequence[layouts.Question]
  ) -> tuple[np.ndarray, np.ndarray]:
    """Return each question's head and the index of its answer there: int32 [N].

    The index of an answer that the head does not have is -1.
    """
    names, several = tuple(self.heads), len(self.heads) > 1
    index = [
      {answer: i for i, answer in enumerate(self.heads[name])} for name in names
    ]
    head_N = [question.type if several else 0 for question in questions]
    label_N = [
      index[head].get(
        question.answer,
        index[head].get(question.answer + ALSO_OPEN, -1) if several else -1,
      )
      for question, head in zip(questions, head_N, strict=True)
    ]
    return np.array(head_N, np.int32), np.array(label_N, np.int32)


def make_answers(
  questions: Sequence[layouts.Question], heads: Sequence[str]
) -> Answers:
  """Return the answers of questions, sorted, for models.vqa's heads.

  >>> q = layouts.Question("1", "a.png", "Is it?", "yes", 0)
  >>> o = layouts.Question("2", "a.png", "What?", "yes", 1)
  >>> make_answers([q, o], ("closed", "open")).heads
  {'closed': ('yes#',), 'open': ('yes',)}
  """
  if len(heads) == 1:
    return Answers({heads[0]: _sorted(q.answer for q in questions)})
  closed, opened = (
    _sorted(q.answer for q in questions if q.type == kind)
    for kind in range(len(layouts.TYPES))
  )
  marked = tuple(a + ALSO_OPEN * (a in set(opened)) for a in closed)
  return Answers(dict(zip(heads, (marked, opened), strict=True)))


def _sorted(answers: Iterable[str]) -> tuple[str, ...]:
  return tuple(sorted(set(answers)))
