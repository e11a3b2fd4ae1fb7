"""Search for changes of the config with which a step fits, by compiling."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from runtime import marks
from runtime import mesh as mesh_lib
from training import config as config_lib

# Compiles a step with changed fields; returns None for an invalid combination.
Attempt = Callable[[Mapping[str, Any]], dict[str, Any] | None]


def first_that_fits(
  changes: Iterable[Mapping[str, Any]], attempt: Attempt
) -> list[dict[str, Any]]:
  """Return the changes tried, ending with the first that fits."""
  rows = []
  for change in changes:
    tried = attempt(change)
    if tried is None:
      continue
    kept = ("fits", "peak_gib", "needs_gib", "compile_s")
    rows.append({"flags": as_flags(change)} | {k: tried[k] for k in kept})
    if tried["fits"]:
      break
  return rows


def candidates(
  config: config_lib.Config, slice_size: int
) -> Iterator[dict[str, Any]]:
  """Yield changes that may make a step fit, the cheapest in time first.

  Args:
    config: config of the step that does not fit.
    slice_size: devices of one slice; parameters are split within slices.
  """
  now = config_lib.flat(config)
  fields = marks.recomputing(config_lib.Config)
  remats = fields.pop("model.remat")
  stronger = ()
  if config.model.remat in remats:
    stronger = remats[remats.index(config.model.remat) + 1 :]
  block = {"model.remat": "block"} if stronger else {}
  for remat in stronger:
    yield {"model.remat": remat}
  split = {}
  whole_slice = slice_size // config.mesh.tensor
  if config.mesh.fsdp < whole_slice:
    split = {"mesh.data": -1, "mesh.fsdp": whole_slice}
    yield split
    if block:
      yield block | split
  for base in (block, block | split) if split else (block,):
    # Each is tried with model.remat="block".
    for name, values in fields.items():
      if name == "num_microbatches" and config.loss.scope == "microbatch":
        continue  # it would be another loss
      for value in values[1:]:
        if value > now[name]:
          yield base | {name: value}


def largest_batch(
  config: config_lib.Config,
  plan: Mapping[str, Any],
  attempt: Attempt,
) -> int | None:
  """Return the largest batch that fits with nothing else changed.

  Sizes are powers of two times the batch shards, below `config.batch_size`. The
  largest are tried first, since a step that does not fit fails in a fraction of
  the time that one that fits takes to compile.
  """
  size = math.prod(plan["mesh"][axis] for axis in mesh_lib.BATCH_AXES)
  sizes = []
  while size < config.batch_size:
    sizes.append(size)
    size *= 2
  for size in reversed(sizes):
    tried = attempt({"batch_size": size})
    if tried is not None and tried["fits"]:
      return size
  return None


def changed(
  config: config_lib.Config, changes: Mapping[str, Any]
) -> config_lib.Config:
  """Return the config with {"model.remat": value} changed."""
  values = config_lib.to_mapping(config)
  for name, value in changes.items():
    *path, last = name.split(".")
    section = values
    for part in path:
      section = section[part]
    section[last] = value
  return config_lib.checked(values)


def as_flags(changes: Mapping[str, Any]) -> str:
  """Return the changes as flags of main.py."""
  return " ".join(f"--config.{name}={value}" for name, value in changes.items())
