"""Encoders of DFN's study, in miniature: filters, and models (README.md).

  arm      trained on the noisy pool, or on a selection of it:
           data.sources.main.subset
  filter   a filter network: the same encoder, trained on pairs that `subset`
           names of the clean and the noisy ones

Data: python -m experiments.dfn.prepare. Towers are those of
  experiments/curation; length, loss and rate stand here.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import ml_collections

from configs.parts import sources
from evaluators.sets import kinds
from experiments.curation import config as curation_config
from experiments.curation import heldout
from experiments.parts import emoji_run

FOLDER = "cache/dfn_icons"
# Variant -> its tars, below FOLDER.
TARS = {"arm": "pool/*.tar", "filter": "trusted*/*.tar"}
# Set -> its tar, below FOLDER.
HELD_OUT = {
  "retrieval": "heldout/retrieval.tar",
  "classes": "heldout/zero_shot.tar",
}
NUM_EXAMPLES = 65_536
BATCH_SIZE = 64
# Pairs that one filter sees in place of NUM_EXAMPLES.
LONG_EXAMPLES = 4 * NUM_EXAMPLES
# Images of the set `retrieval`, each with a name of its own, and classes of
# `classes` (experiments/curation/prepare_icons.py).
NUM_RETRIEVAL, NUM_CLASSES = 1000, 100


def get_config(arg: str = "arm") -> ml_collections.ConfigDict:
  """Return the config of a run.

  Raises:
    ValueError: `arg` is neither "arm" nor "filter".
  """
  if arg not in TARS:
    raise ValueError(f"config.py:{arg} must be one of {list(TARS)}")
  config = curation_config.get_config("arm")
  emoji_run.set_examples(config, NUM_EXAMPLES, BATCH_SIZE)
  config.data.sources.main.path = f"{FOLDER}/{TARS[arg]}"
  config.data.tokenizer_path = f"{FOLDER}/tokenizer"
  config.data.cache_dir = f"{FOLDER}/cache"
  config.model.remat = "none"
  config.model.scale_init = 1 / 0.07
  config.model.bias_init = 0.0
  config.loss.name = "softmax"
  # Rate of experiments/siglip at this batch size: 0.002 at 256.
  config.optimizer.learning_rate = 1e-3
  config.evaluate.sets = ml_collections.ConfigDict(_sets())
  return config


def length_changes(num_examples: int) -> Mapping[str, int]:
  """Return the fields of a run that sees `num_examples` pairs."""
  return emoji_run.length_changes(num_examples, BATCH_SIZE)


def folder_changes(arg: str, folder: pathlib.Path) -> Mapping[str, str]:
  """Return the fields of a variant whose data are not in FOLDER."""
  return {
    "data.sources.main.path": f"{folder}/{TARS[arg]}",
    "data.tokenizer_path": f"{folder}/tokenizer",
    "data.cache_dir": f"{folder}/cache",
    **{
      f"evaluate.sets.{name}.source.path": f"{folder}/{tar}"
      for name, tar in HELD_OUT.items()
    },
  }


def _sets() -> dict[str, Any]:
  """Return the held-out sets: names of pictures, and pictures of classes."""
  paths = {name: f"{FOLDER}/{tar}" for name, tar in HELD_OUT.items()}
  named = sources.source(path=paths["retrieval"], caption=("txt",))
  return {
    "retrieval": kinds.retrieval(named.to_dict()),
    "classes": kinds.classification(
      sources.source(path=paths["classes"]).to_dict(),
      label="json.caption",
      prompts=tuple(form.format("{c}") for form in heldout.TEMPLATES),
    ),
  }
