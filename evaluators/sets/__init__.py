"""Evaluation sets by name: functions that return sections of `evaluate.sets`.

Each function takes the section of a source (configs/parts/sources.py) and
returns a section with that source, its split chosen, as plain data.
"""

from collections.abc import Callable, Mapping
from typing import Any

from evaluators.sets import emoji

Section = dict[str, Any]

SETS: Mapping[str, Callable[[Mapping[str, Any]], Section]] = {
  "compositional": emoji.compositional,
  "unseen_concept": emoji.unseen_concept,
  "skin_tone": emoji.skin_tone,
}
