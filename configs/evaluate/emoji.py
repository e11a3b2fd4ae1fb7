"""Suite of the emoji: two retrieval sets and one of classification.

Its figures: experiments/quickstart/README.md.
"""

import ml_collections

from evaluators import sets

SUITE = ("compositional", "unseen_concept", "skin_tone")


def suite(
  source: ml_collections.ConfigDict, names: tuple[str, ...] = SUITE
) -> ml_collections.ConfigDict:
  """Return `config.evaluate.sets` with these sets of emoji.

  Args:
    source: section of the source of emoji, of any split.
    names: keys of evaluators.sets.SETS.
  """
  return ml_collections.ConfigDict(
    {name: sets.SETS[name](source.to_dict()) for name in names}
  )
