"""Checkpoints in a bucket: read once, in part, and rejected where damaged."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from runtime.storage import bucket_path, objects
from tests import bucket_emulators as emulators
from training import checkpointing, train_state


class _Position:
  """Iterator whose position alone is saved."""

  def __init__(self):
    self.next_index = 7

  def get_state(self):
    return {"next_index": self.next_index}

  def set_state(self, state):
    self.next_index = state["next_index"]


def _state(seed: int) -> train_state.TrainState:
  shape = (600, 1000)
  params = {"w": jax.random.normal(jax.random.key(seed), shape)}
  adam, *rest = optax.adam(1e-3).init(params)
  moments = {"w": jax.random.normal(jax.random.key(seed + 1), shape)}
  adam = adam._replace(mu=moments, nu=moments)
  return train_state.TrainState(
    step=jnp.int32(seed), params=params, opt_state=(adam, *rest)
  )


@pytest.fixture(params=["s3", "gs"])
def bucket(request):
  """Return the folder of a run in a bucket, and a proxy that counts."""
  with emulators.started(request.param) as emulator:
    proxy = emulators.Proxy(emulator.port)
    settings = emulators.variables(request.param, proxy.port)
    with emulators.connected(settings):
      yield bucket_path.make(f"{emulator.root}/run"), proxy
    proxy.close()


@pytest.mark.slow
def test_a_checkpoint_is_read_once_and_a_damaged_one_rejected(bucket):
  workdir, proxy = bucket
  folder = workdir / "checkpoints"
  saver = checkpointing.Checkpointer(folder, keep=2)
  for step in range(3):
    saver.save(_state(step), _Position(), step)
  saver.wait()
  assert saver.steps() == [1, 2]  # the newest two
  saver.close()
  objects.replace(str(folder / "9/params/half"), b"of a killed run")

  # Parameters alone are read by evaluation.
  abstract = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
    _state(0),
  )
  sizes = objects.sizes(str(folder / "2"))
  proxy.num_read = 0
  step, params = checkpointing.restore_params(folder, abstract.params)
  of_params = sum(n for name, n in sizes.items() if name.startswith("params/"))
  assert proxy.num_read < 1.05 * of_params
  assert step == 2
  np.testing.assert_array_equal(params["w"], _state(2).params["w"])

  # All is read once by a resumed run.
  reader = checkpointing.Checkpointer(folder, keep=2)
  assert reader.steps() == [1, 2]
  assert not objects.has_any(str(folder / "9"))
  position = _Position()
  position.next_index = 0
  proxy.num_read = 0
  restored = reader.restore(abstract, position)
  assert proxy.num_read < 1.05 * sum(sizes.values())
  assert position.next_index == 7
  jax.tree.map(np.testing.assert_array_equal, restored, _state(2))

  # A changed byte is noticed, and the step before is taken.
  (name,) = (n for n, size in sizes.items() if "params/" in n and size > 2e6)
  data = bytearray((folder / "2" / name).read_bytes())
  data[len(data) // 2] ^= 1
  objects.replace(str(folder / "2" / name), bytes(data))
  restored = reader.restore(abstract, position)
  jax.tree.map(np.testing.assert_array_equal, restored, _state(1))
  assert reader.steps() == [1]
  rejected = objects.sizes(str(workdir / "rejected/2"))
  assert rejected[name] == sizes[name]
  reader.save(_state(2), position, 2)  # and is made again
  reader.wait()
  assert reader.steps() == [1, 2]
  reader.close()


@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
def test_a_full_disk_on_the_way_to_a_bucket_is_named(bucket, monkeypatch):
  """The error's line is so long that its reason was cut off."""
  workdir, _ = bucket
  saver = checkpointing.Checkpointer(workdir / "checkpoints", keep=2)

  def full(*args, **kwargs):
    raise ValueError(
      f'RESOURCE_EXHAUSTED: Failed writing: "{"folder/" * 40}file" [OS error'
      " 28: ENOSPC No space left on device]"
    )

  with monkeypatch.context() as patch:
    patch.setattr(saver._orbax, "save_checkpointables_async", full)
    with pytest.raises(
      checkpointing.CheckpointError, match=r"No space left.*diptych-.*TMPDIR"
    ):
      saver.save(_state(0), _Position(), 0)
  saver.close()
