"""UniCL's miniature: icons whose names repeat (README.md).

  few some many   table to train on, 4,000 icons: 40 drawings of each of 100
                  names, 10 of 400, or 2 of 2,000
Data: python -m experiments.florence.unicl.prepare.
Recipe: configs/unicl.py:mini, its towers and its 81 prompts ("{}." and CLIP's
  80), one drawn for each text and step; images, batch, length, rate and the
  scale to begin with are ours, chosen with seed 100 on val.jsonl (README.md).
  --config.loss.name=softmax is CLIP's loss, all else equal.
"""

import ml_collections

from configs import unicl
from configs.parts import sources, variants
from evaluators.sets import kinds, names
from experiments.florence.unicl import prepare

_FOLDER = "cache/repeats"
_PIXELS = 32


def get_config(arg: str = "few") -> ml_collections.ConfigDict:
  """Return the run on a table; ValueError where none has this name."""
  variants.pick(__file__, arg, prepare.TABLES)
  config = unicl.get_config("mini")
  config.batch_size = 128
  config.total_steps = 500
  config.log_every_steps = 50
  source = config.data.sources.main = _table(arg)
  prompts = names.templates("imagenet1k")
  source.short_templates = (
    "{}.",
    *(x.replace("{c}", "{}") for x in prompts),
  )
  source.short_words = 4  # those of the longest name
  config.data.image_size = _PIXELS
  config.data.num_tokens = 32
  config.data.augmentation.crop_scale = (0.9, 1.3)
  config.model.scale_init = 10.0
  config.optimizer.learning_rate = 2e-3
  config.optimizer.warmup_steps = 50
  config.checkpoint.every_steps = config.evaluate.every_steps = 250
  config.evaluate.sets = ml_collections.ConfigDict(
    {
      name: kinds.classification(
        _table(name).to_dict(), label="label", prompts=("{c}.",)
      )
      for name in ("val", "known", "new")
    }
  )
  return config


def path(name: str) -> str:
  """Return the path of a table of prepare.py."""
  return f"{_FOLDER}/{name}.jsonl"


def _table(name: str) -> ml_collections.ConfigDict:
  return sources.source(format="table", path=path(name))
