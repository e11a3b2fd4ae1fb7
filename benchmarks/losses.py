"""Memory and time of the losses with all their gradients.

  python -m benchmarks.losses [--json] [--tables=memory,time,tpu]

`memory` is the memory that the compiler allocates beside arguments and results
(`temp_size_in_bytes`), per simulated CPU device, for float32 embeddings of
length 512; `matrix` rows are `reference`, split by the compiler under jit.

`time` runs both on 8 simulated CPU devices, 2048 rows each, one step each in
turn, in alternating order; the ratio is the median of the rounds' ratios, ours
over the reference's, below 1 if ours is faster. GFLOP are those of the matrix
products by formula: both compute three for each pair of rows; a softmax's
second tour repeats one of them.

`tpu` compiles a batch of 1,048,576 for 512 TPU v4 chips, bfloat16 embeddings
of length 768; no TPU is needed, but `pip install libtpu`. `temp_mib` there is
high-bandwidth memory; peak_mib includes arguments, results and the memory that
the compiler uses on the chip.
"""

import functools
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from jax import P
from jax.experimental import topologies

import losses

_TABLES = flags.DEFINE_list(
  "tables", ["memory", "time"], "Tables to print: memory, time, tpu."
)
_LOSSES = flags.DEFINE_list("losses", list(losses.LOSSES), "Losses to measure.")
_BLOCK_SIZE = flags.DEFINE_integer(
  "block_size", 256, "Rows of a block, loss.block_size."
)
_ROUNDS = flags.DEFINE_integer(
  "rounds", 5, "Rounds; each form makes one step a round.", lower_bound=1
)
_HLO_DIR = flags.DEFINE_string(
  "hlo_dir", None, "Folder for the programs of the tpu table, as text."
)
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object a line.")

# (number of devices, rows on each)
_MEMORY_SIZES = ((8, 1024), (8, 2048), (32, 1024))
_TIME_SIZE = (8, 2048)
_AXES = ("data", "fsdp")
Row = dict[str, str | int | float]


def make_mesh(devices: Sequence[jax.Device]) -> jax.sharding.Mesh:
  """Make a mesh with the axes that a batch is split over."""
  return jax.sharding.Mesh(
    np.asarray(devices).reshape(-1, 1),
    _AXES,
    axis_types=(jax.sharding.AxisType.Auto,) * 2,
  )


def abstract_arguments(
  mesh: jax.sharding.Mesh, local_batch: int, dim: int, dtype: jnp.dtype
) -> tuple[jax.ShapeDtypeStruct, ...]:
  """Return both embeddings, scale, bias and labels, without data."""
  rows, everywhere = (jax.NamedSharding(mesh, s) for s in (P(_AXES), P()))
  batch_size = mesh.size * local_batch
  scalar = jax.ShapeDtypeStruct((), jnp.float32, sharding=everywhere)
  z = jax.ShapeDtypeStruct((batch_size, dim), dtype, sharding=rows)
  labels = jax.ShapeDtypeStruct((batch_size,), jnp.int32, sharding=rows)
  return z, z, scalar, scalar, labels


def compile_loss(
  name: str,
  form: str,
  mesh: jax.sharding.Mesh,
  arguments: tuple[jax.ShapeDtypeStruct, ...],
  block_size: int,
) -> jax.stages.Compiled:
  """Compile value and four gradients of a loss's "ring" or "matrix" form."""
  module = losses.LOSSES[name]

  def loss_fn(zimg_BE, ztxt_BE, scale, bias, labels_B):
    kwargs = {"scale": scale, "bias": bias, "labels_B": labels_B}
    if form == "matrix":
      return module.reference(zimg_BE, ztxt_BE, **kwargs)
    return module.sharded(
      zimg_BE, ztxt_BE, axis_names=_AXES, block_size=block_size, **kwargs
    )

  shardings = tuple(x.sharding for x in arguments[:4])
  value_and_grads = jax.jit(
    jax.value_and_grad(loss_fn, argnums=(0, 1, 2, 3)),
    out_shardings=(shardings[2], shardings),
  )
  with jax.set_mesh(mesh):
    return value_and_grads.lower(*arguments).compile()


def memory_rows() -> Iterator[Row]:
  """Yield a row for each loss, form and size."""
  for num_devices, local_batch in _MEMORY_SIZES:
    mesh = make_mesh(jax.devices()[:num_devices])
    arguments = abstract_arguments(mesh, local_batch, 512, jnp.dtype("float32"))
    for name in _LOSSES.value:
      for form in ("matrix", "ring"):
        compiled = compile_loss(name, form, mesh, arguments, _BLOCK_SIZE.value)
        yield _row(name, form, num_devices, local_batch, compiled)


def _row(name, form, num_devices, local_batch, compiled) -> Row:
  memory: Any = compiled.memory_analysis()
  return {
    "name": name if form == "ring" else f"{name}_{form}",
    "devices": num_devices,
    "local_batch": local_batch,
    "temp_mib": round(memory.temp_size_in_bytes / 2**20, 3),
  }


def time_rows() -> Iterator[Row]:
  """Yield a row for each loss: seconds of both forms, and their ratio."""
  num_devices, local_batch = _TIME_SIZE
  mesh = make_mesh(jax.devices()[:num_devices])
  dim, batch_size = 512, num_devices * local_batch
  abstract = abstract_arguments(mesh, local_batch, dim, jnp.dtype("float32"))
  rng = np.random.default_rng(0)
  arrays = [rng.normal(size=(batch_size, dim)) for _ in range(2)]
  arrays = [z / np.linalg.norm(z, axis=1, keepdims=True) for z in arrays]
  arrays += [10.0, -10.0, rng.integers(0, batch_size, batch_size)]
  arguments = [
    jax.device_put(np.asarray(x, like.dtype), like.sharding)
    for x, like in zip(arrays, abstract, strict=True)
  ]
  for name in _LOSSES.value:
    compiled = {
      form: compile_loss(name, form, mesh, abstract, _BLOCK_SIZE.value)
      for form in ("ring", "matrix")
    }
    runners: dict[str, Callable[[], object]] = {
      form: functools.partial(_run, c, arguments)
      for form, c in compiled.items()
    }
    seconds = measure(runners, _ROUNDS.value)
    ratios = [
      a / b for a, b in zip(seconds["ring"], seconds["matrix"], strict=True)
    ]
    products = {"ring": 3 if name == "sigmoid" else 4, "matrix": 3}
    for form, taken in seconds.items():
      yield _row(name, form, num_devices, local_batch, compiled[form]) | {
        "seconds": round(statistics.median(taken), 3),
        "ratio": round(statistics.median(ratios), 3) if form == "ring" else 1.0,
        "gflop": round(products[form] * 2 * batch_size**2 * dim / 1e9),
      }


def _run(compiled, arguments) -> None:
  jax.block_until_ready(compiled(*arguments))


def measure(
  runners: dict[str, Callable[[], object]], rounds: int
) -> dict[str, list[float]]:
  """Return seconds of each runner in each round, taken in turn."""
  seconds: dict[str, list[float]] = {name: [] for name in runners}
  order = list(runners)
  for run in runners.values():
    run()
  for _ in range(rounds):
    for name in order:
      start = time.perf_counter()
      runners[name]()
      seconds[name].append(time.perf_counter() - start)
    order.reverse()
  return seconds


def tpu_devices(topology: str, **kwargs) -> Sequence[jax.Device]:
  """Return devices that programs can be compiled for, but not run on.

  Raises:
    RuntimeError: libtpu is not installed, or does not know the topology.
  """
  # Without it, the TPU library asks a metadata server for the machine's kind.
  os.environ["TPU_SKIP_MDS_QUERY"] = "1"
  os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")
  os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
  os.environ.setdefault("TPU_WORKER_ID", "0")
  return topologies.get_topology_desc(
    platform="tpu", topology_name=topology, **kwargs
  ).devices


def tpu_rows() -> Iterator[Row]:
  """Yield a row for each loss on 512 chips of TPU v4."""
  devices = tpu_devices("v4:8x8x8", chip_config_name="megacore")
  mesh = make_mesh(devices)
  local_batch = 2**20 // len(devices)
  arguments = abstract_arguments(mesh, local_batch, 768, jnp.dtype("bfloat16"))
  for name in _LOSSES.value:
    compiled = compile_loss(name, "ring", mesh, arguments, _BLOCK_SIZE.value)
    if _HLO_DIR.value:
      path = pathlib.Path(_HLO_DIR.value, f"{name}.txt")
      path.write_text(str(compiled.as_text()))
    row = _row(name, "ring", len(devices), local_batch, compiled)
    memory: Any = compiled.memory_analysis()
    yield row | {
      "topology": "v4:8x8x8",
      "peak_mib": round(memory.peak_memory_in_bytes / 2**20, 3),
    }


_ROWS = {"memory": memory_rows, "time": time_rows, "tpu": tpu_rows}


def main(argv: Sequence[str]) -> None:
  del argv
  unknown = [t for t in _TABLES.value if t not in _ROWS]
  if unknown:
    raise app.UsageError(
      f"--tables must be among {', '.join(_ROWS)}; got {', '.join(unknown)}"
    )
  jax.config.update("jax_platforms", "cpu")
  jax.config.update(
    "jax_num_cpu_devices", max(devices for devices, _ in _MEMORY_SIZES)
  )
  for table in _TABLES.value:
    for i, row in enumerate(_ROWS[table]()):
      if _JSON.value:
        print(json.dumps({"table": table} | row), flush=True)
        continue
      if not i:
        print(table, *(f"{key:>11}" for key in list(row)[1:]), sep="\t")
      print(*(f"{x!s:>11}" for x in row.values()), sep="\t", flush=True)


if __name__ == "__main__":
  app.run(main)
