"""Study of LiT: a locked image tower, a fine-tuned one and a random one."""

from experiments.lit import config
from experiments.studies import claims
from experiments.sweeps import study

_FIGURES = (
  ("test", config.NUM_TEST),
  ("style", config.NUM_STYLE),
  ("unseen", config.NUM_UNSEEN),
)
_DIRECTIONS = ("image_to_text", "text_to_image")

STUDY = claims.Study(
  claim=(
    "A pretrained image tower that is locked, with a text tower that is trained"
    " from scratch, is better than the same image tower trained further, and"
    " than both towers from scratch."
  ),
  source="arXiv 2111.07991, abstract",
  arms=(
    claims.Arm("locked (Lu)", config.changes("Lu")),
    claims.Arm("fine-tuned (Uu)", config.changes("Uu")),
    claims.Arm(
      "fine-tuned slowly (Uu, a tenth of the rate)",
      config.changes("Uu")
      | {"optimizer.learning_rate_mults": ((r"img/.*", 0.1), (r".*", 1.0))},
    ),
    claims.Arm("from scratch (uu)", config.changes("uu")),
  ),
  figures=tuple(
    claims.Figure(
      f"{name}, {direction.replace('_', ' ')}",
      f"{name}/{direction}/R@10",
      chance=10 / count,
    )
    for name, count in _FIGURES
    for direction in _DIRECTIONS
  ),
  comparisons=(
    claims.Comparison("from scratch (uu)", "locked (Lu)"),
    claims.Comparison("fine-tuned (Uu)", "locked (Lu)"),
    claims.Comparison(
      "fine-tuned slowly (Uu, a tenth of the rate)", "locked (Lu)"
    ),
  ),
  chart=claims.Dots(),
  num_seeds=3,
  run_minutes=3.0,
)


def get_study() -> list[study.Changes]:
  """Return the trials of --task=sweep."""
  return STUDY.trials()
