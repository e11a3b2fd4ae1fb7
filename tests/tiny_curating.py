"""Run of seconds whose rows a teacher draws from super-batches of emoji.

Command: python main.py --config=tests/tiny_curating.py --workdir=runs/acid \
  --config.curating.teacher=FOLDER
of a run of `get_config("teacher")`, or of `write_teacher`.
"""

import ml_collections

from configs.parts import phases, sources
from tests import tiny
from tests.inference import fresh_run
from training import config as config_lib

# Steps of each phase.
STEPS = (3, 3)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """Return a run of 6 steps of 8 rows of 16.

  Args:
    arg: "teacher" for a run of other towers that draws nothing; "phases" for
      one of a folder of pairs that draws from STEPS[0] on.
  """
  config = tiny.get_config()
  config.evaluate.sets = ml_collections.ConfigDict()
  config.total_steps = 6
  config.batch_size = 8
  config.checkpoint.every_steps = 2
  for tower in (config.model.image, config.model.text):
    tower.depth = 1
  config.curating.num_blocks = 4
  if arg == "teacher":
    config.model.embed_dim = 24
    config.model.image.width = 32
    config.model.image.patch_size = 4
  elif arg == "phases":
    config.data.sources.main = sources.source(format="folder")
    drawn = {"curating": {"filter_ratio": 0.5, "teacher": ""}}
    phases.set_phases(
      config,
      phases.Phase("all", STEPS[0]),
      phases.Phase("drawn", STEPS[1], drawn),
    )
  else:
    config.curating.filter_ratio = 0.5
  return config


def write_teacher(folder, bias=-10.0, **changes):
  """Write a run of random parameters; return its config and parameters."""
  values = get_config("teacher")
  values.update_from_flattened_dict(changes)
  config = config_lib.checked(values.to_dict())
  return config, fresh_run.write(folder, config, bias=bias)
