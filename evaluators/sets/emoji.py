"""Sets of emoji drawings that training leaves out.

Splits: input_pipeline/sources/emoji.py.
"""

from collections.abc import Mapping
from typing import Any

from evaluators.sets import kinds

# Words that a skin tone follows in English emoji names; fixed by hand before
# any model was scored, covering people, roles, gestures and parts of the body.
_SKIN_TONE_BASES = (
  "person",
  "woman",
  "man",
  "child",
  "girl",
  "boy",
  "baby",
  "old man",
  "old woman",
  "woman teacher",
  "man farmer",
  "artist",
  "person walking",
  "woman running",
  "man dancing",
  "waving hand",
  "thumbs up",
  "raised hand",
  "clapping hands",
  "ear",
)


def compositional(source: Mapping[str, Any]) -> dict[str, Any]:
  """Return the retrieval of known emoji in skin tones that are new to them."""
  return kinds.retrieval({**source, "split": "compositional"}, all_names=True)


def unseen_concept(source: Mapping[str, Any]) -> dict[str, Any]:
  """Return the retrieval of emoji whose concept is not trained."""
  return kinds.retrieval({**source, "split": "unseen_concept"}, all_names=True)


def skin_tone(source: Mapping[str, Any]) -> dict[str, Any]:
  """Return the classification of `compositional` by skin tone.

  Drawings without a tone, or with two different ones, are left out.
  """
  return kinds.zero_shot(
    {**source, "split": "compositional"},
    classes=("light", "medium-light", "medium", "medium-dark", "dark"),
    templates=tuple(f"{base} {{}} skin tone" for base in _SKIN_TONE_BASES),
    label="key_part",
    # Unicode's skin tone modifiers (UTS #51, section 2.4), lightest first.
    label_values=("1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"),
    metrics=("top_1", "mean_per_class"),
  )
