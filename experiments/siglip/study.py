"""Study of SigLIP: two losses over four batch sizes, and the bias's start."""

from experiments.siglip import config
from experiments.studies import claims
from experiments.sweeps import study

_FIGURES = (
  ("test, image to text", "test/image_to_text/R@1", 1 / 1138),
  ("test, text to image", "test/text_to_image/R@1", 1 / 1138),
  ("style, image to text", "style/image_to_text/R@1", 1 / 1423),
  ("style, text to image", "style/text_to_image/R@1", 1 / 1423),
)
_LOSSES = ("sigmoid", "softmax")
# Batch sizes at which the sigmoid loss also begins with a bias of 0.
_NO_BIAS = (256, 1024)

STUDY = claims.Study(
  claim=(
    "At batches below 16k pairs the sigmoid loss is better than the softmax"
    " loss, and with growing batches the two meet; the bias must begin at -10."
  ),
  source="arXiv 2303.15343, sections 1, 4.1 and 4.9",
  arms=(
    *(
      claims.Arm(
        f"{loss}, {size}", config.changes(loss, size), group=loss, x=size
      )
      for loss in _LOSSES
      for size in config.BATCH_SIZES
    ),
    *(
      claims.Arm(
        f"sigmoid, {size}, bias 0",
        config.changes("sigmoid", size) | {"model.bias_init": 0.0},
        group="sigmoid, bias 0",
        x=size,
      )
      for size in _NO_BIAS
    ),
  ),
  figures=tuple(
    claims.Figure(label, name, chance=chance)
    for label, name, chance in _FIGURES
  ),
  comparisons=(
    *(
      claims.Comparison(f"softmax, {size}", f"sigmoid, {size}")
      for size in config.BATCH_SIZES
    ),
    *(
      claims.Comparison(f"sigmoid, {size}, bias 0", f"sigmoid, {size}")
      for size in _NO_BIAS
    ),
  ),
  chart=claims.Lines("pairs in a batch", is_log=True),
  num_seeds=3,
  run_minutes=2.0,
)


def get_study() -> list[study.Changes]:
  """Return the trials of --task=sweep."""
  return STUDY.trials()
