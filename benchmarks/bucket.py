"""Saving to and resuming from an emulated bucket, beside a disk.

The loop's process has one core, the emulator another. Between two saves the
loop computes for --pause seconds.

python -m benchmarks.bucket --stores=disk,s3,gs [--num_params=30_000_000]
"""

import contextlib
import json
import os
import pathlib
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
_NUM_SAVES = flags.DEFINE_integer("num_saves", 4, "Saves of each store.")
_PAUSE = flags.DEFINE_float("pause", 20.0, "Seconds of computing after a save.")
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
def _store(name: str) -> Iterator[tuple[pathlib.Path, emulators.Proxy | None]]:
  """Yield a folder, and the proxy that counts its reads."""
  if name == "disk":
    with tempfile.TemporaryDirectory() as folder:
      yield pathlib.Path(folder), None
    return
  with emulators.started(name) as emulator:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(emulator.process.pid, cores[-1:])
    proxy = emulators.Proxy(emulator.port)
    with emulators.connected(emulator.variables):
      yield bucket_path.make(f"{emulator.root}/run"), proxy
    proxy.close()


def _measure(name: str) -> dict[str, float]:
  state = _state(_NUM_PARAMS.value)
  blocked = []
  with _store(name) as (folder, proxy):
    cores = sorted(os.sched_getaffinity(0))
    checkpointer = checkpointing.Checkpointer(folder / "checkpoints", keep=2)
    for step in range(_NUM_SAVES.value):
      start = time.monotonic()
      checkpointer.save(state, _Position(), step)
      blocked.append(time.monotonic() - start)
      _compute(_PAUSE.value)
    start = time.monotonic()
    checkpointer.wait()
    waited = time.monotonic() - start
    checkpointer.close()
    figures = {
      "blocked_s": sorted(blocked)[len(blocked) // 2],
      "first_s": blocked[0],
      "last_wait_s": waited,
    }
    if proxy is None:
      return figures
    last = folder / "checkpoints" / str(_NUM_SAVES.value - 1)
    size = sum(objects.sizes(str(last)).values())
    os.sched_setaffinity(0, cores)
    with emulators.connected(emulators.variables(name, proxy.port)):
      abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
        state,
      )
      reader = checkpointing.Checkpointer(folder / "checkpoints", keep=2)
      proxy.num_read = 0
      restored = reader.restore(abstract, _Position())
      read = proxy.num_read
      reader.close()
    assert restored is not None
    assert jax.tree.all(
      jax.tree.map(lambda a, b: bool((a == b).all()), restored, state)
    )
    return figures | {
      "checkpoint_mb": size / 1e6,
      "read_mb": read / 1e6,
      "read_ratio": read / size,
    }


def main(argv: list[str]) -> None:
  del argv
  cores = sorted(os.sched_getaffinity(0))
  os.sched_setaffinity(0, cores[:1] if len(cores) > 1 else cores)
  for name in _STORES.value:
    print(name, json.dumps(_measure(name)), flush=True)


if __name__ == "__main__":
  app.run(main)
