"""Quickstart: emoji drawings and their names, on a laptop CPU.

Source: none (not a paper). Data: OpenMoji 17 drawings, Unicode CLDR names.
Command: python main.py --config=configs/quickstart.py --workdir=runs/quickstart
Hardware: 2 CPU cores. Expected: not yet run.
"""

import ml_collections

from configs import base


def get_config() -> ml_collections.ConfigDict:
  config = base.get_config()
  config.total_steps = 600
  config.model.dtype = "float32"
  return config
