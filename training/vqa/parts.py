"""Parts of a model that answers questions, as runs trained them beforehand."""

from typing import Any

import jax

from input_pipeline.questions import question_data
from runtime import checks, failures
from runtime import mesh as mesh_lib
from runtime.storage import bucket_path
from training import checkpointing, metrics
from training import config as config_lib
from training.objectives import denoising
from training.run import workdir

_FIELD = "vqa.autoencoder_from"


def check_early(config: config_lib.Config) -> None:
  """Raise ValueError where vqa.autoencoder_from names no run of its kind."""
  path = config.vqa.autoencoder_from
  if not path:
    return
  folder = bucket_path.make(path)
  expected = (
    f"{_FIELD} must be the folder of a run with"
    f' vqa.trains="{question_data.AUTOENCODER}"'
  )
  if not workdir.is_run(folder):
    checks.refuse(f"{expected}; got {path!r}, which has no run")
    return
  try:
    theirs = workdir.read_config(folder)
  except failures.RunError as error:
    checks.refuse(f"{_FIELD}={path}: {error}")
    return
  if theirs and theirs.vqa.trains != question_data.AUTOENCODER:
    checks.refuse(f'{expected}; got {path!r}, with "{theirs.vqa.trains}"')
  elif not workdir.has_checkpoint(folder):
    checks.refuse(f"{expected} and a checkpoint; got {path!r} without one")


def read(config: config_lib.Config, mesh: jax.sharding.Mesh) -> dict[str, Any]:
  """Return the encoder and the decoder of vqa.autoencoder_from, {} for "".

  Args:
    config: accepted by `check_early`.
    mesh: mesh of the run.

  Raises:
    ValueError: its weights cannot be read.
  """
  path = config.vqa.autoencoder_from
  if not path:
    return {}
  shapes = jax.eval_shape(denoising.make(config).init_params, jax.random.key(0))
  whole = mesh_lib.replicated(mesh)
  abstract = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), shapes
  )
  try:
    restored = checkpointing.restore_params(
      workdir.weights(bucket_path.make(path)), abstract
    )
  except (ValueError, OSError, failures.RunError) as error:
    raise ValueError(f"{_FIELD}={path}: {error}") from error
  if restored is None:
    raise ValueError(f"{_FIELD}={path}: this run has no checkpoint yet")
  step, params = restored
  metrics.say(f"Autoencoder: that of step {step} of {path}")
  return params
