"""Sections of ready evaluation sets."""

import numpy as np
import pytest

from configs.parts import sources
from evaluators import retrieval, sets, suite_data, zero_shot
from runtime import sections

SOURCE = sources.source(format="emoji").to_dict()
CONFIG = sections.make(
  suite_data.EvaluateConfig,
  {
    "every_steps": 0,
    "batch_size": 1,
    "sets": {name: make(SOURCE) for name, make in sets.SETS.items()},
  },
  see="",
)
TASK = CONFIG.sets["skin_tone"]


def test_sections_are_whole_and_valid():
  CONFIG.check()
  assert {name: type(s) for name, s in CONFIG.sets.items()} == {
    "compositional": retrieval.RetrievalConfig,
    "unseen_concept": retrieval.RetrievalConfig,
    "skin_tone": zero_shot.ZeroShotConfig,
  }
  assert CONFIG.sets["compositional"].source == TASK.source


def test_prompts_are_class_major():
  prompts = TASK.prompts()
  assert len(prompts) == len(TASK.classes) * len(TASK.templates)
  assert prompts[:2] == ["person light skin tone", "woman light skin tone"]
  assert prompts[-1] == "ear dark skin tone"
  assert len(set(prompts)) == len(prompts)


@pytest.mark.parametrize(
  ("key", "label"),
  [
    ("1F44B-1F3FB", 0),
    ("1f9d1-1f3fc-200d-1f680", 1),
    ("1F469-1F3FF-200D-1F91D-200D-1F468-1F3FF", 4),
    ("1F469-1F3FF-200D-1F91D-200D-1F468-1F3FB", None),
    ("1F44B", None),
  ],
)
def test_skin_tone_label(key, label):
  assert zero_shot.key_part(TASK.label_values, key) == label


def test_labels_leave_out_what_has_none():
  row, label = TASK.labels(["1F44B", "1F44B-1F3FD", "1F3FF"])
  np.testing.assert_array_equal(row, [1, 2])
  np.testing.assert_array_equal(label, [2, 4])
  with pytest.raises(ValueError, match="no example belongs to one of"):
    TASK.labels(["1F44B"])
