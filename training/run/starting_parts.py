"""Initial parameters of parts that learn beside a model: decoder, captioner.

`init_from` takes them over from a run with the same part, and a captioner from
open_clip's published CoCa; other starts have none, and the part begins anew.
Heads of self-distillation always begin anew.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import jax
import numpy as np

from models import dual_encoder
from models.pretrained import loading, mapping, opening
from models.pretrained.fused import open_clip_coca
from runtime import marks, sections
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import metrics, objectives
from training.objectives import joint

# Parts that are taken over.
_TAKEN = (joint.DECODER, joint.CAPTIONER)
# Fields that may differ: a limit, which no parameter of a captioner has, and a
# last id, which a decoder may learn anew or not use.
_FITTED = (
  "captioning.captioner.num_tokens",
  "ids of data.regions.has_answers",
)
Shapes = Mapping[str, jax.ShapeDtypeStruct]


def shapes_with(
  config: config_lib.Config, mesh: jax.sharding.Mesh
) -> dict[str, jax.ShapeDtypeStruct]:
  """Return a run's parameters by path, parts included, in their shardings."""
  shapes = loading.shapes_of(config.model)
  if joint.is_on(config):
    # Rules of the parts that learn beside the model win for something too.
    made = objectives.variable_shapes(config)
    shapes = shapes | {x: made[x] for x in dual_encoder.PARTS if x in made}
  shardings = sections.flat(
    mesh_lib.param_shardings(config.partition_rules, shapes, mesh), "/"
  )
  return {
    path: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=shardings[path])
    for path, x in sections.flat(shapes, "/").items()
  }


def is_part(path: str, names: Collection[str] = dual_encoder.PARTS) -> bool:
  """Return whether a parameter is one of a part."""
  return path.partition("/")[0] in names


def of_run(
  path: str,
  config: config_lib.Config,
  theirs: config_lib.Config,
  everything: Shapes,
) -> dict[str, jax.ShapeDtypeStruct]:
  """Return the parameters of parts that a run is to be read for.

  Prints which parts begin anew, and which are left there.

  Args:
    path: the run that is read.
    config: config of the run that begins.
    theirs: config of the run that is read, of its newest phase.
    everything: parameters of the run that begins, of `shapes_with`.

  Raises:
    ValueError: both have a part, of different fields.
  """
  wanted = _wanted(config, everything)
  there = [x for x in _TAKEN if _is_on(theirs, x)]
  taken = [x for x in there if any(is_part(y, [x]) for y in wanted)]
  for name in taken:
    _check_alike(name, config, theirs)
  begun = {path.partition("/")[0] for path in wanted} - {*taken}
  left = [x for x in there if x not in taken]
  if theirs.distillation.is_on:
    left.append(joint.DISTILLING)
  _say(path, begun, left)
  return {p: x for p, x in wanted.items() if is_part(p, taken)}


def of_published(
  config: config_lib.Config,
  files: opening.PublishedFiles,
  everything: Shapes,
) -> dict[str, np.ndarray]:
  """Return the captioner of a published CoCa by path; {} for other models.

  Args:
    config: config of the run that begins.
    files: published model.
    everything: parameters of the run that begins, of `shapes_with`.

  Raises:
    ValueError: its captioner has other fields, or its tensors do not fit.
  """
  wanted = _wanted(config, everything)
  has_one = open_clip_coca.has_captioner(files.tensors)
  is_taken = has_one and any(is_part(x, [joint.CAPTIONER]) for x in wanted)
  begun = {path.partition("/")[0] for path in wanted}
  if not is_taken:
    _say(str(files.path), begun, [joint.CAPTIONER] if has_one else [])
    return {}
  _say(str(files.path), begun - {joint.CAPTIONER}, [])
  theirs = open_clip_coca.read_config(
    files, loading.read_config(loading.find_family(files), files)
  )
  _check_fields(
    joint.CAPTIONER, "captioning.captioner", config.captioning.captioner, theirs
  )
  made = open_clip_coca.read_params(
    files,
    mapping.nested(
      {
        path.partition("/")[2]: x
        for path, x in wanted.items()
        if is_part(path, [joint.CAPTIONER])
      }
    ),
  )
  return {f"{joint.CAPTIONER}/{path}": x for path, x in made.items()}


def _is_on(config: config_lib.Config, name: str) -> bool:
  return {
    joint.DECODER: config.decoding.is_on,
    joint.CAPTIONER: config.captioning.is_on,
  }[name]


def _wanted(
  config: config_lib.Config, everything: Shapes
) -> dict[str, jax.ShapeDtypeStruct]:
  """Return the parameters of a run's parts that may be taken over."""
  return {
    path: x
    for path, x in everything.items()
    if is_part(path, _TAKEN) and not config.is_excepted(path)
  }


def _say(path: str, begun: Collection[str], left: Collection[str]) -> None:
  if begun:
    metrics.say(f"{path} has no {' or '.join(sorted(begun))}: it begins anew")
  if left:
    metrics.say(f"Not taken over from {path}: {', '.join(left)}")


def _check_alike(
  name: str, config: config_lib.Config, theirs: config_lib.Config
) -> None:
  """Raise ValueError where parts of two runs have other fields or ids."""
  if name == joint.CAPTIONER:
    _check_fields(
      *(name, "captioning.captioner"),
      *(config.captioning.captioner, theirs.captioning.captioner),
    )
    return
  _check_fields(
    *(name, "decoding.decoder"),
    *(config.decoding.decoder, theirs.decoding.decoder),
  )
  ours, others = (
    x.data.regions.vocabulary(x.data.vocab_size) for x in (config, theirs)
  )
  _check_fields(name, "ids of data.regions", ours, others)


def _check_fields(name: str, section: str, ours: Any, theirs: Any) -> None:
  """Raise ValueError where fields of a part differ in what it computes."""
  different = [
    f"{path} is {getattr(ours, x.name)!r} in the run,"
    f" {getattr(theirs, x.name)!r} there"
    for x in dataclasses.fields(ours)
    if getattr(ours, x.name) != getattr(theirs, x.name)
    and (path := f"{section}.{x.name}") not in _FITTED
    and _embeds(type(ours), x.name)
  ]
  if different:
    raise ValueError(
      f"its {name} is another one: {'; '.join(different)};"
      f" init_except=({f'{name}/.*'!r},) begins with a new one"
    )


def _embeds(cls: type, field: str) -> bool:
  """Return whether a field changes results; all do that have no mark."""
  found = dict(marks.paths(cls))[field]
  return found is None or found.embeds
