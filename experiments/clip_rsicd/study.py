"""Study of CLIP-RSICD's miniature: each device's pairs or all, three seeds."""

from experiments.sweeps import study


def get_study() -> list[study.Changes]:
  """Return the trials of --task=sweep."""
  return study.seeds(study.product({"loss.scope": ["device", "global"]}), 3)
