"""Study of PLIP's miniature: shares of the training parts, three seeds."""

from experiments.plip import prepare
from experiments.sweeps import study


def get_study() -> list[study.Changes]:
  """Return the trials of --task=sweep."""
  subsets = [f"cache/plip/subset_{x}.npy" for x in prepare.PERCENT]
  trials = study.product({"data.sources.main.subset": subsets})
  return study.seeds(trials, 3)
