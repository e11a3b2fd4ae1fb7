"""Classes: an image tower and a linear head learn the labels of images.

An example's caption is the name of its class. This is the fine-tuning of PLIP's
and WiSE-FT's classifiers; the text tower stays as it is.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from models import batch_norm, class_head, dual_encoder
from runtime import checks, param_rules
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import optimizer as optimizer_lib
from training.objectives import objective as objective_lib
from training.objectives import pairs

# Parameters that the loss does not depend on.
_UNUSED = ("txt", "log_scale", "bias")


def make(config: config_lib.Config) -> objective_lib.Objective:
  """Return the objective of a checked config.

  Raises:
    ValueError: optimizer.freeze lets a parameter go that does not learn, which
      weight decay would change.
  """
  init_params = functools.partial(dual_encoder.init_params, config.model)
  _check_freeze(config, jax.eval_shape(init_params, jax.random.key(0)))
  graph = dual_encoder.make_graph(config.model, mesh_lib.BATCH_AXES)

  def embed(params, stats, batch: pairs.Batch):
    model = dual_encoder.merge(graph, batch_norm.join(params, stats))
    (zimg_bE, _), new = model.embed_in_training(batch.images, None, batch.keys)
    return zimg_bE, new

  def embed_locked(params, stats, batch: pairs.Batch):
    model = dual_encoder.merge(graph, batch_norm.join(params, stats))
    return model.embed_images(batch.images, batch.keys)

  def loss(params, zimg_BE, batch: pairs.Batch):
    logits_BA = class_head.logits(params[class_head.NAME], zimg_BE)
    target_BA = jax.nn.one_hot(batch.labels, logits_BA.shape[1])
    smoothed_BA = optax.smooth_labels(target_BA, config.loss.label_smoothing)
    return jnp.mean(optax.softmax_cross_entropy(logits_BA, smoothed_BA))

  return objective_lib.Objective(
    batch=pairs.shapes(config),
    batch_of=pairs.batch_of,
    embed=embed,
    embed_locked=embed_locked,
    loss=loss,
    gradient=pairs.gradient,
    metrics=lambda params: {},
    init_params=init_params,
    draws=config.model.draws,
  )


def _check_freeze(config: config_lib.Config, variables: Any) -> None:
  fixed = optimizer_lib.frozen_params(config.optimizer, variables)
  free = [
    param_rules.path_string(path)
    for path, is_fixed in jax.tree.leaves_with_path(
      {name: fixed[name] for name in _UNUSED}
    )
    if not is_fixed
  ]
  if free:
    checks.refuse(
      "optimizer.freeze must hold the parameters that loss.name='classes' does"
      ' not train, by ((r"txt/.*|log_scale|bias", True), (r".*", False));'
      f" got {config.optimizer.freeze!r}, which leaves {len(free)} of them,"
      f" such as {free[0]}"
    )
