"""Study of OpenCLIP: error over compute, and a run that the law predicts."""

from experiments.openclip import config
from experiments.parts import emoji_run
from experiments.studies import claims
from experiments.sweeps import study

_SIZES = tuple(
  (width, number) for width in config.WIDTHS for number in config.NUM_EXAMPLES
)

STUDY = claims.Study(
  claim=(
    "Error falls as a power of the compute of training, so that small runs"
    " predict a larger one."
  ),
  source="arXiv 2212.07143",
  arms=tuple(
    claims.Arm(
      f"width {width}, {number:,} pairs",
      config.changes(width, number),
      group=f"width {width}",
      x=config.compute(width, number),
    )
    for width, number in _SIZES
  ),
  figures=tuple(
    claims.Figure(
      f"test R@10, {label}", f"test/{direction}/R@10", chance=10 / number
    )
    for number in (emoji_run.NUM_TEST,)
    for label, direction in (
      ("image to text", "image_to_text"),
      ("text to image", "text_to_image"),
    )
  ),
  comparisons=(),
  chart=claims.Lines("GFLOP of a run", is_log=True),
  num_seeds=3,
  run_minutes=1.5,
)


def get_study() -> list[study.Changes]:
  """Return the trials of --task=sweep."""
  return STUDY.trials()
