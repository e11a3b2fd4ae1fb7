"""Checkpoints: the only file that knows Orbax.

A checkpoint is one step's folder with the train state and the position of the
data iterator. Orbax writes it beside its final name and renames it, so a run
killed while saving leaves nothing that looks finished. What Orbax does not
notice is a file that changed afterwards: each checkpoint therefore carries a
digest of its arrays' bits, which is the same on every mesh, and one that does
not match is not used.
"""

import dataclasses
import functools
import hashlib
import json
import logging as python_logging
import pathlib
import shutil
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging
from orbax.checkpoint import v1 as ocp

from models import batch_norm
from runtime import cluster, failures
from training import train_state

# Folders of a checkpoint. Parameters have one of their own, so that inference
# reads nothing else.
_PARAMS = "params"
_OPTIMIZER = "optimizer"
_EMA = "ema"
_DATA = "data"
_POSITION = "position.json"
# Where unreadable checkpoints are moved: out of Orbax's sight, not deleted.
_REJECTED = "rejected"


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
  """Fields of `config.checkpoint`; configs/base.py explains them."""

  every_steps: int
  keep: int

  def check(self) -> None:
    """Raise ValueError where a field's value cannot be used."""
    for field in ("every_steps", "keep"):
      if getattr(self, field) < 1:
        raise ValueError(
          f"checkpoint.{field} must be at least 1; got {getattr(self, field)}"
        )


class CheckpointError(failures.RunError):
  """No checkpoint could be read; the message names them and what to do."""


class Checkpointer:
  """Saves and restores train state and data iterator below one folder."""

  def __init__(self, folder: pathlib.Path, *, keep: int | None):
    """Open a folder, made if it is not there.

    Args:
      folder: holds one folder a step.
      keep: newest checkpoints that a save leaves; None to change nothing, for
        those who only read (a run may be writing at the same time).
    """
    _silence_orbax()
    self._folder = folder
    policies: Any = ocp.training.preservation_policies
    self._orbax = ocp.training.Checkpointer(
      str(folder.absolute()),
      save_decision_policy=_AlwaysSave(),
      preservation_policy=(
        policies.PreserveAll() if keep is None else policies.LatestN(keep)
      ),
      cleanup_tmp_directories=keep is not None,
    )

  def steps(self) -> list[int]:
    """Return the steps that have a finished checkpoint, oldest first."""
    return cluster.on_first(
      lambda: sorted(found.step for found in self._orbax.checkpoints)
    )

  def save(
    self, state: train_state.TrainState, iterator: Any, step: int
  ) -> None:
    """Start saving in the background; waits for a save still under way.

    Args:
      state: its arrays are copied before this returns.
      iterator: a Grain iterator; its position is taken now.
      step: the host's count of `state.step`.

    Raises:
      OSError: this save, or the one before, could not be written.
    """
    self.wait()
    arrays = _arrays(state)
    digests: dict[str, Any] = {
      name: _digest(tree) for name, tree in arrays.items()
    }
    self._orbax.save_checkpointables_async(
      step,
      arrays | {_DATA: _Place(iterator)},
      custom_metadata=digests | {_DATA: _position(iterator)},
    )

  def wait(self) -> None:
    """Block until the save under way is finished.

    Raises:
      OSError: it could not be written.
    """
    self._orbax.wait()

  def restore(
    self, abstract: train_state.TrainState, iterator: Any
  ) -> train_state.TrainState | None:
    """Return the newest state that is whole, and move the iterator to it.

    A newer one that cannot be read, or whose bits have changed, is reported
    and moved to the folder "rejected".

    Args:
      abstract: ShapeDtypeStructs with the shardings to restore to, any mesh.
      iterator: a Grain iterator of the same data; its position is changed.

    Returns:
      The state, or None where there is no checkpoint at all.

    Raises:
      CheckpointError: there are checkpoints, but none can be used.
    """
    start = iterator.get_state()

    def load(step: int) -> dict[str, Any]:
      iterator.set_state(start)
      wanted = _arrays(abstract) | {_DATA: _Place(iterator)}
      loaded = self._load(step, wanted)
      expected = self._metadata(step)[_DATA]
      cluster.together(lambda: _check_position(iterator, expected))
      return loaded

    found = self._newest(load)
    if found is None:
      return None
    step, loaded = found
    for newer in [s for s in self.steps() if s > step]:
      self._reject(newer)
    params, stats = batch_norm.split(loaded[_PARAMS])
    return train_state.TrainState(
      params=params,
      stats=stats,
      ema=loaded.get(_EMA, {}),
      **loaded[_OPTIMIZER],
    )

  def restore_params(self, abstract_params: Any) -> tuple[int, Any] | None:
    """Return the newest step with whole parameters, and these; else None.

    Args:
      abstract_params: ShapeDtypeStructs with the shardings to restore to.

    Raises:
      CheckpointError: there are checkpoints, but none can be used.
    """
    found = self._newest(
      lambda step: self._load(step, {_PARAMS: abstract_params})
    )
    return None if found is None else (found[0], found[1][_PARAMS])

  def _newest(self, load: Callable[[int], Any]) -> tuple[int, Any] | None:
    """Return the newest step that `load` does not raise for, and its result."""
    failures = []
    for step in reversed(self.steps()):
      try:
        return step, load(step)
      except Exception as error:  # Orbax raises whatever its layers raise
        while error.__cause__ is not None:
          error = error.__cause__
        lines = str(error).strip().splitlines() or [""]
        reason = f"{type(error).__name__}: {lines[0][:150]}"
        failures.append(f"step {step} ({reason})")
        logging.error("Checkpoint of step %d is not usable: %s", step, reason)
    if failures:
      raise CheckpointError(
        f"No checkpoint in {self._folder} can be read: {'; '.join(failures)}."
        " Restore the folder from a copy, or start anew in another --workdir."
      )
    return None

  def _load(self, step: int, wanted: dict[str, Any]) -> dict[str, Any]:
    loaded = cluster.together(
      lambda: self._orbax.load_checkpointables(step, wanted)
    )
    for name, expected in self._metadata(step).items():
      if name in loaded and name != _DATA:
        found = _digest(loaded[name])
        if found != expected:
          raise ValueError(f"{name} has digest {found}, expected {expected}")
    return loaded

  def _metadata(self, step: int) -> dict[str, Any]:
    found = cluster.together(lambda: self._orbax.metadata(step).custom_metadata)
    if not isinstance(found, dict):
      raise ValueError("its digests are missing")
    return found

  def _reject(self, step: int) -> None:
    def move() -> None:
      rejected = self._folder.parent / _REJECTED
      rejected.mkdir(exist_ok=True)
      target = rejected / str(step)
      shutil.rmtree(target, ignore_errors=True)
      (self._folder / str(step)).rename(target)

    cluster.on_first(move)
    self._orbax.reload()

  def close(self) -> None:
    """Wait for saves and release what Orbax holds."""
    self._orbax.close()


def restore_params(
  folder: pathlib.Path, abstract_params: Any
) -> tuple[int, Any] | None:
  """Return `Checkpointer.restore_params` of a folder that is only read."""
  checkpointer = Checkpointer(folder, keep=None)
  try:
    return checkpointer.restore_params(abstract_params)
  finally:
    checkpointer.close()


class _AlwaysSave(ocp.training.save_decision_policies.SaveDecisionPolicy):
  """The training loop decides when to save, nobody else."""

  def should_save(
    self, step: Any, previous_steps: Any, *, context: Any
  ) -> bool:
    del step, previous_steps, context
    return True


class _Place:
  """A Grain iterator's position, as Orbax wants to save and load it.

  Grain's own form is a file for each process, named by how many there are. But
  the position is the same on all (see `make_train_dataset`), and a run may go
  on with more or fewer.
  """

  def __init__(self, iterator: Any):
    self._iterator = iterator

  async def save(self, folder: Any) -> Any:
    """Take the position now; return what writes it."""
    text = _position(self._iterator)

    async def write() -> None:
      created = await folder.await_creation()
      if cluster.is_first():
        (created / _POSITION).write_text(text)

    return write()

  async def load(self, folder: Any) -> Any:
    """Return what reads the position and moves the iterator there."""

    async def read() -> None:
      self._iterator.set_state(json.loads((folder / _POSITION).read_text()))

    return read()


def _arrays(state: train_state.TrainState) -> dict[str, Any]:
  """Return the trees of a checkpoint, by the folder that each is saved in."""
  arrays = {
    # With the statistics: inference reads this folder alone.
    _PARAMS: state.variables,
    _OPTIMIZER: {"step": state.step, "opt_state": state.opt_state},
  }
  return arrays | ({_EMA: state.ema} if state.ema else {})


@functools.cache
def _silence_orbax() -> None:
  """Drop what Orbax prints beside the errors that it raises.

  When one read or write fails, the others report to an event loop that is
  closed by then: hundreds of lines, in which the one that says which
  checkpoint is not usable would be lost. With --verbosity=0 its log is shown.
  """
  before = sys.unraisablehook

  def hook(unraisable: Any) -> None:
    of_orbax = isinstance(unraisable.object, types.CoroutineType)
    if not of_orbax and str(unraisable.exc_value) != "Event loop is closed":
      before(unraisable)

  sys.unraisablehook = hook
  warnings.filterwarnings("ignore", "coroutine .* was never awaited")
  logging.get_absl_logger().addFilter(
    lambda record: (
      "/orbax/" not in record.pathname
      or logging.get_verbosity() >= logging.INFO
    )
  )
  python_logging.getLogger("asyncio").addFilter(
    lambda record: "exception was never retrieved" not in record.getMessage()
  )


def _position(iterator: Any) -> str:
  """Return the iterator's position as text."""
  return json.dumps(iterator.get_state(), sort_keys=True, default=int)


def _check_position(iterator: Any, expected: str) -> None:
  if _position(iterator) != expected:
    raise ValueError("the data iterator's position has changed")


def _digest(tree: Any) -> str:
  """Return a hash of all arrays' bits, the same on every mesh."""
  sums = jax.device_get(_bit_sums(jax.tree.leaves(tree)))
  text = json.dumps([int(x) for x in sums])
  return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@jax.jit
def _bit_sums(arrays: list[jax.Array]) -> list[jax.Array]:
  """Sum each array's bits as integers modulo 2 ** 32."""

  def bit_sum(x: jax.Array) -> jax.Array:
    unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[x.dtype.itemsize]
    bits = jax.lax.bitcast_convert_type(x, unsigned)
    return jnp.sum(bits.astype(jnp.uint32), dtype=jnp.uint32)

  return [bit_sum(x) for x in arrays]
