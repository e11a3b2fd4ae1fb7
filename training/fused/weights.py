"""Initial weights of a fused model: its CNN, its towers, or all of it.

init_from        a run of --task=fuse with the same fusion.kind, or ClipBERT's
                 released state dict as safetensors; heads of another task
                 are drawn anew
init_image_from  for ClipBERT, a ResNet as torchvision or detectron2 names it;
                 for METER, a run or a published model with an image tower
init_text_from   a BERT: a run, or a published model
"""

import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from models.fusion import fusion_config
from models.pretrained import loading, mapping, opening
from models.pretrained.fused import clipbert_links
from runtime import checks, cluster, failures, sections
from runtime import mesh as mesh_lib
from runtime.storage import bucket_path
from training import config as config_lib
from training import metrics, objectives
from training.objectives import objective as objective_lib
from training.run import starting_weights, workdir

# Modules of a task's head, by the beginning of their parameters' paths.
_HEADS = ("answers/", "words/", "matching/", "heads/")
_CLIPBERT = "clipbert"
Shapes = Mapping[str, jax.ShapeDtypeStruct]


@checks.collected()
def check_early(config: config_lib.Config) -> None:
  """Raise ValueError, naming the field, where there is nothing to start from.

  The list of tensors is read, no tensor is.
  """
  starting_weights.check_early(config)
  path = config.init_from
  if not path or not workdir.is_run(bucket_path.make(path)):
    if path and config.fusion.kind != _CLIPBERT:
      checks.refuse(
        "init_from must be a run of --task=fuse with fusion.kind="
        f"{config.fusion.kind!r}; got {path!r} (towers are read by"
        " init_image_from and init_text_from)"
      )
    return
  theirs = workdir.read_config(bucket_path.make(path))
  if theirs is not None and theirs.fusion.kind != config.fusion.kind:
    checks.refuse(
      "init_from must be a run of --task=fuse with fusion.kind="
      f"{config.fusion.kind!r}; got {path!r}, with {theirs.fusion.kind!r}"
    )


def read(
  config: config_lib.Config,
  objective: objective_lib.Objective,
  mesh: jax.sharding.Mesh,
) -> dict[str, Any]:
  """Return initial variables from files, whole on each device.

  Every process reads the files. Variables that `init_except` names, or that no
  field covers, are left out.

  Args:
    config: config of the run, accepted by `check_early`.
    objective: its objective, for the shapes.
    mesh: mesh of the run.

  Raises:
    ValueError: a source cannot be read, or does not fit the run's model; the
      message names field, source and parameters.
  """
  shapes = _shapes(objective)
  wanted = {
    path: x for path, x in shapes.items() if not config.is_excepted(path)
  }
  made: dict[str, Any] = {}
  if config.init_from:
    made |= _placed(
      _read_field(config, "init_from", functools.partial(_whole, wanted, mesh)),
      wanted,
      mesh,
    )
  if config.fusion.kind == _CLIPBERT and config.init_image_from:
    made |= _placed(
      _read_field(config, "init_image_from", functools.partial(_cnn, wanted)),
      wanted,
      mesh,
    )
  made |= _towers(config, shapes, mesh)
  return mapping.nested(made)


def _shapes(objective: objective_lib.Objective) -> Shapes:
  shapes = jax.eval_shape(objective.init_params, jax.random.key(0))
  return sections.flat(shapes, "/")


def _read_field(
  config: config_lib.Config, field: str, read_fn: Any
) -> Mapping[str, Any]:
  """Return arrays of the file or run that a field names, by path."""
  path = getattr(config, field)
  try:
    made = cluster.together(lambda: read_fn(config, path))
  except (ValueError, OSError, failures.RunError) as error:
    text = str(error).removeprefix(f"{path}: ")
    raise ValueError(f"--config.{field}={path}: {text}") from error
  metrics.say(f"Read {len(made)} arrays from {path}")
  return made


def _placed(
  arrays: Mapping[str, Any], wanted: Shapes, mesh: jax.sharding.Mesh
) -> dict[str, jax.Array]:
  whole = mesh_lib.replicated(mesh)
  return {
    path: mesh_lib.placed(
      np.asarray(x),
      jax.ShapeDtypeStruct(
        wanted[path].shape, wanted[path].dtype, sharding=whole
      ),
    )
    for path, x in arrays.items()
  }


def _towers(
  config: config_lib.Config, shapes: Shapes, mesh: jax.sharding.Mesh
) -> dict[str, Any]:
  """Return the towers that init_image_from and init_text_from name.

  They are read as a dual encoder's; parameters that the fused model lacks, as
  projections, are left out.
  """
  names = sections.flat(loading.shapes_of(config.model), "/")
  lacking = tuple(re.escape(path) for path in names if path not in shapes)
  is_clipbert = config.fusion.kind == _CLIPBERT
  towers = dataclasses.replace(
    config,
    init_from="",
    init_image_from="" if is_clipbert else config.init_image_from,
    init_except=(*config.init_except, *lacking),
    # They are placed whole: the rules are those of other parameters.
    partition_rules=((r".*", ()),),
  )
  if not (towers.init_image_from or towers.init_text_from):
    return {}
  found = sections.flat(starting_weights.read(towers, mesh), "/")
  return {path: x for path, x in found.items() if path in shapes}


def _cnn(
  wanted: Shapes, config: config_lib.Config, path: str
) -> dict[str, np.ndarray]:
  """Return the ResNet of a file as torchvision or detectron2 names it."""
  if workdir.is_run(bucket_path.make(path)):
    raise ValueError(
      "expected a file of a ResNet's tensors for fusion.kind='clipbert'; got a"
      " run"
    )
  files = opening.open_model(path)
  cnn = config.fusion.cnn
  with opening.reading(files.path):
    links, strides_in = clipbert_links.resnet_of(cnn, files.tensors)
    if cnn.strides_in != strides_in:
      raise ValueError(
        f"fusion.cnn.strides_in must be {strides_in!r}, as the names of its"
        f" tensors say; got {cnn.strides_in!r}"
      )
    return mapping.load(
      links,
      files.tensors,
      {path: x for path, x in wanted.items() if path.startswith("cnn/")},
      ignored=(*clipbert_links.IGNORED_ALONE, *config.init_except),
    )


def _whole(
  wanted: Shapes, mesh: jax.sharding.Mesh, config: config_lib.Config, path: str
) -> Mapping[str, Any]:
  """Return a whole model: that of a run, or ClipBERT's released state dict."""
  if workdir.is_run(bucket_path.make(path)):
    return _of_run(wanted, mesh, config, path)
  files = opening.open_model(path)
  text: Any = config.model.text
  with opening.reading(files.path):
    pretrains = clipbert_links.pretrains(files.tensors)
    links = (
      *clipbert_links.detectron2_resnet(config.fusion.cnn),
      *clipbert_links.transformer(text, pretrains=pretrains),
    )
    is_same_head = pretrains == (
      config.fusion.task == fusion_config.PRETRAINING
    ) and clipbert_links.num_out(files.tensors) in (0, config.fusion.num_out)
    if not is_same_head:
      wanted = _without_heads(wanted, path)
    return mapping.load(
      links,
      files.tensors,
      dict(wanted),
      ignored=(
        *clipbert_links.IGNORED,
        *clipbert_links.tied(pretrains),
        *config.init_except,
      ),
    )


def _without_heads(wanted: Shapes, path: str) -> Shapes:
  heads = sorted({p.partition("/")[0] for p in wanted if p.startswith(_HEADS)})
  metrics.say(
    f"{path} is of another task: new initial values of {', '.join(heads)}"
  )
  return {p: x for p, x in wanted.items() if not p.startswith(_HEADS)}


def _of_run(
  wanted: Shapes, mesh: jax.sharding.Mesh, config: config_lib.Config, path: str
) -> dict[str, jax.Array]:
  folder = bucket_path.make(path)
  run = workdir.read_config(folder)
  assert run is not None  # workdir.is_run
  theirs = _shapes(objectives.make(run))
  if any(
    theirs.get(p) is None or theirs[p].shape != x.shape
    for p, x in wanted.items()
    if p.startswith(_HEADS)
  ):
    wanted = _without_heads(wanted, path)
  whole = mesh_lib.replicated(mesh)
  targets = {
    p: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole)
    for p, x in wanted.items()
  }
  return starting_weights.of_checkpoint(
    folder,
    config,
    theirs,
    targets,
    mesh,
    may_be_left=lambda p: p.startswith(_HEADS),
  )
