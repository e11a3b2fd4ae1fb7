"""Saving to and resuming from an emulated bucket, beside a disk.

The loop's process has one core, the emulator another. Saves of the stores take
turns, so that whatever else the machine does disturbs all alike. After each the
loop computes for --pause seconds while the save goes on, and then waits for it:
`blocked` is the time until a save lets the loop go on, `blocked_cpu` the
processor time of all threads in it, which other programs change little, and
`waited` the time that a save lasts beyond the pause. `blocked_ratio` is the
median of a store's times by the median of the disk's.

python -m benchmarks.bucket --stores=disk,s3,gs [--num_params=30_000_000]
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import optax
from absl import app, flags

from runtime.storage import bucket_path, objects
from tests import bucket_emulators as emulators
from training import checkpointing, train_state

_STORES = flags.DEFINE_list(
  "stores", ["disk", "s3", "gs"], "Stores to measure."
)
_NUM_PARAMS = flags.DEFINE_integer("num_params", 30_000_000, "Parameters.")
_NUM_SAVES = flags.DEFINE_integer(
  "num_saves", 8, "Saves of each store; the first, which compiles, is not used."
)
_PAUSE = flags.DEFINE_float("pause", 8.0, "Seconds of computing after a save.")
_WIDTH = 1000


class _Position:
  """Iterator whose position alone is saved."""

  def get_state(self) -> dict[str, int]:
    return {"next_index": 7}

  def set_state(self, state: dict[str, int]) -> None:
    assert state == self.get_state()


def _state(num_params: int) -> train_state.TrainState:
  shape = (num_params // _WIDTH // 10, _WIDTH)
  keys = jax.random.split(jax.random.key(0), 10)
  params = {
    f"l{i}": jax.random.normal(key, shape) for i, key in enumerate(keys)
  }
  opt_state = jax.tree.map(  # zeros would be compressed to nothing
    lambda x: jax.random.normal(keys[0], x.shape, x.dtype) if x.ndim else x,
    optax.adam(1e-3).init(params),
  )
  return train_state.TrainState(
    step=jnp.int32(0), params=params, opt_state=opt_state, stats={}, ema={}
  )


@jax.jit
def _step(x: jax.Array) -> jax.Array:
  return jnp.tanh(x @ x) + x


def _compute(seconds: float) -> int:
  """Compute for so long; return the number of steps made."""
  x, count = jnp.ones((256, 256)), 0
  deadline = time.monotonic() + seconds
  while time.monotonic() < deadline:
    x = jax.block_until_ready(_step(x))
    count += 1
  return count


@contextlib.contextmanager
def _opened(
  name: str, core: int
) -> Iterator[tuple[pathlib.Path, emulators.Proxy | None]]:
  """Yield a folder, and the proxy that counts its reads.

  Args:
    name: "disk", or the scheme of a bucket.
    core: the emulator's.
  """
  if name == "disk":
    with tempfile.TemporaryDirectory() as folder:
      yield pathlib.Path(folder), None
    return
  with contextlib.ExitStack() as stack:
    loops = os.sched_getaffinity(0)
    # Inherited by all threads of the emulator.
    os.sched_setaffinity(0, [core])
    emulator = stack.enter_context(emulators.started(name))
    os.sched_setaffinity(0, loops)
    proxy = emulators.Proxy(emulator.port)
    with emulators.connected(emulator.variables):
      yield bucket_path.make(f"{emulator.root}/run"), proxy
    proxy.close()


@dataclasses.dataclass
class _Store:
  """A store, and the times of saves to it in seconds."""

  folder: pathlib.Path
  proxy: emulators.Proxy | None
  checkpointer: checkpointing.Checkpointer
  blocked: list[float] = dataclasses.field(default_factory=list)
  blocked_cpu: list[float] = dataclasses.field(default_factory=list)
  waited: list[float] = dataclasses.field(default_factory=list)

  def save(self, state: train_state.TrainState, step: int) -> None:
    start, cpu = time.monotonic(), time.process_time()
    self.checkpointer.save(state, _Position(), step)
    self.blocked.append(time.monotonic() - start)
    self.blocked_cpu.append(time.process_time() - cpu)
    _compute(_PAUSE.value)
    start = time.monotonic()
    self.checkpointer.wait()
    self.waited.append(time.monotonic() - start)

  def figures(self) -> dict[str, float]:
    """Return medians, and the first time, in which programs are compiled."""
    return {
      "first_s": self.blocked[0],
      "blocked_s": statistics.median(self.blocked[1:]),
      "blocked_cpu_s": statistics.median(self.blocked_cpu[1:]),
      "waited_s": statistics.median(self.waited[1:]),
    }


def _resume(
  name: str, store: _Store, state: train_state.TrainState
) -> dict[str, float]:
  """Restore the last save, and compare the bytes that were read."""
  proxy = store.proxy
  assert proxy is not None, "the bytes of a disk are not counted"
  last = store.folder / "checkpoints" / str(_NUM_SAVES.value - 1)
  size = sum(objects.sizes(str(last)).values())
  with emulators.connected(emulators.variables(name, proxy.port)):
    abstract = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
      state,
    )
    reader = checkpointing.Checkpointer(store.folder / "checkpoints", keep=2)
    proxy.num_read = 0
    restored = reader.restore(abstract, _Position())
    read = proxy.num_read
    reader.close()
  assert restored is not None
  assert jax.tree.all(
    jax.tree.map(lambda a, b: bool((a == b).all()), restored, state)
  )
  return {
    "checkpoint_mb": size / 1e6,
    "read_mb": read / 1e6,
    "read_ratio": read / size,
  }


def main(argv: list[str]) -> None:
  del argv
  cores = sorted(os.sched_getaffinity(0))
  os.sched_setaffinity(0, cores[:1] if len(cores) > 1 else cores)
  state = _state(_NUM_PARAMS.value)
  with contextlib.ExitStack() as stack:
    stores = {}
    for name in _STORES.value:
      folder, proxy = stack.enter_context(_opened(name, cores[-1]))
      checkpointer = checkpointing.Checkpointer(folder / "checkpoints", keep=2)
      stack.callback(checkpointer.close)
      stores[name] = _Store(folder, proxy, checkpointer)
    for step in range(_NUM_SAVES.value):
      for store in stores.values():
        store.save(state, step)
    os.sched_setaffinity(0, cores)
    for name, store in stores.items():
      figures = store.figures()
      if "disk" in stores and name != "disk":
        disk = stores["disk"].figures()
        for kind in ("blocked", "blocked_cpu"):
          ratio = figures[f"{kind}_s"] / disk[f"{kind}_s"]
          figures[f"{kind}_ratio"] = ratio
      if store.proxy is not None:
        figures |= _resume(name, store, state)
      print(name, json.dumps(figures), flush=True)


if __name__ == "__main__":
  app.run(main)
