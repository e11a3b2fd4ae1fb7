"""Memory of the whole SigLIP B/16 training step on TPUs, from the compiler.

  python -m benchmarks.plan [--rows=v4-4096,v4-largest] [--json]

It needs no TPU, but its compiler (requirements-tpu.txt), and takes 1 to 2
minutes a compilation on 2 cores. The model is ViT-B/16 at 224 pixels, 64
tokens, AdamW with a bfloat16 first moment, each block recomputed, a chip's
batch in eight parts; a batch fits if it compiles.

  v4-4096, v4-8192     peak on v4:2x2x1 (4 chips) at these batches
  v4-largest           largest batch on v4:2x2x1, a power of two
  v4-microbatches      batch 65,536 on v4:2x2x1, in 8 micro-batches
  v5e-replicated       peak on v5e:16x16 (256 chips) at batch 32,768
  v5e-fsdp             the same with parameters split over all chips

`--changes` measures other settings in all rows, for example
--changes=model.remat=none,mesh.fsdp=4.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from absl import app, flags, logging

from configs import siglip
from training.plan import topology as topology_lib

# Name -> (topology, changed fields, whether to search for the largest batch).
ROWS: Mapping[str, tuple[str, Mapping[str, Any], bool]] = {
  "v4-4096": ("v4:2x2x1", {"batch_size": 4096}, False),
  "v4-8192": ("v4:2x2x1", {"batch_size": 8192}, False),
  "v4-largest": ("v4:2x2x1", {"batch_size": 16_384}, True),
  "v4-microbatches": (
    "v4:2x2x1",
    {"batch_size": 65_536, "num_microbatches": 8},
    False,
  ),
  "v5e-replicated": ("v5e:16x16", {"batch_size": 32_768}, False),
  "v5e-fsdp": (
    "v5e:16x16",
    {"batch_size": 32_768, "mesh.data": 1, "mesh.fsdp": 256},
    False,
  ),
}

_ROWS = flags.DEFINE_list("rows", list(ROWS), "Rows to print.")
_CHANGES = flags.DEFINE_list(
  "changes", [], "Changes of the config in all rows, each FIELD=VALUE."
)
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object a line.")


def measure(name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
  """Return one row: name, devices, batch sizes and figures of the memory."""
  topology_name, fields, largest = ROWS[name]
  topology = topology_lib.prepare(topology_name)
  # JAX may be imported from here on.
  from training import config as config_lib
  from training.plan import plan

  devices = topology_lib.devices(topology)
  config = siglip.get_config("b16")
  config.update_from_flattened_dict({**fields, **changes})

  def compiled(batch_size: int) -> dict[str, Any]:
    config.batch_size = batch_size
    checked = config_lib.checked(config.to_dict())
    return plan.make(checked, topology, devices, alternatives=False)

  got = compiled(config.batch_size)
  if largest:
    # Search up from the row's batch, or down to one that fits.
    while got["fits"]:
      more = compiled(2 * got["batch_size"])
      if not more["fits"]:
        break
      got = more
    while not got["fits"] and got["batch_size"] > len(devices):
      got = compiled(got["batch_size"] // 2)
  return {
    "name": name,
    "topology": topology_name,
    "devices": got["chips"],
    "batch_size": got["batch_size"],
    "local_batch": got["batch_size"] // got["chips"],
    "fits": got["fits"],
    "peak_gib": got["peak_gib"],
    "needs_gib": got["needs_gib"],
    "temp_mib": None if got["temp_gib"] is None else 1024 * got["temp_gib"],
    "hbm_gib": got["hbm_gib"],
    "compile_s": got["compile_s"],
  }


def _parsed(changes: Sequence[str]) -> dict[str, Any]:
  parsed: dict[str, Any] = {}
  for change in changes:
    name, separator, value = change.partition("=")
    if not separator:
      raise app.UsageError(f"--changes must be FIELD=VALUE; got {change!r}")
    try:
      parsed[name] = json.loads(value)
    except ValueError:
      parsed[name] = value
  return parsed


def main(argv: Sequence[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)
  for name in _ROWS.value:
    if name not in ROWS:
      raise app.UsageError(
        f"--rows must be among {', '.join(ROWS)}; got {name!r}"
      )
  changes = _parsed(_CHANGES.value)
  if not _JSON.value:
    print(
      f"{'name':15} {'topology':10} {'batch':>8} {'GiB':>9} {'usable':>7}"
      f" {'fits':>5} {'compiled':>11}"
    )
  for name in _ROWS.value:
    row = measure(name, changes)
    if _JSON.value:
      print(json.dumps(row), flush=True)
      continue
    gib = f"{row['needs_gib']:.2f}" if row["needs_gib"] else "more"
    print(
      f"{name:15} {row['topology']:10} {row['batch_size']:8,} {gib:>9}"
      f" {row['hbm_gib']:7.2f} {'yes' if row['fits'] else 'no':>5}"
      f" {row['compile_s']:9.0f} s",
      flush=True,
    )


if __name__ == "__main__":
  app.run(main)
