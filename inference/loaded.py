"""Opens a model to use it: a run's folder, or whatever was published."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from evaluators import embedding
from inference import trained_run
from input_pipeline import image_protocols, pipeline, tokenizers
from models import dual_encoder, pretrained
from training import partitioning, workdir

# Family of a model that was trained here.
RUN = "run"


@dataclasses.dataclass(frozen=True)
class Model:
  """A model, and what its inputs go through before it.

  Attributes:
    path: as it was named.
    family: RUN, or that of a published model.
    config: of the towers; one may be None.
    params: on every device of `mesh`.
    image_protocol: None without an image tower.
    make_tokenizer: raises ValueError where there are no vocabulary files.
    mesh: all devices.
    step: updates made to a run's parameters, None for a published model.
  """

  path: str
  family: str
  config: dual_encoder.ModelConfig
  params: Any
  image_protocol: image_protocols.Protocol | None
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
  mesh = partitioning.make_mesh(partitioning.MeshConfig(-1, 1, 1))

  def make_tokenizer() -> tokenizers.Tokenizer:
    if read.tokenizer is None:
      raise ValueError(f"{path} cannot read texts: {read.tokenizer_problem}")
    return read.tokenizer

  return Model(
    path=str(path),
    family=read.family,
    config=read.config,
    params=jax.device_put(read.params, partitioning.replicated(mesh)),
    image_protocol=read.image_protocol,
    make_tokenizer=make_tokenizer,
    mesh=mesh,
  )


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
    image_protocol=image_protocols.of_run(
      config.data.image_size, config.model.image_mean, config.model.image_std
    ),
    make_tokenizer=lambda: pipeline.make_tokenizer(config.data),
    mesh=trained.embedder.mesh,
    step=trained.step,
  )


def make_embedder(model: Model, batch_size: int) -> embedding.Embedder:
  """Return what embeds batches of at most `batch_size` rows.

  It is raised to a multiple of the devices.
  """
  shards = partitioning.num_batch_shards(model.mesh)
  return embedding.make_embedder(
    *dual_encoder.embed_fns(model.config, partitioning.BATCH_AXES),
    model.mesh,
    -(-batch_size // shards) * shards,
  )
