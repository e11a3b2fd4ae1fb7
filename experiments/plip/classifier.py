"""PLIP's fine-tuned classifier: a linear head, trained with the image tower.

  kather  patches of NCT-CRC-HE-100K, judged on CRC-VAL-HE-7K
  parts   the miniature's parts of micrographs
Source: reproducibility/ of github.com/PathologyFoundation/plip: AdamW of decay
  0.1, batch 128, 10 epochs, warm-up and cosine. Its rate is the best of 1e-6 to
  1e-2 on 30 % of the training patches; here a flag has it.
Command: README.md.
"""

import ml_collections

from configs import plip
from configs.parts import domain, variants
from evaluators.sets import kinds
from experiments.plip import config as parts_config
from experiments.plip import prepare
from input_pipeline.sources.layouts import pathology

VARIANT_NAMES = ("kather", "parts")
_NUM_PATCHES = 100_000  # of NCT-CRC-HE-100K
_CLASSIFIED = ((r"txt/.*|log_scale|bias", True), (r".*", False))


def get_config(arg: str = "kather") -> ml_collections.ConfigDict:
  """Return the recipe of a variant; ValueError where none has this name."""
  make = {"kather": _kather, "parts": _parts}
  config = variants.pick(__file__, arg, make)()
  config.loss.name = "classes"
  config.optimizer.freeze = _CLASSIFIED
  return config


def _kather() -> ml_collections.ConfigDict:
  config = plip.get_config("paper")
  config.model.head.classes = (*pathology.KATHER.values(),)
  config.total_steps = 10 * _NUM_PATCHES // config.batch_size
  source = domain.source("pathology.kather@train", caption=("label",))
  test = domain.source("pathology.kather@test")
  config.evaluate.sets = {}
  test = kinds.classification(test, label="label", head=True)
  domain.set_layouts(config, source, test=test)
  return config


def _parts() -> ml_collections.ConfigDict:
  config = parts_config.get_config()
  config.model.head.classes = prepare.LABELS
  config.data.sources.main.caption = ("label",)
  test = config.evaluate.sets.test
  test.prompts, test.head = (), True
  return config
