"""Study of ALIGN: noisy pairs, temperature, label smoothing, languages."""

from collections.abc import Mapping
from typing import Any

from experiments.parts import emoji_run, emoji_styles
from experiments.studies import claims
from experiments.sweeps import study

_SPLIT = "data.sources.main.split"
_CHANCE = 10 / emoji_run.NUM_TEST
_OTHERS = tuple(x for x in emoji_styles.LANGUAGES if x != "en")
# British names are nearly the American ones.
_FOREIGN = tuple(x for x in _OTHERS if x != "en-gb")
_HELD_SCALE = ((r"log_scale", True), (r".*", False))
_NOISY = {_SPLIT: "noisy"}


def _fixed(temperature: float) -> Mapping[str, Any]:
  return _NOISY | {
    "model.scale_init": 1 / temperature,
    "optimizer.freeze": _HELD_SCALE,
  }


STUDY = claims.Study(
  claim=(
    "Noisy pairs are worse than as many clean ones, and four times as many are"
    " better; a learned temperature is as good as a chosen one, and 1/32 is too"
    " high; one encoder of many languages is slightly worse in English."
  ),
  source="arXiv 2102.05918, tables 8, 10 and 11",
  arms=(
    claims.Arm("all pairs, half of them wrong", _NOISY),
    claims.Arm("all pairs, a quarter wrong", {_SPLIT: "noisy_half"}),
    claims.Arm("all pairs, clean", {_SPLIT: "english"}),
    claims.Arm("a quarter of the pairs, clean", {_SPLIT: "quarter"}),
    claims.Arm("a quarter of the pairs, half wrong", {_SPLIT: "noisy_quarter"}),
    claims.Arm("half wrong, temperature 1/64", _fixed(1 / 64)),
    claims.Arm("half wrong, temperature 1/32", _fixed(1 / 32)),
    claims.Arm(
      "half wrong, no smoothing", _NOISY | {"loss.label_smoothing": 0.0}
    ),
    claims.Arm("all pairs, 28 languages", {_SPLIT: "languages"}),
  ),
  figures=(
    claims.Figure("image to text", "en/image_to_text/R@10", chance=_CHANCE),
    claims.Figure("text to image", "en/text_to_image/R@10", chance=_CHANCE),
    claims.Figure(
      f"mean of {len(_FOREIGN)} other languages, text to image",
      tuple(f"{x}/text_to_image/R@10" for x in _FOREIGN),
      chance=_CHANCE,
    ),
    *(
      claims.Figure(
        f"{language}, text to image",
        f"{language}/text_to_image/R@10",
        chance=_CHANCE,
      )
      for language in _OTHERS
    ),
  ),
  comparisons=tuple(
    claims.Comparison(a, b)
    for a, b in (
      ("a quarter of the pairs, clean", "all pairs, half of them wrong"),
      ("a quarter of the pairs, clean", "a quarter of the pairs, half wrong"),
      ("all pairs, half of them wrong", "half wrong, temperature 1/64"),
      ("all pairs, half of them wrong", "half wrong, temperature 1/32"),
      ("half wrong, no smoothing", "all pairs, half of them wrong"),
      ("all pairs, clean", "all pairs, 28 languages"),
    )
  ),
  num_columns=3,
  num_seeds=3,
  run_minutes=2.0,
)


def get_study() -> list[study.Changes]:
  """Return the trials of --task=sweep."""
  return STUDY.trials()
