"""Memory and time of ranks of a million by a million on TPUs, by the compiler.

  python -m benchmarks.evaluation.retrieval_plan [--topology=v5e:16x16]

It needs no TPU, but its compiler (requirements-tpu.txt). The figures are of
`evaluators.retrieval.ranks_both`: float32 images and as many texts, both
directions. Printed are, in one JSON object,

- peak_mib: bytes on a chip while the program runs. A chip holds a chunk of
  columns and a tile of rows, so they do not grow with the number of images or
  texts; bound_mib is the sum of the arrays that it holds by construction;
- seconds: the matrix product alone at the chip's peak for bfloat16, in 6 passes
  for a float32 product, with the padding of tiles; and bytes over HBM's
  bandwidth, where each tile reads its columns again;
- fed_gib: bytes that a chip gets from its host in all.
"""

import json
import math
import time
from collections.abc import Sequence

from absl import app, flags, logging

from training.plan import topology as topology_lib

_TOPOLOGY = flags.DEFINE_string("topology", "v5e:16x16", "Slice of TPU chips.")
_NUM = flags.DEFINE_integer("num", 10**6, "Images, and texts.", 1)
_SIZE = flags.DEFINE_integer("size", 512, "Dimensions of an embedding.", 1)

# Passes of a float32 product at the highest precision on bfloat16 units.
_PASSES = 6
_MIB, _GIB = 2**20, 2**30


def main(argv: Sequence[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)
  topology = topology_lib.prepare(_TOPOLOGY.value)
  # JAX may be imported from here on.
  from evaluators import tiles
  from runtime import mesh as mesh_lib

  mesh = mesh_lib.make_mesh(
    mesh_lib.MeshConfig(-1, 1, 1), topology_lib.devices(topology)
  )
  num, size = _NUM.value, _SIZE.value
  row_tile, col_tile = tiles.tile_sizes(num, num)
  width = tiles.chunk_size(num)
  num_blocks = math.ceil(num / (row_tile * mesh.size))
  num_chunks = math.ceil(num / width)
  start = time.monotonic()
  memory = tiles.lower(num, num, size, mesh=mesh).compile().memory_analysis()
  assert memory is not None
  # Embeddings of a chunk, of its tile and of a tile of rows, similarities.
  held = 4 * (size * (width + col_tile + row_tile) + row_tile * col_tile)
  # Column tiles that a chip visits, all of its blocks together.
  num_visits = num_blocks * math.ceil(num / col_tile)
  row = {
    "topology": topology.name,
    "chips": mesh.size,
    "num": num,
    "size": size,
    "calls": num_blocks * num_chunks,
    "peak_mib": memory.peak_memory_in_bytes / _MIB,
    "argument_mib": memory.argument_size_in_bytes / _MIB,
    "temp_mib": memory.temp_size_in_bytes / _MIB,
    "bound_mib": held / _MIB,
    "fed_gib": 4 * size * (width + num_blocks * row_tile) * num_chunks / _GIB,
    "compile_s": time.monotonic() - start,
  }
  if chip := topology.chip:
    flop = 2 * _PASSES * num_visits * row_tile * col_tile * size
    row |= {
      "hbm_mib": 1024 * chip.usable_hbm_gib,
      "matmul_s": flop / chip.peak_gflops / 1e9,
      "hbm_s": 4 * num_visits * col_tile * size / chip.hbm_gb_s / 1e9,
    }
  print(json.dumps(row))


if __name__ == "__main__":
  app.run(main)
