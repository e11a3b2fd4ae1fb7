"""Devices of the slice in --topology, for compilation without the hardware.

Call `prepare` before JAX is imported: the TPU compiler reads its settings from
the environment when it is loaded.
"""

import dataclasses
import importlib.util
import os
import re
from typing import Any

from absl import app

from runtime import failures
from training.plan import chips

_ENVIRONMENT = {
  "JAX_PLATFORMS": "cpu",  # arrays of a compilation; TPUs stay free
  "TPU_SKIP_MDS_QUERY": "1",  # there is no metadata server
  "TPU_ACCELERATOR_TYPE": "v5litepod-8",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "TPU_WORKER_ID": "0",
  # No chip is opened, so several processes may load libtpu.
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
_EXAMPLES = "v5e:16x16, v4:4x4x4 or cpu:8"


@dataclasses.dataclass(frozen=True)
class Topology:
  """A parsed --topology and --num_slices.

  Attributes:
    name: value of the flag, such as "v5e:16x16".
    num_slices: number of slices, joined by the data-center network.
    chip: kind of chip; None for simulated CPU devices.
    shape: chips along each dimension of one slice, such as (16, 16).
  """

  name: str
  num_slices: int
  chip: chips.Chip | None
  shape: tuple[int, ...]


def parse(name: str | None, num_slices: int = 1) -> Topology:
  """Return the topology of the flags.

  Raises:
    UsageError: a flag has an invalid value; the message names the flag.
  """
  if not name:
    raise app.UsageError("--topology is missing: --topology=v5e:16x16")
  if num_slices < 1:
    raise app.UsageError(f"--num_slices must be at least 1; got {num_slices}")
  match = re.fullmatch(r"([a-z0-9]+):([1-9]\d*(?:x[1-9]\d*)*)", name)
  if not match:
    raise app.UsageError(
      f"--topology must be KIND:SIZE, as {_EXAMPLES}; got {name!r}"
    )
  kind, size = match.groups()
  shape = tuple(int(n) for n in size.split("x"))
  if kind == "cpu":
    if len(shape) > 1 or num_slices > 1:
      raise app.UsageError(
        "--topology=cpu:N simulates N devices in one slice; got"
        f" --topology={name} --num_slices={num_slices}"
      )
    return Topology(name, 1, None, shape)
  if kind not in chips.CHIPS:
    raise app.UsageError(
      f"--topology must name one of {', '.join(chips.CHIPS)} or cpu, as"
      f" {_EXAMPLES}; got {name!r}"
    )
  chip = chips.CHIPS[kind]
  if len(shape) != chip.dimensions:
    example = "x".join(["4"] * chip.dimensions)
    raise app.UsageError(
      f"--topology: a slice of {kind} has {chip.dimensions} dimensions, as"
      f" {kind}:{example}; got {name!r}"
    )
  return Topology(name, num_slices, chip, shape)


def prepare(name: str | None, num_slices: int = 1) -> Topology:
  """Parse the flags, and set the environment and JAX's options for `devices`.

  Raises:
    UsageError: as in `parse`.
    RunError: the TPU compiler is not installed.
  """
  topology = parse(name, num_slices)
  if topology.chip is not None and not importlib.util.find_spec("libtpu"):
    raise failures.RunError(
      f"--topology={topology.name} needs the TPU compiler, which runs on any"
      " Linux machine: pip install -r requirements-tpu.txt. Without it, use"
      " --topology=cpu:8"
    )
  os.environ.update(_ENVIRONMENT)
  import jax

  jax.config.update("jax_platforms", "cpu")
  # A program from the cache would have no compilation time.
  jax.config.update("jax_enable_compilation_cache", False)
  if topology.chip is None:
    jax.config.update("jax_num_cpu_devices", topology.shape[0])
  return topology


def devices(topology: Topology) -> list[Any]:
  """Return the devices of all slices; TPU devices can only be compiled for.

  Raises:
    UsageError: no such slice exists; the message has the compiler's reason.
  """
  import jax
  from jax.experimental import topologies

  if topology.chip is None:
    return jax.devices()
  options: dict[str, Any] = {}
  if topology.chip.config_name:
    options["chip_config_name"] = topology.chip.config_name
  if topology.num_slices > 1:
    options["num_slices"] = topology.num_slices
  try:
    return list(
      topologies.get_topology_desc(
        platform="tpu", topology_name=topology.name, **options
      ).devices
    )
  except jax.errors.JaxRuntimeError as error:
    if "INVALID_ARGUMENT" not in str(error):
      raise
    raise app.UsageError(
      f"--topology must be a slice that exists, as {_EXAMPLES}; got"
      f" {topology.name!r}: {str(error).splitlines()[0]}"
    ) from error
