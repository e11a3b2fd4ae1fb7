"""Classes of the study: subgroups of Unicode, and the names that prompts have.

They are the subgroups with at least SHOTS drawings in `train` of the tables of
experiments/parts/emoji_styles.py, so that each has as many shots, without those
of other things ("place-other"). Unicode has headings for names ("food-sweet"),
so that the names are ours: plain words that texts of training have, chosen by
reading these texts and once by `val` (README.md).
"""

import collections
from collections.abc import Iterable

# Most shots of the study (arXiv 2103.00020, figure 6), and fewest drawings.
SHOTS = 16
_OTHER = "other"

# Subgroup of emojibase-data 17.0.0 -> name of the class.
NAMES = {
  "alphanum": "letter button",
  "animal-bird": "bird",
  "animal-bug": "insect",
  "animal-mammal": "animal",
  "animal-marine": "ocean animal",
  "arrow": "arrow",
  "av-symbol": "player button",
  "body-parts": "part of the body",
  "book-paper": "book",
  "cat-face": "cat face",
  "clothing": "clothing",
  "computer": "computer",
  "drink": "drink",
  "emotion": "comic balloon",
  "event": "celebration",
  "face-affection": "face with love",
  "face-concerned": "sad face",
  "face-negative": "angry face",
  "face-neutral-skeptical": "expressionless face",
  "face-smiling": "smiling face",
  "face-unwell": "sick face",
  "food-asian": "rice food",
  "food-fruit": "fruit",
  "food-prepared": "food",
  "food-sweet": "sweet dessert",
  "food-vegetable": "vegetable",
  "game": "game",
  "geometric": "geometric",
  "hand-fingers-closed": "fist",
  "hand-fingers-open": "raised hand",
  "hand-fingers-partial": "hand with fingers crossed",
  "hand-prop": "writing hand",
  "hand-single-finger": "pointing finger",
  "hands": "hands",
  "heart": "heart",
  "household": "cleaning",
  "keycap": "keycap",
  "light-video": "movie camera",
  "mail": "mail",
  "money": "money",
  "music": "music sound",
  "musical-instrument": "musical instrument",
  "office": "office",
  "person": "adult person",
  "person-activity": "person walking",
  "person-fantasy": "fantasy fairytale",
  "person-gesture": "person gesturing",
  "person-resting": "person in yoga position",
  "person-role": "worker",
  "person-sport": "person in sport",
  "place-building": "building",
  "plant-flower": "flower",
  "religion": "religion",
  "sky-weather": "weather",
  "sport": "sport game",
  "time": "clock",
  "tool": "tool",
  "transport-air": "airplane",
  "transport-ground": "vehicle",
  "transport-sign": "restroom sign",
  "transport-water": "boat",
  "warning": "prohibited",
  "zodiac": "zodiac",
}
# Classes in the order of their numbers.
CLASSES = tuple(sorted(NAMES.values()))


def chosen(subgroups: Iterable[str]) -> set[str]:
  """Return the subgroups that are classes, of those of the training drawings.

  >>> chosen(["arrow"] * 16 + ["other-symbol"] * 16 + ["mail"])
  {'arrow'}
  """
  return {
    subgroup
    for subgroup, number in collections.Counter(subgroups).items()
    if number >= SHOTS and _OTHER not in subgroup.split("-")
  }
