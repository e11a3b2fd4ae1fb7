"""Checkpoints at s3:// of three processes, of which two share a disk.

python -m pytest tests/long/machines.py
"""

import os
import socket
import subprocess
import sys

from runtime.storage import bucket_path, committed
from tests import bucket_emulators as emulators
from tests import runs

# Process INDEX of 3: saves three steps, and restores the last to the bit.
_PROCESS = """
import sys
import jax, numpy as np, optax
from runtime import cluster
from runtime.storage import bucket_path
from training import checkpointing, train_state

class Position:
  index = 0
  def get_state(self): return {"index": self.index}
  def set_state(self, state): self.index = state["index"]

cluster.join(sys.argv[1], 3, int(sys.argv[2]), 300)
mesh = jax.sharding.Mesh(np.array(jax.devices()), ("fsdp",))
split = jax.NamedSharding(mesh, jax.P("fsdp"))
whole = jax.NamedSharding(mesh, jax.P())

def put(x, sharding=whole):
  return jax.make_array_from_callback(x.shape, sharding, lambda i: x[i])

def make(step):
  w = np.random.default_rng(step).normal(size=(600, 100)).astype(np.float32)
  def tree(x): return {"w": put(w + x, split), "c": put(w[:3] + x)}
  adam, *rest = jax.eval_shape(optax.adam(1e-3).init, tree(0))
  adam = adam._replace(count=put(np.int32(3)), mu=tree(1), nu=tree(2))
  return train_state.TrainState(
    step=put(np.int32(step)), params=tree(0), opt_state=(adam, *rest)
  )

folder = bucket_path.make(sys.argv[3])
checkpointer = checkpointing.Checkpointer(folder, keep=2)
with jax.set_mesh(mesh):
  position = Position()
  for position.index in (1, 2, 3):
    checkpointer.save(make(position.index), position, position.index)
  checkpointer.wait()
  position.index = 0
  abstract = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
    make(3),
  )
  got = checkpointer.restore(abstract, position)
  for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(make(3)), strict=True):
    for a, b in zip(x.addressable_shards, y.addressable_shards, strict=True):
      assert np.asarray(a.data).tobytes() == np.asarray(b.data).tobytes()
  assert position.index == 3
checkpointer.close()
"""


def test_two_processes_share_a_disk_and_one_has_another(tmp_path):
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{probe.getsockname()[1]}"
  with (
    emulators.started("s3") as emulator,
    emulators.connected(emulator.variables),
  ):
    folder = bucket_path.make(f"{emulator.root}/run/checkpoints")
    processes = []
    for index in range(3):
      disk = tmp_path / ("other" if index == 2 else "shared")
      disk.mkdir(exist_ok=True)
      settings = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
      processes.append(
        subprocess.Popen(
          [sys.executable, "-c", _PROCESS, address, str(index), str(folder)],
          cwd=runs.ROOT,
          env=os.environ | settings | {"TMPDIR": str(disk)},
          stdout=subprocess.PIPE,
          stderr=subprocess.PIPE,
          text=True,
        )
      )
    for process in processes:
      result = runs.finish(process)
      assert result.code == 0, result.stderr
    assert committed.names(folder) == ["2", "3"]
  assert not [*tmp_path.glob("*/diptych-staging-*")]
