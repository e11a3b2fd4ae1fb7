"""POPE: yes or no to "Is there a cat in the image?" (arXiv 2305.10355).

Half of the questions name an object of the image, the others one that is not
there: drawn at random, the most frequent of all images ("popular"), or the one
that is most often beside the object just asked for ("adversarial").

  accuracy, precision, recall, F1   yes is the positive answer
  yes_share                         share of answers that say yes

An answer is read as POPE's released code reads it: "No", "no" or "not" as a
word of the first sentence, without commas, is no; all else is yes, "NO" and an
empty answer too. `num_unclear` counts answers that say neither.
"""

import collections
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from evaluators.metrics import intervals, resampling

KIND = "polling"
RANDOM, POPULAR, ADVERSARIAL = SPLITS = ("random", "popular", "adversarial")
FIGURES = ("accuracy", "precision", "recall", "F1", "yes_share")
# Objects asked for of an image that are there, and as many that are not:
# POPE's default.
NUM_OBJECTS = 3
_NO = frozenset({"No", "no", "not"})
_CLEAR = re.compile(r"\b(yes|no|not)\b", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Question:
  """Question about an image.

  Attributes:
    image: name of the image.
    text: question.
    is_there: whether the object is in the image.
    split: one of SPLITS, how an object that is not there was chosen.
  """

  image: str
  text: str
  is_there: bool
  split: str


def says_yes(answer: str) -> bool:
  """Return whether an answer is yes to POPE's code.

  >>> says_yes("Yes, there is no doubt."), says_yes("Sure. Not a cat.")
  (False, True)
  """
  words = answer.split(".")[0].replace(",", "").split(" ")
  return _NO.isdisjoint(words)


def record(
  answers: Sequence[str], questions: Sequence[Question]
) -> dict[str, Any]:
  """Return figures of all questions and of each split, for results.json.

  Chance is the figures of answers that say yes as often, whatever the image.
  Intervals are a bootstrap over images: of 400 simulated sets each of 20 to 500
  images, 93 to 97 % held the true figure, for each. Precision, and F1, are 0
  where no answer says yes.

  Raises:
    ValueError: lengths differ, or there is no question.
  """
  if len(answers) != len(questions) or not answers:
    raise ValueError(
      "questions must be at least one and have an answer each; got"
      f" {len(questions)} questions and {len(answers)} answers"
    )
  yes_N = np.array([says_yes(answer) for answer in answers])
  there_N = np.array([question.is_there for question in questions])
  unclear_N = np.array([not _CLEAR.search(answer) for answer in answers])
  splits = np.array([question.split for question in questions])
  _, image_N = np.unique([x.image for x in questions], return_inverse=True)
  rows = {"": np.ones(len(answers), bool)}
  rows |= {name: splits == name for name in dict.fromkeys(splits) if name}
  parts = {
    str(name): {
      **_part(yes_N[x], there_N[x], image_N[x]),
      "num_unclear": int(unclear_N[x].sum()),
    }
    for name, x in rows.items()
  }
  return {
    "kind": KIND,
    **parts.pop(""),
    **({"parts": parts} if parts else {}),
    "protocol": {
      "metric_version": "pope-1",
      "answers": "no: No, no or not in the first sentence, else yes (POPE's)",
      "chance_is": "yes as often, whatever the image",
    },
  }


def ask(
  objects: Mapping[str, Sequence[str]],
  split: str,
  *,
  num_objects: int = NUM_OBJECTS,
  seed: int = 0,
) -> Iterator[Question]:
  """Yield questions about images, by the sampling of POPE's paper.

  After each of the first `num_objects` objects of an image, one is asked for
  that is neither in the image nor asked for yet: any ("random"), the most
  frequent, or the one most often beside the object just asked for; of equal
  ones the first that occurs. Where none is left that was beside it, any is.
  Frequencies are those of the images handed over, as in the released code.
  These are no released questions: those are read from their files.

  Args:
    objects: objects of each image, without repetition; images with fewer than
      `num_objects` have no questions.
    split: one of SPLITS.
    num_objects: objects asked for of an image that are there.
    seed: seed of what is drawn at random.

  Raises:
    ValueError: there is no such split, no image has enough objects, or an image
      has nearly all objects, so that too few are not there.
  """
  if split not in SPLITS:
    raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
  objects = {
    image: [*dict.fromkeys(some)]
    for image, some in objects.items()
    if len(set(some)) >= num_objects
  }
  if not objects or num_objects < 1:
    raise ValueError(
      f"an image must have at least num_objects = {num_objects} objects, and"
      " that be 1 or more; got no such image"
    )
  rng = np.random.default_rng(seed)
  number = collections.Counter(x for some in objects.values() for x in some)
  beside: dict[str, collections.Counter[str]] = collections.defaultdict(
    collections.Counter
  )
  for some in objects.values():
    for one in some:
      beside[one].update(x for x in some if x != one)
  for image, some in objects.items():
    asked = set(some)
    for one in some[:num_objects]:
      yield Question(image, _question(one), True, split)
      left = [x for x in number if x not in asked]
      if not left:
        raise ValueError(
          f"image {image} must lack at least {num_objects} of the"
          f" {len(number)} objects of all images; it has {len(some)}"
        )
      ranked = {RANDOM: (), POPULAR: number, ADVERSARIAL: beside[one]}[split]
      chosen = next(
        (
          x
          for x, _ in collections.Counter(ranked).most_common()
          if x not in asked
        ),
        None,
      )
      if chosen is None:
        chosen = left[rng.integers(len(left))]
      asked.add(chosen)
      yield Question(image, _question(chosen), False, split)


def _question(name: str) -> str:
  article = "an" if name[0] in "aeiou" else "a"
  return f"Is there {article} {name} in the image?"


def _part(
  yes_N: np.ndarray, there_N: np.ndarray, image_N: np.ndarray
) -> dict[str, Any]:
  """Return figures with intervals and chance of some questions."""
  cell_N4 = np.stack(
    [yes_N & there_N, yes_N & ~there_N, ~yes_N & there_N, ~yes_N & ~there_N],
    axis=1,
  )
  _, index_N = np.unique(image_N, return_inverse=True)
  count_C4 = np.zeros((index_N.max() + 1, 4), np.int64)
  np.add.at(count_C4, index_N, cell_N4)
  whole = _figures(count_C4.sum(axis=0, keepdims=True))[0]
  type_U4, count_U = np.unique(count_C4, axis=0, return_counts=True)
  drawn_R5 = np.concatenate(
    [
      _figures(weight_RU @ type_U4)
      for weight_RU in resampling.type_counts(
        count_U, type_U4, intervals.NUM_RESAMPLES
      )
    ]
  )
  bounds = [
    [0.0, 1.0]  # one image says nothing about others
    if len(count_C4) == 1
    else resampling.moved_percentiles(
      drawn_R, value, len(count_C4) - 1, intervals.LEVEL
    ).tolist()
    for drawn_R, value in zip(drawn_R5.T, whole, strict=True)
  ]
  yes, there = float(yes_N.mean()), float(there_N.mean())
  cells = [yes * there, yes * (1 - there), (1 - yes) * there]
  expected = _figures(np.array([[*cells, (1 - yes) * (1 - there)]]))[0]
  return {
    "num_questions": len(yes_N),
    "num_images": len(count_C4),
    **dict(zip(FIGURES, whole.tolist(), strict=True)),
    "chance": dict(zip(FIGURES, expected.tolist(), strict=True)),
    "intervals": dict(zip(FIGURES, bounds, strict=True)),
  }


def _figures(cell_R4: np.ndarray) -> np.ndarray:
  """Return FIGURES [R, 5] of true and false yes, false and true no [R, 4]."""
  hit_R, false_R, missed_R, rejected_R = np.asarray(cell_R4, np.float64).T

  def share(part_R: np.ndarray, all_R: np.ndarray) -> np.ndarray:
    return np.divide(part_R, all_R, out=np.zeros_like(part_R), where=all_R > 0)

  total_R = hit_R + false_R + missed_R + rejected_R
  return np.stack(
    [
      share(hit_R + rejected_R, total_R),
      share(hit_R, hit_R + false_R),
      share(hit_R, hit_R + missed_R),
      share(2 * hit_R, 2 * hit_R + false_R + missed_R),
      share(hit_R + false_R, total_R),
    ],
    axis=1,
  )
