"""Opens a run's folder: its config, its newest parameters, its embedder."""

import dataclasses
import functools
import pathlib
from typing import Any

import jax

from evaluators import embedding
from models import dual_encoder
from runtime import mesh as mesh_lib
from training import checkpointing, workdir
from training import config as config_lib


@dataclasses.dataclass(frozen=True)
class TrainedRun:
  """What is needed to use a trained model."""

  config: config_lib.Config
  step: int  # updates made to the parameters
  params: Any
  embedder: embedding.Embedder


def load(
  folder: pathlib.Path, config: config_lib.Config | None = None
) -> TrainedRun:
  """Read a run's config and newest checkpoint.

  Args:
    folder: the run's.
    config: to be used in place of the run's own (another evaluation, say); its
      model must be the run's.

  Raises:
    workdir.WorkdirError: there is no run, or `config` has another model.
    checkpointing.CheckpointError: there are checkpoints, but none is whole.
  """
  started_with = workdir.read_config(folder)
  if started_with is None:
    raise workdir.WorkdirError(
      f"--workdir={folder} holds no run (no {workdir.CONFIG}); train one with"
      " --config=... first"
    )
  if config is None:
    config = started_with
  else:
    workdir.check_same(folder, started_with, config)
  # On the devices there are now, whatever the run was trained on.
  mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(-1, 1, 1))
  model = config.model
  abstract = jax.eval_shape(
    functools.partial(dual_encoder.init_params, model), jax.random.key(0)
  )
  whole = mesh_lib.replicated(mesh)
  restored = checkpointing.restore_params(
    folder / workdir.CHECKPOINTS,
    jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole),
      abstract,
    ),
  )
  if restored is None:
    raise workdir.WorkdirError(
      f"--workdir={folder} has no checkpoint yet; let the run go on until it"
      " has saved one (checkpoint.every_steps)"
    )
  step, params = restored
  # Any number of devices must divide the batch of an evaluation.
  shards = mesh_lib.num_batch_shards(mesh)
  batch_size = -(-config.evaluate.batch_size // shards) * shards
  embedder = embedding.make_embedder(
    *dual_encoder.embed_fns(model, mesh_lib.BATCH_AXES), mesh, batch_size
  )
  return TrainedRun(config, step, params, embedder)
