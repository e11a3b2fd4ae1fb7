"""Cheaper tokens first, then a short phase of all: FLIP, CLIPA.

Data, towers: experiments/parts/emoji_run.py; rate and batch size are those of
experiments/siglip. The last of eight parts of a run sees whole pictures of 48
pixels, 16 patches, and texts of 16 tokens; what the parts before it see is the
arms' difference.
"""

from collections.abc import Mapping
from typing import Any

import ml_collections

from configs.parts import phases
from experiments.parts import emoji_run

NUM_EXAMPLES = 65_536
BATCH_SIZE = 256
# Share of the steps that see all patches at the end.
_LAST = 1 / 8
_PATCH_SIZE, _IMAGE_SIZE, _NUM_TOKENS = 12, 48, 16


def get_config() -> ml_collections.ConfigDict:
  """Return the run that sees whole pictures throughout."""
  config = emoji_run.get_config()
  emoji_run.set_examples(config, NUM_EXAMPLES, BATCH_SIZE)
  config.loss.name = "softmax"
  config.model.scale_init = 1 / 0.07
  config.model.bias_init = 0.0
  config.optimizer.learning_rate = 2e-3
  last = round(_LAST * config.total_steps)
  whole = {
    "data": {"image_size": _IMAGE_SIZE, "train_num_tokens": 0},
    "model": {"image": {"patch_dropout": 0.0}},
  }
  phases.set_phases(
    config,
    phases.Phase("cheap", config.total_steps - last),
    phases.Phase("whole", last, whole),
  )
  return config


def changes(
  *,
  patch_dropout: float = 0.0,
  image_size: int = _IMAGE_SIZE,
  num_tokens: int = 0,
  num_examples: int = NUM_EXAMPLES,
  has_whole: bool = True,
) -> Mapping[str, Any]:
  """Return the fields of a trial.

  Args:
    patch_dropout: share of the patches that the first phase leaves out.
    image_size: pixels of a side in the first phase.
    num_tokens: tokens that texts are cut to in the first phase; 0 cuts none.
    num_examples: pairs of the whole run.
    has_whole: whether the last phase has no patch dropout.
  """
  length = emoji_run.length_changes(num_examples, BATCH_SIZE)
  made = {
    "data.image_size": image_size,
    "data.train_num_tokens": num_tokens,
    "model.image.patch_dropout": patch_dropout,
    **length,
    "phases.cheap.until": round((1 - _LAST) * length["total_steps"]),
  }
  if not has_whole:
    made["phases.whole.changes.model.image.patch_dropout"] = patch_dropout
  return made


def gflops(
  *,
  patch_dropout: float = 0.0,
  image_size: int = _IMAGE_SIZE,
  num_tokens: int = 0,
  num_examples: int = NUM_EXAMPLES,
  has_whole: bool = True,
) -> float:
  """Return the GFLOPs of the matrix products of a run of `changes`."""
  cheap = emoji_run.gflops(
    (1 - _LAST) * num_examples,
    num_patches=(image_size // _PATCH_SIZE) ** 2 * (1 - patch_dropout),
    num_tokens=num_tokens or _NUM_TOKENS,
  )
  dropout = 0.0 if has_whole else patch_dropout
  whole = emoji_run.gflops(
    _LAST * num_examples,
    num_patches=(_IMAGE_SIZE // _PATCH_SIZE) ** 2 * (1 - dropout),
    num_tokens=_NUM_TOKENS,
  )
  return cheap + whole
