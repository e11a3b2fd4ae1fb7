"""Initial parameters of a run, from a published model or another run."""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from evaluators import embedding, zero_shot
from evaluators.sets import field_set
from input_pipeline import tokenizers
from models import class_head, dual_encoder, lora
from models.pretrained import (
  comparing,
  loading,
  mapping,
  opening,
  positions,
)
from runtime import checks, cluster, failures, sections
from runtime import mesh as mesh_lib
from runtime.storage import bucket_path
from training import checkpointing, metrics, objectives
from training import config as config_lib
from training.run import starting_parts, workdir

# Fields of a config that name weights, and the prefix of their parameters.
_FIELDS = {
  "init_from": "",
  "init_image_from": "img/",
  "init_text_from": "txt/",
}
_HEAD = f"{class_head.NAME}/"
_SECTIONS = {"img/": "image", "txt/": "text"}
# Fields that may differ between a model and the run that starts from it.
_FITTED = r"embed_dim|image\.image_size|text\.num_tokens|(lora|head)\..*"
Targets = Mapping[str, jax.ShapeDtypeStruct]


@checks.collected()
def check_early(config: config_lib.Config) -> None:
  """Raise ValueError, naming the field, where there is nothing to start from.

  The list of tensors is read, no tensor is.
  """
  for field in _FIELDS:
    path = getattr(config, field)
    if not path or workdir.is_run(bucket_path.make(path)):
      continue
    try:
      opening.open_model(path)
    except (ValueError, OSError) as error:
      checks.refuse(_message(field, path, error))


def read(config: config_lib.Config, mesh: jax.sharding.Mesh) -> dict[str, Any]:
  """Return the initial parameters from files, each made in its sharding.

  Every process reads the files. Positions are resized to the run's. Parameters
  that `init_except` names, or that no field covers, are left out.

  Returns:
    A nested dict of all or a part of the parameters, {} if no field is set.

  Raises:
    ValueError: a source cannot be read, or does not fit the run's model; the
      message names field, source and parameters.
  """
  named = {f: getattr(config, f) for f in _FIELDS if getattr(config, f)}
  if not named:
    return {}
  everything = starting_parts.shapes_with(config, mesh)
  targets = _targets(config, everything)
  params_read: dict[str, jax.Array] = {}
  names = {*everything}
  for field, path in named.items():
    prefix = _FIELDS[field]
    wanted = {p: x for p, x in targets.items() if p.startswith(prefix)}
    before = len(params_read)
    try:
      if workdir.is_run(bucket_path.make(path)):
        if not prefix:
          wanted |= _head_of_run(bucket_path.make(path), config, everything)
          wanted |= _parts_of_run(bucket_path.make(path), config, everything)
        params_read |= _of_run(
          bucket_path.make(path), prefix, config, wanted, mesh
        )
      else:
        params, tensors = cluster.together(
          functools.partial(
            _published, path, prefix, config, wanted, everything
          )
        )
        wanted |= {p: everything[p] for p in params}
        params_read |= {
          p: mesh_lib.placed(x, wanted[p]) for p, x in params.items()
        }
        names |= tensors
    except (ValueError, OSError, failures.RunError) as error:
      raise ValueError(_message(field, path, error)) from error
    num_read, num_all = len(params_read) - before, len(wanted)
    metrics.say(f"Read {num_read} of {num_all} arrays from {path}")
  _check_excepted(config, names)
  return mapping.nested(params_read)


def of_image_tower(config: config_lib.Config) -> config_lib.Config:
  """Return the config for the weights of the image tower alone.

  They are placed whole: the rules are those of other parameters.
  """
  return dataclasses.replace(
    config,
    init_from="",
    init_text_from="",
    init_image_from=config.init_from or config.init_image_from,
    partition_rules=((r".*", ()),),
  )


def with_head(
  initial: dict[str, Any],
  config: config_lib.Config,
  mesh: jax.sharding.Mesh,
  tokenizer: tokenizers.Tokenizer,
) -> dict[str, Any]:
  """Return initial parameters with those of a head that none of them has.

  They are zeros, or the mean embeddings of model.head.prompts, of length 1 and
  times exp(log_scale), without bias: the zero-shot head of WiSE-FT (arXiv
  2109.01903, section 3).

  Args:
    initial: result of `read`.
    config: checked.
    mesh: devices of the parameters.
    tokenizer: the run's.

  Raises:
    ValueError: there are prompts, and no text tower was read to embed them, or
      a head was read.
  """
  head = config.model.head
  needed, has_head = ("txt", "log_scale"), class_head.NAME in initial
  if head.prompts and (has_head or not {*needed} <= {*initial}):
    there = "with a head" if has_head else "without text tower and scale"
    raise ValueError(
      "model.head.prompts needs init_from=MODEL, whose text tower embeds them,"
      f" and () with a run that has a head; got a start {there}, and prompts"
      f" {head.prompts!r}"
    )
  if not head.classes or has_head:
    return initial
  kernel_EA = np.zeros((config.model.embed_dim, len(head.classes)), np.float32)
  if head.prompts:
    model = dataclasses.replace(
      *(config.model,),
      image=None,
      lora=lora.LoraConfig(),
      head=class_head.HeadConfig(),
    )
    embedder = embedding.make_embedder(
      *dual_encoder.embed_fns(model, mesh_lib.BATCH_AXES),
      mesh,
      config.evaluate.batch_size,
    )
    texts = field_set.prompts(head.classes, head.prompts)
    # The bias of logits is no part of an embedding.
    params = {"bias": jnp.zeros(())} | {name: initial[name] for name in needed}
    ztxt_PE = embedder.texts(params, tokenizer(texts))
    zclass_AE = zero_shot.class_embeddings(ztxt_PE, len(head.classes))
    scale = np.exp(jax.device_get(initial["log_scale"]))
    kernel_EA = (scale * zclass_AE.T).astype(np.float32)
  arrays = {"kernel": kernel_EA, "bias": np.zeros_like(kernel_EA[0])}
  everything = starting_parts.shapes_with(config, mesh)
  targets = _targets(config, everything, is_head=True)
  placed = {
    name: mesh_lib.placed(x, targets[f"{class_head.NAME}/{name}"])
    for name, x in arrays.items()
  }
  return initial | {class_head.NAME: placed}


def _message(field: str, path: str, error: Exception) -> str:
  return f"--config.{field}={path}: {str(error).removeprefix(f'{path}: ')}"


def _targets(
  config: config_lib.Config, everything: Targets, *, is_head: bool = False
) -> dict[str, jax.ShapeDtypeStruct]:
  """Return the parameters that may be read, with the run's shardings.

  A head is apart: published models have none, and a run may have another one.
  """
  return {
    path: x
    for path, x in everything.items()
    if not starting_parts.is_part(path)
    and (is_head or not config.is_excepted(path))
    and not lora.is_update(path)
    and path.startswith(_HEAD) == is_head
  }


def _check_excepted(config: config_lib.Config, names: set[str]) -> None:
  for pattern in config.init_except:
    if not any(re.fullmatch(pattern, name) for name in names):
      raise ValueError(
        f"init_except: {pattern!r} matches no parameter and no tensor that was"
        f" read; expected regular expressions of names such as {min(names)!r}"
      )


def _published(
  path: str,
  prefix: str,
  config: config_lib.Config,
  wanted: Targets,
  everything: Targets,
) -> tuple[dict[str, np.ndarray], set[str]]:
  """Return parameters, and the names of all tensors of the model."""
  files = opening.open_model(path)
  family = loading.find_family(files)
  theirs = loading.read_config(family, files)
  if dropped := loading.training_only(files):
    metrics.say(
      f"{path} was trained with"
      f" {', '.join(f'{name}={value}' for name, value in dropped.items())}:"
      " not taken over; this run drops what its own model.image and model.text"
      " say"
    )
  _check_alike(path, prefix, theirs, config.model)
  model = config.model
  if prefix:
    # The other tower's tensors are accounted for by the file's own config.
    section = _SECTIONS[prefix]
    model = dataclasses.replace(
      theirs, embed_dim=model.embed_dim, **{section: getattr(model, section)}
    )
  with opening.reading(files.path):
    params = mapping.load(
      family.links(model),
      files.tensors,
      dict(wanted),
      ignored=(*family.IGNORED, *config.init_except),
      prefix=prefix,
    )
  if not prefix:
    with opening.reading(files.path):
      params |= starting_parts.of_published(config, files, everything)
  return params, set(files.tensors)


def _head_of_run(
  folder: pathlib.Path, config: config_lib.Config, everything: Targets
) -> dict[str, jax.ShapeDtypeStruct]:
  """Return the head's parameters that a run is to be read for; {} for none."""
  run = workdir.read_config(folder)
  assert run is not None  # workdir.is_run
  classes = run.model.head.classes
  if not classes or config.is_excepted(f"{_HEAD}kernel"):
    return {}
  if classes != config.model.head.classes:
    raise ValueError(
      f"the run has a head of other classes, model.head.classes={classes!r};"
      f" init_except=({_HEAD + '.*'!r},) leaves it out"
    )
  return _targets(config, everything, is_head=True)


def _parts_of_run(
  folder: pathlib.Path, config: config_lib.Config, everything: Targets
) -> dict[str, jax.ShapeDtypeStruct]:
  """Return parameters of a decoder or captioner that a run is read for."""
  run = workdir.read_config(folder)
  assert run is not None  # workdir.is_run
  newest = workdir.newest_step(folder) or 0
  stage = config_lib.stage_of_checkpoint(run, newest)
  return starting_parts.of_run(str(folder), config, stage.config, everything)


def _of_run(
  folder: pathlib.Path,
  prefix: str,
  config: config_lib.Config,
  wanted: Targets,
  mesh: jax.sharding.Mesh,
) -> dict[str, jax.Array]:
  """Return parameters of a run's newest checkpoint."""
  run = workdir.read_config(folder)
  assert run is not None  # workdir.is_run
  workdir.check_encoder(folder, run)
  newest = workdir.newest_step(folder) or 0
  stage = config_lib.stage_of_checkpoint(run, newest)
  model = stage.config.model
  if model.lora.rank:
    raise ValueError(
      f"the run has low-rank updates, model.lora.rank={model.lora.rank}; "
      "start from its export, which has them merged: --task=export"
    )
  _check_alike(str(folder), prefix, model, config.model)
  shapes = objectives.variable_shapes(stage.config)
  apart = [name for name in dual_encoder.PARTS if name in shapes]
  if prefix and apart:
    metrics.say(f"Not taken over from {folder}: {', '.join(apart)}")
  taken = {path.partition("/")[0] for path in wanted}
  return of_checkpoint(
    folder,
    config,
    sections.flat(shapes, "/"),
    wanted,
    mesh,
    may_be_left=lambda path: (
      not path.startswith(prefix)
      or (starting_parts.is_part(path) and path.partition("/")[0] not in taken)
    ),
  )


def of_checkpoint(
  folder: pathlib.Path,
  config: config_lib.Config,
  theirs: Targets,
  wanted: Targets,
  mesh: jax.sharding.Mesh,
  *,
  may_be_left: Callable[[str], bool],
) -> dict[str, jax.Array]:
  """Return parameters of a run's newest checkpoint, positions fitted.

  Args:
    folder: folder of the run.
    config: config of the run that begins with them.
    theirs: shapes of all parameters of the checkpoint.
    wanted: parameters to return, in their shardings.
    mesh: mesh of the shardings.
    may_be_left: function that says of a path whether the checkpoint may have it
      although it is not wanted, as may those of config.init_except.

  Raises:
    ValueError: there is no checkpoint, or its parameters do not fit.
  """
  resizes = {
    path: rule
    for path in wanted
    if (rule := positions.rule_of(config.model, path)) is not None
  }
  problems = {
    "missing": [path for path in wanted if path not in theirs],
    "left over": [
      path
      for path in theirs
      if path not in wanted
      and not may_be_left(path)
      and not config.is_excepted(path)
    ],
    "of another shape": [
      f"{path}: expected {x.shape}; got {theirs[path].shape}"
      for path, x in wanted.items()
      if path in theirs
      and theirs[path].shape != x.shape
      and path not in resizes
    ],
  }
  mapping.raise_any(problems)
  whole = mesh_lib.replicated(mesh)
  abstract = {
    path: jax.ShapeDtypeStruct(
      x.shape,
      x.dtype,
      sharding=(
        wanted[path].sharding
        if path in wanted and wanted[path].shape == x.shape
        else whole
      ),
    )
    for path, x in theirs.items()
  }
  restored = checkpointing.restore_params(
    workdir.weights(folder), mapping.nested(abstract)
  )
  if restored is None:
    raise ValueError("this run has no checkpoint yet")
  leaves = sections.flat(restored[1], "/")
  return {
    path: leaves[path]
    if theirs[path].shape == x.shape
    else mesh_lib.placed(resizes[path](np.asarray(leaves[path]), x.shape), x)
    for path, x in wanted.items()
  }


def _check_alike(
  path: str,
  prefix: str,
  theirs: dual_encoder.ModelConfig,
  ours: dual_encoder.ModelConfig,
) -> None:
  """Print the settings in which models differ; raise ValueError for a tower."""
  sections = [_SECTIONS[prefix]] if prefix else list(_SECTIONS.values())
  for section in sections:
    there, here = getattr(theirs, section), getattr(ours, section)
    if there is None:
      other = "text" if section == "image" else "image"
      raise ValueError(
        f"there is no {section} tower in it; use --config.init_{other}_from"
      )
    if there.tower != here.tower:
      raise ValueError(
        f"its {section} tower is {there.tower!r}; expected"
        f" model.{section}.tower={here.tower!r}"
      )
  others = [f"model.{x}." for x in _SECTIONS.values() if x not in sections]
  different = [
    f"{name} is {here!r} in the run, {there!r} there"
    for name, (here, there) in comparing.differences(
      ours, theirs, _FITTED
    ).items()
    if not name.startswith(tuple(others))
  ]
  if different:
    metrics.say(f"{path} is of another model: {'; '.join(different)}")
