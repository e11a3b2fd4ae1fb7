"""CHAIR by hand: mentions, what is in an image, and what is refused."""

import pytest

from evaluators import summary
from evaluators.metrics.generation import chair
from tests.evaluators import test_results_schema

WORDS = {
  "dog": ["puppy"],
  "hot dog": [],
  "person": ["man", "woman", "child"],
  "bus": [],
  "knife": [],
  "toilet": ["toilet seat"],
  "chair": ["seat"],
}
TABLE = chair.make_synonyms(WORDS)


@pytest.mark.parametrize(
  ("caption", "expected"),
  [
    ("Two puppies, and a HOT-DOG.", ["dog", "hot dog"]),
    ("hot dogs by dogs", ["hot dog", "dog"]),
    ("men, women and children: people", ["person"] * 4),
    ("buses near knives", ["bus", "knife"]),
    ("a toilet seat on a seat", ["toilet", "chair"]),
    ("the dogma of busy menus", []),
    ("", []),
  ],
)
def test_mentions(caption, expected):
  assert chair.mentions(caption, TABLE) == expected


def test_by_hand():
  made = chair.record(
    ["a man with a dog", "a bus and two buses", "a dog", "red"],
    [["person"], ["bus"], [], ["dog"]],
    [["a puppy"], ["street"], ["a cat", "a man"], [""]],
    TABLE,
  )
  # Mentions: man and dog, bus twice, dog: of 5 the last is not there.
  assert made["num_mentions"] == 5
  assert made["CHAIRi (regex words)"] == pytest.approx(1 / 5)
  assert made["CHAIRs (regex words)"] == pytest.approx(1 / 4)
  # Beside the next image: of man and dog both, of bus both, and the dog is.
  assert made["chance"]["CHAIRi (regex words)"] == pytest.approx(4 / 5)
  assert made["chance"]["CHAIRs (regex words)"] == pytest.approx(2 / 4)
  low, high = made["intervals"]["CHAIRi (regex words)"]
  assert low <= 0.2 <= high
  test_results_schema.validate({"objects": made})
  assert summary.rows({"objects": made})[0].num_candidates == 4


def test_no_mention():
  made = chair.record(["red", "blue"], [["dog"], []], [["a"], ["b"]], TABLE)
  assert made["num_mentions"] == 0
  assert "CHAIRi (regex words)" not in made
  assert made["CHAIRs (regex words)"] == 0


def test_messages():
  with pytest.raises(ValueError, match=r"got \['kite'\] of image 1"):
    chair.record(["a", "b"], [[], ["kite"]], [[], []], TABLE)
  with pytest.raises(ValueError, match="got 2, 1 and 2"):
    chair.record(["a", "b"], [[]], [[], []], TABLE)
  with pytest.raises(ValueError, match="'seat' of 'chair' and 'sofa'"):
    chair.make_synonyms({"sofa": ["seat"], "chair": ["seat"]})
  with pytest.raises(ValueError, match="at least one object"):
    chair.make_synonyms({})
