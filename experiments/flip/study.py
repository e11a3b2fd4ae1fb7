"""Study of FLIP and CLIPA: FLOPs against accuracy."""

from collections.abc import Mapping
from typing import Any

from experiments.flip import config
from experiments.parts import emoji_run
from experiments.studies import claims
from experiments.sweeps import study

# Arm -> its line in the chart, and what differs from the whole run.
_ARMS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
  "whole": ("whole pictures", {}),
  "whole, half the pairs": (
    "whole pictures",
    {"num_examples": config.NUM_EXAMPLES // 2},
  ),
  "half of the patches": ("FLIP", {"patch_dropout": 0.5}),
  "a quarter of the patches": ("FLIP", {"patch_dropout": 0.75}),
  "half of the patches, twice the pairs": (
    "FLIP",
    {"patch_dropout": 0.5, "num_examples": 2 * config.NUM_EXAMPLES},
  ),
  "half of the patches, to the end": (
    "FLIP, without the last phase",
    {"patch_dropout": 0.5, "has_whole": False},
  ),
  "24 pixels": ("CLIPA, pictures", {"image_size": 24}),
  "36 pixels": ("CLIPA, pictures", {"image_size": 36}),
  "4 tokens of text": ("CLIPA, texts", {"num_tokens": 4}),
  "24 pixels, 4 tokens of text": (
    "CLIPA, both",
    {"image_size": 24, "num_tokens": 4},
  ),
}

STUDY = claims.Study(
  claim=(
    "With a part of the patches, or smaller pictures and shorter texts, and a"
    " short last phase of whole ones, a run is nearly as good at a part of the"
    " cost, and better at the same cost."
  ),
  source="arXiv 2212.00794; arXiv 2305.07017",
  arms=tuple(
    claims.Arm(
      name, config.changes(**fields), group=line, x=config.gflops(**fields)
    )
    for name, (line, fields) in _ARMS.items()
  ),
  figures=tuple(
    claims.Figure(
      f"{split}, {label}", f"{split}/{direction}/R@10", chance=10 / number
    )
    for split, number in (
      ("test", emoji_run.NUM_TEST),
      ("style", emoji_run.NUM_STYLE),
    )
    for label, direction in (
      ("image to text", "image_to_text"),
      ("text to image", "text_to_image"),
    )
  ),
  comparisons=tuple(
    claims.Comparison(a, b)
    for a, b in (
      ("whole", "half of the patches"),
      ("whole", "half of the patches, twice the pairs"),
      ("whole, half the pairs", "half of the patches"),
      ("half of the patches, to the end", "half of the patches"),
      ("whole", "36 pixels"),
      ("whole", "24 pixels"),
      ("whole", "4 tokens of text"),
      ("whole", "24 pixels, 4 tokens of text"),
    )
  ),
  chart=claims.Lines("GFLOP of a run"),
  num_seeds=3,
  run_minutes=2.0,
)


def get_study() -> list[study.Changes]:
  """Return the trials of --task=sweep."""
  return STUDY.trials()
