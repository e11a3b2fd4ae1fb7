"""A run's folder without a run: random parameters in a checkpoint."""

import jax
import numpy as np

from models.pretrained import mapping
from runtime import mesh as mesh_lib
from tests.models.pretrained.families import mirror
from training import checkpointing, train_state
from training.run import workdir


class _Iterator:
  """Stands for the data's position, which nobody asks for."""

  def get_state(self):
    return {"next": 0}


def write(folder, config, step=3, bias=None, values=None):
  """Write a run's config and a checkpoint; return its parameters by path.

  They are random, but for those of `values`, by path.
  """
  params = mirror.random_params(config.model)
  if bias is not None:
    params["bias"] = np.asarray(bias, np.float32)
  # A scale of usual size: a random one may be e ** -0.5 or e ** 0.5.
  params["log_scale"] = params["log_scale"] + 3
  params |= values or {}
  write_params(folder, config, params, step)
  return params


def write_params(folder, config, params, step=3):
  """Write a run's config, and a checkpoint of parameters by path."""
  folder.mkdir(parents=True)
  workdir.write_config(folder, config)
  mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(-1, 1, 1))
  state = jax.device_put(
    train_state.TrainState(
      step=jax.numpy.asarray(step), params=mapping.nested(params), opt_state={}
    ),
    mesh_lib.replicated(mesh),
  )
  checkpointer = checkpointing.Checkpointer(
    folder / workdir.CHECKPOINTS, keep=1
  )
  checkpointer.save(state, _Iterator(), step)
  checkpointer.close()
