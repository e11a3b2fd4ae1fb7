"""POPE: its parser, figures by hand, and questions that it samples."""

import collections

import numpy as np
import pytest

from evaluators import summary
from evaluators.metrics.generation import pope
from tests.evaluators import test_results_schema

OBJECTS = {
  "a.jpg": ["dog", "person", "ball"],
  "b.jpg": ["person", "dog", "car", "apple"],
  "c.jpg": ["person", "car", "dog"],
  "d.jpg": ["cat", "person", "sofa"],
  "e.jpg": ["cat"],
}


@pytest.mark.parametrize(
  ("answer", "expected"),
  [
    ("Yes", True),
    ("No, there is no cat.", False),
    ("There is not a cat", False),
    ("It is a dog. No cat.", True),  # the first sentence alone
    ("nothing", True),  # no word of it is "no"
    ("NO", True),  # as the released code reads it
    ("", True),
    ("Well, no, I think", False),
  ],
)
def test_answers(answer, expected):
  assert pope.says_yes(answer) == expected


def _questions(there, split="random", images=None):
  images = images or [str(i) for i in range(len(there))]
  return [
    pope.Question(image, "", bool(x), split)
    for image, x in zip(images, there, strict=True)
  ]


def test_figures_by_hand():
  answers = ["yes", "Yes.", "no", "yes", "No", "maybe"]
  made = pope.record(answers, _questions([1, 1, 1, 0, 0, 0]))
  # 2 hits, 1 missed, 2 false yes ("maybe" is one), 1 rejected.
  assert made["accuracy"] == pytest.approx(3 / 6)
  assert made["precision"] == pytest.approx(2 / 4)
  assert made["recall"] == pytest.approx(2 / 3)
  assert made["F1"] == pytest.approx(4 / 7)
  assert made["yes_share"] == pytest.approx(4 / 6)
  assert made["num_unclear"] == 1
  # Yes to two thirds, where half is there.
  assert made["chance"] == pytest.approx(
    {
      "accuracy": 0.5,
      "precision": 0.5,
      "recall": 2 / 3,
      "F1": 4 / 7,
      "yes_share": 2 / 3,
    }
  )
  assert made["intervals"].keys() == set(pope.FIGURES)


def test_all_no():
  made = pope.record(["no"] * 4, _questions([1, 0, 1, 0]))
  assert (made["precision"], made["recall"], made["F1"]) == (0, 0, 0)
  assert (made["accuracy"], made["yes_share"]) == (0.5, 0)


def test_splits_and_images():
  rng = np.random.default_rng(0)
  there = np.tile([1, 0], 60)
  answers = [
    "yes" if x else "no" for x in (rng.uniform(size=120) < 0.2) ^ there
  ]
  asked = _questions(there[:60], "random", [str(i // 6) for i in range(60)])
  asked += _questions(there[60:], "popular", [str(i // 6) for i in range(60)])
  made = pope.record(answers, asked)
  assert (made["num_questions"], made["num_images"]) == (120, 10)
  parts = made["parts"]
  assert [*parts] == ["random", "popular"]
  assert made["accuracy"] == pytest.approx(
    np.mean([x["accuracy"] for x in parts.values()])
  )
  for part in (made, *parts.values()):
    for name, (low, high) in part["intervals"].items():
      assert 0 <= low <= part[name] <= high <= 1
  test_results_schema.validate({"pope": made})
  labels = [x.label for x in summary.rows({"pope": made})]
  assert labels == ["overall", "random", "popular"]


@pytest.mark.parametrize("split", pope.SPLITS)
def test_questions(split):
  asked = [*pope.ask(OBJECTS, split)]
  # e.jpg has too few objects.
  assert collections.Counter(x.image for x in asked) == dict.fromkeys(
    list(OBJECTS)[:4], 6
  )
  for image in list(OBJECTS)[:4]:
    here = [x for x in asked if x.image == image]
    names = [x.text.split(" in the ")[0].split(" ", 3)[-1] for x in here]
    assert len(set(names)) == 6
    assert [x.is_there for x in here] == [True, False] * 3
    assert names[::2] == OBJECTS[image][:3]
    assert not set(names[1::2]) & set(OBJECTS[image])
  assert asked == [*pope.ask(OBJECTS, split)]


def test_negatives():
  texts = lambda split, image: [  # noqa: E731
    x.text
    for x in pope.ask(OBJECTS, split)
    if x.image == image and not x.is_there
  ]
  # By frequency: person 4, dog 3, car 2, then ball, apple, cat and sofa.
  assert texts("popular", "d.jpg") == [
    "Is there a dog in the image?",
    "Is there a car in the image?",
    "Is there a ball in the image?",
  ]
  # Beside dog: person 3, car 2; beside person: dog, car, ball, apple ...; no
  # third object was beside the ball.
  adversarial = texts("adversarial", "a.jpg")
  assert adversarial[:2] == [
    "Is there a car in the image?",
    "Is there an apple in the image?",
  ]
  assert adversarial[2] in {
    f"Is there a {x} in the image?" for x in ("cat", "sofa")
  }
  drawn = {
    tuple(x.text for x in pope.ask(OBJECTS, "random", seed=seed))
    for seed in range(4)
  }
  assert len(drawn) > 1


def test_messages():
  with pytest.raises(ValueError, match="one of random, popular, adversarial"):
    next(pope.ask(OBJECTS, "rare"))
  with pytest.raises(ValueError, match="num_objects = 5"):
    next(pope.ask(OBJECTS, "random", num_objects=5))
  with pytest.raises(ValueError, match=r"image x must lack at least 2"):
    [
      *pope.ask(
        {"x": ["a", "b"], "y": ["a", "b", "c"]}, "popular", num_objects=2
      )
    ]
  with pytest.raises(ValueError, match="2 questions and 1 answers"):
    pope.record(["yes"], _questions([1, 0]))
