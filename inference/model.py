"""A model to be used: a run's newest parameters, or published weights."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from evaluators import embedding
from evaluators.generating import decoders
from input_pipeline import model_inputs, published_inputs, tokenizers
from input_pipeline.regions import box_tokens
from models import dual_encoder
from models.pretrained import families, loading, opening
from models.pretrained.families import open_clip
from models.pretrained.fused import open_clip_coca
from models.video import embedding as video_embedding
from runtime import mesh as mesh_lib
from runtime.storage import bucket_path
from training import checkpointing, objectives
from training import config as config_lib
from training.objectives import joint
from training.run import run_inputs, workdir

# Family of a model that was trained here.
RUN = "run"


@dataclasses.dataclass(frozen=True)
class Model:
  """A model with the image protocol and the tokenizer of its inputs.

  Attributes:
    path: folder or file; for an id of the hub, its folder in the cache.
    family: RUN, or the family of a published model.
    config: towers of the model; one of them may be None.
    params: on every device of `mesh`.
    mesh: all devices.
    make_image_protocol: reads files; raises ValueError where none describes
      how images are prepared.
    make_tokenizer: reads files; raises ValueError where there is no vocabulary.
    loss: "softmax" or "sigmoid": what the logits of the model mean.
    step: updates made to a run's parameters, None for a published model.
  """

  path: str
  family: str
  config: dual_encoder.ModelConfig
  params: Any
  mesh: jax.sharding.Mesh
  make_image_protocol: Callable[[], model_inputs.Protocol]
  make_tokenizer: Callable[[], tokenizers.Tokenizer]
  loss: str
  step: int | None = None

  @property
  def folder(self) -> pathlib.Path:
    """Folder of the model's files."""
    path = bucket_path.make(self.path)
    return path if path.is_dir() else path.parent

  @property
  def scale(self) -> float:
    """Factor of cosine similarities in the logits."""
    return float(np.exp(np.asarray(self.params["log_scale"], np.float64)))

  @property
  def bias(self) -> float:
    """Summand of the logits."""
    return float(self.params["bias"])

  def make_inputs(self) -> model_inputs.ModelInputs:
    """Return image protocol and tokenizer; raises ValueError as they do."""
    return model_inputs.ModelInputs(
      self.make_image_protocol(), self.make_tokenizer()
    )

  def make_embedder(
    self, batch_size: int, *, is_trunk: bool = False
  ) -> embedding.Embedder:
    """Return an embedder whose batches are split over the devices.

    Args:
      batch_size: rows of a batch, raised to a multiple of the devices.
      is_trunk: whether images have `dual_encoder.feature_fn` in place of
        embeddings; videos have none.
    """
    shards = mesh_lib.num_batch_shards(self.mesh)
    images_fn, texts_fn = dual_encoder.embed_fns(
      self.config, mesh_lib.BATCH_AXES
    )
    videos_fn: embedding.VideoFn | None = functools.partial(
      video_embedding.embed_fn, self.config, batch_axes=mesh_lib.BATCH_AXES
    )
    if is_trunk:
      videos_fn = None
      images_fn = dual_encoder.feature_fn(self.config, mesh_lib.BATCH_AXES)
    return embedding.make_embedder(
      *(images_fn, texts_fn),
      self.mesh,
      -(-batch_size // shards) * shards,
      embed_videos=videos_fn,
    )


def load(
  path: str | pathlib.Path, mesh: jax.sharding.Mesh | None = None
) -> Model:
  """Open a run or a published model.

  Args:
    path: a run's folder, a folder or file of published weights, or
      "hf://owner/name[@revision]".
    mesh: devices of the model; None for all.

  Raises:
    FileNotFoundError, ValueError: no model that can be read is there.
    workdir.WorkdirError: the run has no checkpoint.
  """
  if workdir.is_run(bucket_path.make(path)):
    return load_run(bucket_path.make(path), mesh=mesh)[1]
  if workdir.has_config(bucket_path.make(path)):
    raise workdir.WorkdirError(
      f"{path} is the folder of a run without its {workdir.CHECKPOINTS}/"
    )
  files = opening.open_model(path)
  family = loading.find_family(files)
  config = loading.read_config(family, files)
  params = loading.read_params(family, config, files)
  # Open files of weights need not live as long as the model.
  described = dataclasses.replace(files, tensors={})
  name, mesh = families.name(family), mesh or _make_mesh()
  return Model(
    path=str(files.adapter or files.path),
    family=name,
    config=config,
    params=jax.device_put(params, mesh_lib.replicated(mesh)),
    mesh=mesh,
    make_image_protocol=functools.partial(
      published_inputs.image_protocol, str(path), name, config, described
    ),
    make_tokenizer=functools.partial(
      published_inputs.tokenizer, str(path), config, described
    ),
    # A bias is in published models with a sigmoid loss, and in no others.
    loss="sigmoid" if float(params["bias"]) else "softmax",
  )


def load_run(
  folder: pathlib.Path,
  config: config_lib.Config | None = None,
  mesh: jax.sharding.Mesh | None = None,
) -> tuple[config_lib.Config, Model]:
  """Return a run's config, and its model at the selected or newest checkpoint.

  Args:
    folder: the run's.
    config: to be used in place of the run's own (another evaluation, say); its
      model must be the run's.
    mesh: devices of the model; None for all.

  Raises:
    workdir.WorkdirError: there is no run or no checkpoint of it, or `config`
      has another model.
    checkpointing.CheckpointError: there are checkpoints, but none is whole.
  """
  return _read_run(folder, config, mesh)[:2]


def load_captioner(
  folder: pathlib.Path, mesh: jax.sharding.Mesh | None = None
) -> tuple[Model, decoders.Decoder]:
  """Return a run's model as `load_run` does, and the decoder beside it.

  Raises:
    workdir.WorkdirError: the run has no decoder, or as `load_run`.
    checkpointing.CheckpointError: as `load_run`.
  """
  config, model, variables = _read_run(folder, None, mesh)
  if config.captioning.is_on:
    return model, decoders.Decoder(
      config=config.captioning.captioner,
      graph=joint.captioner_graph(config),
      params=variables[joint.CAPTIONER],
      vocabulary=config.data.regions.vocabulary(config.data.vocab_size),
      # The first id of a caption is not predicted.
      num_tokens=config.data.num_tokens - 1,
      tasks=(box_tokens.CAPTION,),
      is_coca=True,
    )
  if not config.decoding.is_on:
    raise workdir.WorkdirError(
      f"{folder} has no decoder, which writes texts: its checkpoint of step"
      f" {model.step} has config.decoding.weight=0; expected a run that was"
      " trained with config.decoding.weight, or config.captioning.weight, above"
      " 0 (docs/captioning.md)"
    )
  regions = config.data.regions
  return model, decoders.Decoder(
    config=config.decoding.decoder,
    graph=joint.decoder_graph(config),
    params=variables[joint.DECODER],
    vocabulary=regions.vocabulary(config.data.vocab_size),
    num_tokens=regions.num_tokens,
    tasks=regions.taught,
  )


def load_coca(
  path: str | pathlib.Path,
) -> tuple[Model, open_clip_coca.Coca | None]:
  """Open a model as `load` does, with the captioner that it may have.

  Returns:
    The model, and it with its captioner; None where it has none.

  Raises:
    FileNotFoundError, ValueError, workdir.WorkdirError: as `load`.
  """
  folder = bucket_path.make(path)
  if workdir.is_run(folder):
    config, model, variables = _read_run(folder, None, None)
    if not config.captioning.is_on:
      return model, None
    captioner = config.captioning.captioner
    return model, open_clip_coca.Coca(
      *(model.config, captioner, model.params, variables[joint.CAPTIONER])
    )
  model = load(path)
  if model.family != families.name(open_clip):
    return model, None
  files = opening.open_model(path)
  if not open_clip_coca.has_captioner(files.tensors):
    return model, None
  return model, open_clip_coca.read(files)


def _read_run(
  folder: pathlib.Path,
  config: config_lib.Config | None,
  mesh: jax.sharding.Mesh | None,
) -> tuple[config_lib.Config, Model, dict[str, Any]]:
  """Return what `load_run` does, and all variables of the checkpoint."""
  started_with = workdir.read_config(folder)
  if started_with is None:
    raise workdir.WorkdirError(
      f"--workdir={folder} holds no run (no {workdir.CONFIG}); train one with"
      " --config=... first"
    )
  workdir.check_encoder(folder, started_with)
  if config is None:
    config = started_with
  else:
    workdir.check_same(folder, started_with, config)
  mesh = mesh or _make_mesh()
  whole = mesh_lib.replicated(mesh)
  run = config

  def shapes(step: int) -> Any:
    stage = config_lib.stage_of_checkpoint(run, step)
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole),
      objectives.variable_shapes(stage.config),
    )

  restored = checkpointing.restore_params(workdir.weights(folder), shapes)
  if restored is None:
    raise workdir.WorkdirError(
      f"--workdir={folder} has no checkpoint yet; let the run go on until it"
      " has saved one (checkpoint.every_steps)"
    )
  step, variables = restored
  # A decoder and heads that learned beside the model embed nothing.
  params = {
    name: x for name, x in variables.items() if name not in dual_encoder.PARTS
  }
  if run.phases:
    stage = config_lib.stage_of_checkpoint(run, step)
    config = config_lib.evaluated(run, stage)
  model = Model(
    path=str(folder),
    family=RUN,
    config=config.model,
    params=params,
    mesh=mesh,
    make_image_protocol=functools.partial(
      run_inputs.find_protocol, folder, config
    ),
    make_tokenizer=functools.partial(run_inputs.find_tokenizer, folder, config),
    loss="sigmoid" if config.loss.name == "sigmoid" else "softmax",
    step=step,
  )
  return config, model, variables


def _make_mesh() -> jax.sharding.Mesh:
  """Return the devices of now, whatever a run was trained on."""
  return mesh_lib.make_mesh(mesh_lib.MeshConfig(-1, 1, 1))
