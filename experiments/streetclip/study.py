"""Study of StreetCLIP's miniature: two grammars of captions, three seeds."""

from configs import streetclip
from experiments.sweeps import study


def get_study() -> list[study.Changes]:
  """Return the trials of --task=sweep."""
  grammars = list(streetclip.GRAMMARS.values())
  return study.seeds(study.product({"data.sources.main.grammar": grammars}), 3)
