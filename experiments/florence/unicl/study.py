"""Study of UniCL's miniature: two losses, tables of names, three seeds."""

from experiments.florence.unicl import config, prepare
from experiments.sweeps import study

# UniCL's loss, and CLIP's.
LOSSES = ("unicl", "softmax")


def get_study() -> list[study.Changes]:
  """Return the trials of --task=sweep."""
  trials = study.product(
    {
      "data.sources.main.path": [config.path(x) for x in prepare.TABLES],
      "loss.name": LOSSES,
    }
  )
  return study.seeds(trials, 3)
