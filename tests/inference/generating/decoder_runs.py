"""Folders of runs with a decoder, without a run."""

import jax
import numpy as np
from flax import traverse_util

from configs.parts import towers
from tests import tiny_joint
from tests.inference import fresh_run
from training import config as config_lib
from training.objectives import joint

_DECODER = "decoder"


def make_config(*, is_naflex=False):
  """Return the checked config of a tiny run with a decoder."""
  values = tiny_joint.get_config(_DECODER)
  if is_naflex:
    values.data.augmentation.patch_size = 4
    values.data.augmentation.max_num_patches = 16
    values.data.augmentation.resize = "naflex"
    like = values.model.image
    values.model.image = towers.naflex(values.data)
    for field in ("width", "depth", "num_heads", "mlp_width", "projection"):
      values.model.image[field] = like[field]
  return config_lib.checked(values.to_dict())


def write(folder, config, script=()):
  """Write a run's config and a checkpoint of random parameters.

  Args:
    folder: folder of the run.
    config: checked config.
    script: ids that the decoder predicts at the first places, whatever it reads
      there; () for those of random parameters.
  """
  shapes = jax.eval_shape(lambda: joint.init_params(config, jax.random.key(0)))
  rng = np.random.default_rng(0)
  params = {
    path: rng.normal(0, 0.5, x.shape).astype(np.float32)
    for path, x in traverse_util.flatten_dict(shapes, sep="/").items()
  }
  if script:
    _follow(params, script)
  fresh_run.write_params(folder, config, params)


def _follow(params, script):
  """Set parameters so that place p predicts script[p].

  Layers add nothing and ids have no vectors: a place is its position alone, one
  of the axes.
  """
  for path in params:
    if path.startswith(f"{_DECODER}/blocks/"):
      params[path] *= 0
  params[f"{_DECODER}/token_embedding"] *= 0
  positions = np.eye(*params[f"{_DECODER}/position"].shape, dtype=np.float32)
  params[f"{_DECODER}/position"] = positions
  for path in params:
    if path.startswith(f"{_DECODER}/norm/"):
      params[path] = np.full_like(params[path], path.endswith("scale"))
  words = np.zeros_like(params[f"{_DECODER}/words"])
  for position, token in zip(positions, script, strict=False):
    words[token] += 5 * position
  params[f"{_DECODER}/words"] = words
  params[f"{_DECODER}/word_bias"] *= 0
