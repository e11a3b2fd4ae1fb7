"""Teacher of config.curating: its model, its inputs, and its parameters.

The teacher is a run or published weights. It reads the images and tokens of the
run that learns, so its image size, text length and tokenizer must be that
run's; towers, embeddings, mean and deviation of pixels, and types are its own.

Its parameters are split over the mesh by the run's rules. No checkpoint of the
run holds them: they do not change, and a teacher may be ten times as large as
the model that learns. They are read at each start, and teacher.json in the
run's folder has their digest: a run that is resumed with others ends.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from input_pipeline import model_inputs, published_inputs, tokenizers
from input_pipeline.tokenizers import saved
from models import dual_encoder
from models.pretrained import families, loading, mapping, opening
from runtime import checks, cluster, failures, param_rules, sections
from runtime import mesh as mesh_lib
from runtime.storage import bucket_path, whole_files
from training import config as config_lib
from training import metrics, objectives, saved_trees
from training.run import run_inputs, starting_weights, workdir

NAME = "teacher.json"
_FIELD = "curating.teacher"
_LOSS = "sigmoid"


class Source(NamedTuple):
  """A model in its files, none of whose arrays is read.

  Attributes:
    path: value of config.curating.teacher.
    model: towers of the model.
    run: fields in force at a run's newest checkpoint; None if published.
    files: files of published weights; None for a run.
  """

  path: str
  model: dual_encoder.ModelConfig
  run: config_lib.Config | None = None
  files: opening.PublishedFiles | None = None


def find(config: config_lib.Config) -> Source:
  """Return the teacher of a config with curating.

  Raises:
    ValueError: there is no such model, or it cannot be a teacher; the message
      names the field.
  """
  path = config.curating.teacher
  if not path:
    raise ValueError(config.curating.without_teacher)
  try:
    folder = bucket_path.make(path)
    if workdir.is_run(folder):
      return _of_run(path, folder)
    if workdir.has_config(folder):
      raise ValueError(
        f"this is the folder of a run without its {workdir.CHECKPOINTS}/"
      )
    files = opening.open_model(path)
    model = loading.read_config(loading.find_family(files), files)
    for section in ("image", "text"):
      if getattr(model, section) is None:
        raise ValueError(f"there is no {section} tower in it")
    return Source(path, model, None, files)
  except (ValueError, OSError, failures.RunError) as error:
    raise ValueError(_message(path, error)) from error


@checks.collected()
def check(config: config_lib.Config) -> None:
  """Raise ValueError where the teacher cannot read the run's rows.

  Its description is read, no array is, and no tokenizer; see `check_inputs`.
  """
  source = find(config)
  image, text = source.model.image, source.model.text
  assert image is not None  # `find` refuses others
  assert text is not None
  if image.tower == "naflex":
    checks.refuse(
      f"{_FIELD} must read square images, as the run does; got"
      f" {source.path}, of model.image.tower='naflex'"
    )
  for name, theirs, ours in (
    ("image_size", image.image_size, config.data.image_size),
    ("num_tokens", text.num_tokens, config.data.num_tokens),
  ):
    if theirs != ours:
      checks.refuse(
        f"{_FIELD} must read rows of data.{name}={ours}, as the run does; got"
        f" {source.path}, which reads {theirs}"
      )


def check_inputs(
  config: config_lib.Config, tokenizer: tokenizers.Tokenizer
) -> None:
  """Raise ValueError where the teacher was taught with other ids or sizes.

  Prints a line where its images were resized or cropped in another way.

  Args:
    config: checked by `check`.
    tokenizer: the run's.
  """
  source = find(config)
  try:
    protocol, theirs = _inputs(source)
    _check_tokenizer(tokenizer, theirs)
    size = getattr(protocol, "size", None)
    if size != config.data.image_size:
      raise ValueError(
        f"its images must have data.image_size={config.data.image_size}; got"
        f" {size}"
      )
  except (ValueError, OSError, failures.RunError) as error:
    raise ValueError(_message(source.path, error)) from error
  trained = config.data.augmentation.evaluation_protocol(
    config.data.image_size, protocol.mean, protocol.std
  )
  there, here = (model_inputs.describe(x) for x in (protocol, trained))
  if there != here:
    metrics.say(
      f"{_FIELD}: {source.path} was made for images of another geometry,"
      f" {there}; the run's, which it reads, follow data.augmentation: {here}"
    )


def abstract(
  source: Source, config: config_lib.Config, mesh: jax.sharding.Mesh
) -> dict[str, Any]:
  """Return the teacher's parameters as ShapeDtypeStructs with shardings.

  Rules of the run that win for none of them are left out.

  Raises:
    ValueError: the rules do not fit the parameters.
  """
  shapes = loading.shapes_of(source.model)
  rules = _winning(config.partition_rules, sections.flat(shapes, "/"))
  try:
    shardings = mesh_lib.param_shardings(rules, shapes, mesh)
  except ValueError as error:
    raise ValueError(_message(source.path, error)) from error
  return jax.tree.map(
    lambda x, sharding: jax.ShapeDtypeStruct(
      x.shape, x.dtype, sharding=sharding
    ),
    shapes,
    shardings,
  )


def read(
  config: config_lib.Config,
  mesh: jax.sharding.Mesh,
  folder: pathlib.Path,
  *,
  begun: bool,
) -> dict[str, Any]:
  """Return the teacher's parameters, each in its sharding.

  Every process reads the files. The digest is written into the run's folder, or
  compared with what is there.

  Args:
    config: checked by `check`.
    mesh: mesh of the run.
    folder: folder of the run.
    begun: whether the run has a checkpoint.

  Raises:
    ValueError: the files cannot be read, the model has no bias of the sigmoid
      loss, or a run that has begun had other parameters.
  """
  source = find(config)
  targets = sections.flat(abstract(source, config, mesh), "/")
  try:
    flat = _read(source, targets, mesh)
    if not float(jax.device_get(flat["bias"])):
      raise ValueError(
        "the bias of its logits is 0: it was not trained by the sigmoid loss,"
        " whose differences are the learnability"
      )
  except (ValueError, OSError, failures.RunError) as error:
    raise ValueError(_message(source.path, error)) from error
  params = mapping.nested(flat)
  facts = {"teacher": source.path, "digest": saved_trees.digest(params)}
  cluster.on_first(lambda: _keep(folder, facts, begun=begun))
  count = sum(x.size for x in flat.values())
  metrics.say(f"Teacher: {source.path}, {count / 1e6:.2f} M parameters")
  return params


def _of_run(path: str, folder: pathlib.Path) -> Source:
  started_with = workdir.read_config(folder)
  assert started_with is not None  # workdir.is_run
  workdir.check_encoder(folder, started_with)
  newest = workdir.newest_step(folder) or 0
  stage = config_lib.stage_of_checkpoint(started_with, newest)
  run = stage.config
  if run.loss.name != _LOSS:
    raise ValueError(
      f"its run must have loss.name={_LOSS!r}, whose differences are the"
      f" learnability; got {run.loss.name!r}"
    )
  if run.model.lora.rank:
    raise ValueError(
      f"the run has low-rank updates, model.lora.rank={run.model.lora.rank};"
      " give its export, which has them merged: --task=export"
    )
  return Source(path, run.model, run, None)


def _inputs(
  source: Source,
) -> tuple[model_inputs.Protocol, tokenizers.Tokenizer]:
  if source.run is not None:
    folder = bucket_path.make(source.path)
    protocol = run_inputs.find_protocol(folder, source.run)
    return protocol, run_inputs.find_tokenizer(folder, source.run)
  assert source.files is not None
  family = families.name(loading.find_family(source.files))
  described = (source.path, family, source.model, source.files)
  return published_inputs.image_protocol(*described), (
    published_inputs.tokenizer(source.path, source.model, source.files)
  )


def _check_tokenizer(
  ours: tokenizers.Tokenizer, theirs: tokenizers.Tokenizer
) -> None:
  """Raise ValueError where a text has other ids for the teacher."""
  here, there = (vars(x.rule) for x in (ours, theirs))
  different = [
    f"{name} is {there[name]!r} there, {value!r} in the run"
    for name, value in here.items()
    if there[name] != value
  ]
  if different:
    raise ValueError(
      "its tokenizer must have the run's rule, as both models read the same"
      f" ids: {'; '.join(different)}"
    )
  if saved.digest(ours) == saved.digest(theirs):
    return
  # One vocabulary may be kept in files of several formats.
  texts = (ours.codec.decode([token]) for token in range(ours.vocab_size))
  for text in texts:
    got, wanted = (x.codec.encode(text) for x in (theirs, ours))
    if got != wanted:
      raise ValueError(
        "its tokenizer must have the run's vocabulary, as both models read the"
        f" same ids; got {got} for {text!r}, which is {wanted} in the run. Give"
        " data.tokenizer and data.tokenizer_path of the teacher"
      )


def _winning(
  rules: tuple[tuple[str, Any], ...], params: Mapping[str, Any]
) -> tuple[tuple[str, Any], ...]:
  """Return the rules that win for a parameter."""
  won = set()
  for path in params:
    made = param_rules.first(rules, path)
    won |= set() if made is None else {made}
  return tuple(rule for index, rule in enumerate(rules) if index in won)


def _read(
  source: Source,
  targets: Mapping[str, jax.ShapeDtypeStruct],
  mesh: jax.sharding.Mesh,
) -> dict[str, jax.Array]:
  """Return parameters by path, each as its target."""
  if source.run is not None:
    theirs = objectives.variable_shapes(source.run)
    left = tuple(f"{name}/" for name in dual_encoder.PARTS)
    return starting_weights.of_checkpoint(
      bucket_path.make(source.path),
      source.run,
      sections.flat(theirs, "/"),
      targets,
      mesh,
      may_be_left=lambda path: path.startswith(left),
    )
  assert source.files is not None
  family, files = loading.find_family(source.files), source.files
  params = cluster.together(
    lambda: loading.read_params(family, source.model, files)
  )
  return {
    path: mesh_lib.placed(np.asarray(x), targets[path])
    for path, x in sections.flat(params, "/").items()
  }


def _keep(folder: pathlib.Path, facts: dict[str, str], *, begun: bool) -> None:
  """Write the facts; raise ValueError for a begun run that had others."""
  path = folder / NAME
  if begun and path.exists():
    was = json.loads(path.read_text())
    if was["digest"] != facts["digest"]:
      raise ValueError(
        f"--config.{_FIELD}={facts['teacher']}: the run in {folder} must go on"
        f" with the teacher that it began with, of digest {was['digest']}; got"
        f" {facts['digest']}. Bring its files back, or give another --workdir"
      )
    return
  whole_files.write(path, json.dumps(facts, indent=2).encode() + b"\n")


def _message(path: str, error: Exception) -> str:
  return f"--config.{_FIELD}={path}: {str(error).removeprefix(f'{path}: ')}"
