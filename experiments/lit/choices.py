"""Study of the rates of LiT's arms: figures on `val`, a seed of its own.

  python main.py --task=sweep --study=experiments/lit/choices.py \\
    --config=experiments/lit/config.py:val --workdir=runs/lit_choices
"""

from experiments.lit import config
from experiments.sweeps import study

_RATES = (1e-3, 3e-3, 1e-2)


def get_study() -> list[study.Changes]:
  """Return the trials of --task=sweep: each arm with each rate."""
  trials = [config.changes(arm, x) for arm in config.RATES for x in _RATES]
  return study.seeds(trials, [100])
