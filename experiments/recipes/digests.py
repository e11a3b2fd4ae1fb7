"""Digests of all that the figures of a plan follow from.

A plan holds as long as three things are the same: the program that the compiler
gets, the compiler, and the code that counts the compiled program's work.

The first is compared as text (StableHLO, lowered for an abstract mesh): a
digest of source files would change with each commit that touches a tower,
although most leave the programs of most recipes as they are, and would not
change with a new version of Flax. Lowering takes about a second of a core for
each program, and needs no TPU compiler. The digest of a config takes
milliseconds: that of the fields in which it differs from configs/base.py, so
that a new field with its default leaves it as it is.
"""

import ast
import dataclasses
import hashlib
import importlib
import json
import pathlib
from typing import Any

import jax
import ml_collections

from configs import base
from experiments.recipes import recipe as recipe_lib
from runtime import mesh as mesh_lib
from runtime import provenance
from training import config as config_lib
from training import patch_programs, train_step
from training.plan import topology as topology_lib

_ROOT = pathlib.Path(__file__).parents[2]
# Code that makes a plan of a compiled program.
_COUNTING = ("training/plan", "training/flops.py")
_COMPILERS = ("jax", "jaxlib", "libtpu")


def config_of(recipe: recipe_lib.Recipe) -> ml_collections.ConfigDict:
  """Return a recipe's config, its changes made.

  Raises:
    ImportError, ValueError: no such config, variant or field.
  """
  module = importlib.import_module(f"configs.{recipe.module}")
  config = module.get_config(recipe.variant)
  recipe.change(config)
  return config


def config(recipe: recipe_lib.Recipe) -> str:
  """Return the digest of the fields in which a config is not the default."""
  default = _flat(base.get_config().to_dict())
  return _digest(
    {
      name: value
      for name, value in _flat(config_of(recipe).to_dict()).items()
      if name not in default or default[name] != value
    }
  )


def slices(recipe: recipe_lib.Recipe) -> str:
  """Return the digest of a recipe's slice and of its chip's figures."""
  chip = topology_lib.parse(recipe.topology).chip
  figures = None if chip is None else dataclasses.asdict(chip)
  return _digest([recipe.topology, recipe.num_slices, figures])


def programs(recipe: recipe_lib.Recipe) -> str:
  """Return the digest of all programs of a recipe, as the compiler gets them.

  There is one for each phase, and in it for each number of patches.
  """
  # JAX's caches of traces begin empty, so that a digest is the same after any
  # other: once they are full, a function is lowered for each trace of it anew.
  jax.clear_caches()
  checked = config_lib.checked(config_of(recipe).to_dict())
  texts = []
  for stage in config_lib.stages(checked):
    counts = stage.config.data.augmentation.patch_counts
    parts = [stage.config]
    if len(counts) > 1:
      parts = [patch_programs.of_count(stage.config, n) for n in counts]
    texts += [lowered(part, recipe.num_chips) for part in parts]
  return _digest(texts)


def lowered(config: config_lib.Config, num_devices: int) -> str:
  """Return the step of a config as StableHLO for TPUs, made without them."""
  mesh: Any = jax.sharding.AbstractMesh(
    config.mesh.shape(num_devices),
    mesh_lib.AXES,
    axis_types=(jax.sharding.AxisType.Auto,) * len(mesh_lib.AXES),
  )
  made = train_step.make(config, mesh)
  with jax.sharding.use_abstract_mesh(mesh):
    return (
      train_step.trace_step(made, mesh)
      .lower(lowering_platforms=("tpu",))
      .as_text()
    )


def counting() -> str:
  """Return the digest of the counting code, without its prose."""
  texts = []
  for name in _COUNTING:
    path = _ROOT / name
    for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
      source = file.read_text(encoding="utf-8")
      texts.append([file.relative_to(_ROOT).as_posix(), _code_of(source)])
  return _digest(texts)


def compilers() -> dict[str, str]:
  """Return the versions of JAX and, if installed, of the compiler."""
  known = provenance.versions("libtpu")
  return {name: known[name] for name in _COMPILERS if name in known}


def _code_of(source: str) -> list[str]:
  """Return the lines of a file that are neither blank nor prose."""
  prose: set[int] = set()
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
      first = node.body[0] if node.body else None
      if isinstance(first, ast.Expr) and ast.get_docstring(node) is not None:
        prose |= {*range(first.lineno, (first.end_lineno or 0) + 1)}
  lines = enumerate(source.splitlines(), 1)
  return [
    line
    for number, line in lines
    if number not in prose and line.strip() and line.strip()[0] != "#"
  ]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
  flat: dict[str, Any] = {}
  for key, value in values.items():
    name = f"{prefix}{key}"
    if isinstance(value, dict) and value:
      flat |= _flat(value, f"{name}.")
    else:
      flat[name] = value
  return flat


def _digest(value: Any) -> str:
  text = json.dumps(value, sort_keys=True, default=repr)
  return hashlib.sha256(text.encode()).hexdigest()[:16]
