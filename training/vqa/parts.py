"""Parts of a model that answers questions, as runs trained them beforehand."""

import json
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from input_pipeline.questions import question_data
from runtime import checks, failures
from runtime import mesh as mesh_lib
from runtime.storage import bucket_path
from training import checkpointing, metrics
from training import config as config_lib
from training.objectives import denoising, routing
from training.run import workdir

# File of a run with its words and answers.
VOCABULARY = "vocabulary.json"
# Field of config.vqa -> value of vqa.trains of the run that it names.
_FIELDS: Mapping[str, str] = types.MappingProxyType(
  {
    "autoencoder_from": question_data.AUTOENCODER,
    "router_from": question_data.ROUTER,
  }
)
# Fields of config.vqa in which a router's run must agree: they say which
# questions it saw and how, and the shapes of its parameters.
_ROUTERS = (
  *("layout", "legacy_protocol", "validation_share", "num_tokens"),
  *("model.width", "model.word_width"),
)


def check_early(config: config_lib.Config) -> None:
  """Raise ValueError where a field names no run of its kind, or another's."""
  with checks.collected():
    for field, trains in _FIELDS.items():
      theirs = _config_of(config, field, trains)
      if theirs is not None and trains == question_data.ROUTER:
        _check_router(config, theirs)


def _config_of(
  config: config_lib.Config, field: str, trains: str
) -> config_lib.Config | None:
  """Return the config of the run that a field names, None without a run."""
  path = getattr(config.vqa, field)
  if not path:
    return None
  folder = bucket_path.make(path)
  expected = (
    f'vqa.{field} must be the folder of a run with vqa.trains="{trains}"'
  )
  if not workdir.is_run(folder):
    checks.refuse(f"{expected}; got {path!r}, which has no run")
    return None
  try:
    theirs = workdir.read_config(folder)
  except failures.RunError as error:
    checks.refuse(f"vqa.{field}={path}: {error}")
    return None
  if theirs and theirs.vqa.trains != trains:
    checks.refuse(f'{expected}; got {path!r}, with "{theirs.vqa.trains}"')
    return None
  if not workdir.has_checkpoint(folder):
    checks.refuse(f"{expected} and a checkpoint; got {path!r} without one")
    return None
  return theirs


def _check_router(ours: config_lib.Config, theirs: config_lib.Config) -> None:
  """Raise ValueError for a router of other questions, or of another size."""
  for name in _ROUTERS:
    here, there = _field(ours.vqa, name), _field(theirs.vqa, name)
    if here != there:
      checks.refuse(
        f"vqa.{name} must be that of vqa.router_from={ours.vqa.router_from},"
        f" {there!r}; got {here!r}"
      )


def _field(section: Any, name: str) -> Any:
  for part in name.split("."):
    section = getattr(section, part)
  return section


def check_words(config: config_lib.Config, words: Sequence[str]) -> None:
  """Raise ValueError where the router was trained with other words.

  Args:
    config: accepted by `check_early`.
    words: words of the vocabulary, in the order of their ids.
  """
  path = config.vqa.router_from
  if not path:
    return
  file = bucket_path.make(path) / VOCABULARY
  try:
    theirs = json.loads(file.read_text())["words"]
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f"vqa.router_from={path}: {file} cannot be read: {error!r}"
    ) from error
  if theirs != list(words):
    missing = sorted(set(words) - set(theirs))
    more = sorted(set(theirs) - set(words))
    raise ValueError(
      f"vqa.router_from must be a run with the {len(words)} words of"
      f" vqa.path={config.vqa.path}; got {path}, with {len(theirs)} words,"
      f" {len(missing)} of these missing{_shown(missing)} and"
      f" {len(more)} others{_shown(more)}"
    )


def _shown(words: Sequence[str]) -> str:
  return f" ({', '.join(words[:3])})" if words else ""


def read(
  config: config_lib.Config, mesh: jax.sharding.Mesh, num_words: int
) -> dict[str, Any]:
  """Return the parts that config.vqa names, {} without any.

  They are the autoencoder's encoder and decoder, and the router.

  Args:
    config: accepted by `check_early`.
    mesh: mesh of the run.
    num_words: words of the vocabulary, accepted by `check_words`.

  Raises:
    ValueError: weights of a part cannot be read.
  """
  made = {}
  if config.vqa.autoencoder_from:
    init_params = denoising.make(config).init_params
    made |= _read(config, "autoencoder_from", init_params, mesh)
  if config.vqa.router_from:
    init_params = routing.make(config, num_words).init_params
    made |= _read(config, "router_from", init_params, mesh)
  return made


def _read(
  config: config_lib.Config,
  field: str,
  init_params: Callable[[jax.Array], Any],
  mesh: jax.sharding.Mesh,
) -> dict[str, Any]:
  path = getattr(config.vqa, field)
  shapes = jax.eval_shape(init_params, jax.random.key(0))
  whole = mesh_lib.replicated(mesh)
  abstract = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), shapes
  )
  try:
    restored = checkpointing.restore_params(
      workdir.weights(bucket_path.make(path)), abstract
    )
  except (ValueError, OSError, failures.RunError) as error:
    raise ValueError(f"vqa.{field}={path}: {error}") from error
  if restored is None:
    raise ValueError(f"vqa.{field}={path}: this run has no checkpoint yet")
  step, params = restored
  metrics.say(f"{_FIELDS[field].capitalize()}: that of step {step} of {path}")
  return params
