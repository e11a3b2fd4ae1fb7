"""Opens a model to use it: a run's folder, or whatever was published."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

from evaluators import embedding
from inference import trained_run
from input_pipeline import pipeline, tokenizers
from input_pipeline.images import image_protocols, naflex
from models import dual_encoder, pretrained
from models.pretrained import loading
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import workdir

T = TypeVar("T")
Protocol = image_protocols.Protocol | naflex.Protocol
# Family of a model that was trained here.
RUN = "run"


@dataclasses.dataclass(frozen=True)
class Model:
  """A model, and what its inputs go through before it.

  Attributes:
    path: where it was found; of the cache for an id of the hub.
    family: RUN, or that of a published model.
    config: of the towers; one may be None.
    params: on every device of `mesh`.
    make_image_protocol: raises ValueError where nothing says how images are
      made ready.
    make_tokenizer: raises ValueError where there are no vocabulary files.
    mesh: all devices.
    step: updates made to a run's parameters, None for a published model.
  """

  path: str
  family: str
  config: dual_encoder.ModelConfig
  params: Any
  make_image_protocol: Callable[[], Protocol]
  make_tokenizer: Callable[[], tokenizers.Tokenizer]
  mesh: jax.sharding.Mesh
  step: int | None = None

  @property
  def scale(self) -> float:
    """What cosine similarities are multiplied with, for logits."""
    return float(np.exp(np.asarray(self.params["log_scale"], np.float64)))

  @property
  def bias(self) -> float:
    """What is added to logits."""
    return float(self.params["bias"])


def load(path: str | pathlib.Path) -> Model:
  """Open a run's folder, or what models.pretrained.load takes.

  Raises:
    FileNotFoundError, ValueError: nothing is there that can be used.
  """
  if workdir.is_run(pathlib.Path(path)):
    return load_run(pathlib.Path(path))
  read = pretrained.load(path)
  # On the devices there are now.
  mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(-1, 1, 1))
  return Model(
    path=str(read.path),
    family=read.family,
    config=read.config,
    params=jax.device_put(read.params, mesh_lib.replicated(mesh)),
    # Not closures over `read`, which would keep its parameters.
    make_image_protocol=functools.partial(
      _given,
      read.image_protocol,
      f"{path} cannot see images",
      read.image_problem,
    ),
    make_tokenizer=functools.partial(
      _given,
      read.tokenizer,
      f"{path} cannot read texts",
      read.tokenizer_problem,
    ),
    mesh=mesh,
  )


def _given(made: T | None, what: str, why: str) -> T:
  if made is None:
    raise ValueError(f"{what}: {why}")
  return made


def load_run(folder: pathlib.Path) -> Model:
  """Open a run's folder.

  Raises:
    workdir.WorkdirError: there is no run, or no checkpoint of it.
  """
  trained = trained_run.load(folder)
  config = trained.config
  return Model(
    path=str(folder),
    family=RUN,
    config=config.model,
    params=trained.params,
    make_image_protocol=lambda: _run_protocol(config),
    make_tokenizer=lambda: pipeline.make_tokenizer(config.data),
    mesh=trained.embedder.mesh,
    step=trained.step,
  )


def _run_protocol(config: config_lib.Config) -> Protocol:
  """Return how a run's evaluations see images (input_pipeline/pipeline.py)."""
  augmentation = config.data.augmentation
  if augmentation.is_naflex:
    return naflex.Protocol(
      augmentation.patch_size,
      augmentation.max_num_patches,
      config.model.image_mean,
      config.model.image_std,
    )
  return dataclasses.replace(
    loading.published_protocol(config.model, "siglip"),
    name=RUN,
    source="input_pipeline.images.image_ops.resize",
  )


def make_embedder(model: Model, batch_size: int) -> embedding.Embedder:
  """Return what embeds batches of at most `batch_size` rows.

  It is raised to a multiple of the devices.
  """
  shards = mesh_lib.num_batch_shards(model.mesh)
  return embedding.make_embedder(
    *dual_encoder.embed_fns(model.config, mesh_lib.BATCH_AXES),
    model.mesh,
    -(-batch_size // shards) * shards,
  )
