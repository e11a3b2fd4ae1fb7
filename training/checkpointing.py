"""Checkpoints: the only file that knows Orbax.

A checkpoint is one step's folder with the train state and the position of the
data iterator. Orbax writes it beside its final name and renames it, so a run
killed while saving leaves no folder that looks finished. Orbax does not detect
a file that changed afterwards: each checkpoint therefore has a digest of its
arrays' bits, which is the same on every mesh, and a checkpoint that does not
match its digest is not used.
"""

import dataclasses
import functools
import glob
import hashlib
import json
import logging as python_logging
import pathlib
import shutil
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax
from absl import logging
from etils.epath import gpath
from orbax.checkpoint import v1 as ocp

from models import batch_norm
from runtime import checks, cluster, failures, marks
from training import train_state

# Folders of a checkpoint. Parameters have their own, so that inference reads no
# other.
_PARAMS = "params"
_OPTIMIZER = "optimizer"
_EMA = "ema"
_DATA = "data"
_POSITION = "position.json"
# Folder that unreadable checkpoints are moved to, where Orbax ignores them.
_REJECTED = "rejected"


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
  """Fields of `config.checkpoint`; configs/base.py explains them."""

  every_steps: marks.Free[int]
  keep: marks.Free[int]

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError where a field's value cannot be used."""
    for field in ("every_steps", "keep"):
      checks.at_least(f"checkpoint.{field}", getattr(self, field), 1)


class CheckpointError(failures.RunError):
  """Error if no checkpoint can be read; the message names them, with advice."""


class Checkpointer:
  """Checkpoints of train state and data iterator below one folder."""

  def __init__(self, folder: pathlib.Path, *, keep: int | None):
    """Open a folder, made if it is missing.

    Args:
      folder: folder with one subfolder a step.
      keep: number of newest checkpoints that a save leaves. None changes
        nothing, for readers (a run may be writing at the same time).

    Raises:
      ValueError: the folder's path has a backslash.
    """
    if "\\" in str(folder.absolute()):
      raise ValueError(
        f"{folder} has a backslash, which TensorStore takes for a /: give the"
        " run's folder another name"
      )
    _silence_orbax()
    self._folder = folder
    policies: Any = ocp.training.preservation_policies
    self._orbax = ocp.training.Checkpointer(
      _LiteralPath(folder.absolute()),
      save_decision_policy=_AlwaysSave(),
      preservation_policy=(
        policies.PreserveAll() if keep is None else policies.LatestN(keep)
      ),
      cleanup_tmp_directories=keep is not None,
    )

  def steps(self) -> list[int]:
    """Return the steps that have a finished checkpoint, oldest first."""
    return cluster.on_first(
      lambda: sorted(saved.step for saved in self._orbax.checkpoints)
    )

  def save(
    self, state: train_state.TrainState, iterator: Any, step: int
  ) -> None:
    """Start saving in the background; wait for an earlier save first.

    Args:
      state: state to save; its arrays are copied before this returns.
      iterator: Grain iterator; its position is read now.
      step: `state.step`, as counted by the host.

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
      arrays | {_DATA: _Position(iterator)},
      custom_metadata=digests | {_DATA: _position(iterator)},
    )

  def wait(self) -> None:
    """Block until the last save is finished.

    Raises:
      OSError: the save could not be written.
    """
    self._orbax.wait()

  def restore(
    self, abstract: train_state.TrainState, iterator: Any
  ) -> train_state.TrainState | None:
    """Return the newest state that is whole, and move the iterator to it.

    A newer checkpoint that cannot be read, or whose bits have changed, is
    reported and moved to the folder "rejected".

    Args:
      abstract: ShapeDtypeStructs with the shardings to restore to, any mesh.
      iterator: Grain iterator of the same data; its position is changed.

    Returns:
      The state, or None if there is no checkpoint at all.

    Raises:
      CheckpointError: there are checkpoints, but none can be used.
    """
    start = iterator.get_state()

    def load(step: int) -> dict[str, Any]:
      iterator.set_state(start)
      wanted = _arrays(abstract) | {_DATA: _Position(iterator)}
      loaded = self._load(step, wanted)
      expected = self._metadata(step)[_DATA]
      cluster.together(lambda: _check_position(iterator, expected))
      return loaded

    newest = self._newest(load)
    if newest is None:
      return None
    step, loaded = newest
    for newer in [s for s in self.steps() if s > step]:
      self._reject(newer)
    return _state(loaded)

  def restore_params(self, abstract_params: Any) -> tuple[int, Any] | None:
    """Return the newest step with whole parameters, and these; else None.

    Args:
      abstract_params: ShapeDtypeStructs with the shardings to restore to.

    Raises:
      CheckpointError: there are checkpoints, but none can be used.
    """
    newest = self._newest(
      lambda step: self._load(step, {_PARAMS: abstract_params})
    )
    return None if newest is None else (newest[0], newest[1][_PARAMS])

  def _newest(self, load: Callable[[int], Any]) -> tuple[int, Any] | None:
    """Return the newest step that `load` does not raise for, and its result."""
    failures = []
    for step in reversed(self.steps()):
      try:
        return step, load(step)
      except Exception as error:  # Orbax raises exceptions of all its layers
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
        got = _digest(loaded[name])
        if got != expected:
          raise ValueError(f"{name} has digest {got}, expected {expected}")
    return loaded

  def _metadata(self, step: int) -> dict[str, Any]:
    digests = cluster.together(
      lambda: self._orbax.metadata(step).custom_metadata
    )
    if not isinstance(digests, dict):
      raise ValueError("its digests are missing")
    return digests

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
    """Wait for saves and release Orbax's resources."""
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


class _LiteralPath(gpath.PosixGPath):
  """Path of which `glob` takes the pattern alone for one.

  Orbax joins the arrays of a checkpoint by such a glob, below the folder. In
  "runs/[1]" it would find none, and leave a checkpoint that cannot be read.
  """

  def glob(self, pattern: str) -> Iterator["_LiteralPath"]:
    """Yield the paths below this folder that match."""
    for path in glob.iglob(pattern, root_dir=self):
      yield self / path


class _AlwaysSave(ocp.training.save_decision_policies.SaveDecisionPolicy):
  """Policy that saves whenever the training loop asks for it."""

  def should_save(
    self, step: Any, previous_steps: Any, *, context: Any
  ) -> bool:
    del step, previous_steps, context
    return True


class _Position:
  """Position of a Grain iterator, in the form that Orbax saves and loads.

  Grain's own form is a file for each process, named by the number of processes.
  But the position is the same on all (see `make_train_dataset`), and a run may
  resume with another number.
  """

  def __init__(self, iterator: Any):
    self._iterator = iterator

  async def save(self, folder: Any) -> Any:
    """Read the position now; return the function that writes it."""
    text = _position(self._iterator)

    async def write() -> None:
      created = await folder.await_creation()
      if cluster.is_first():
        (created / _POSITION).write_text(text)

    return write()

  async def load(self, folder: Any) -> Any:
    """Return the function that reads the position and moves the iterator."""

    async def read() -> None:
      self._iterator.set_state(json.loads((folder / _POSITION).read_text()))

    return read()


def _arrays(state: train_state.TrainState) -> dict[str, Any]:
  """Return the trees of a checkpoint, by the folder that each is saved in."""
  # Statistics are saved with the parameters, as inference reads that folder
  # alone. Orbax wants the optimizer's state in the form that it had when they
  # were parameters: with a gap in the place of each.
  gaps = jax.tree.map(lambda _: optax.MaskedNode(), state.stats)
  opt_state = _map_moments(
    lambda tree: batch_norm.join(tree, gaps), state.opt_state, state.params
  )
  arrays = {
    _PARAMS: state.variables,
    _OPTIMIZER: {"step": state.step, "opt_state": opt_state},
  }
  return arrays | ({_EMA: state.ema} if state.ema else {})


def _state(arrays: dict[str, Any]) -> train_state.TrainState:
  """Return the state of `_arrays`."""
  params, stats = batch_norm.split(arrays[_PARAMS])
  optimizer = arrays[_OPTIMIZER]
  return train_state.TrainState(
    step=optimizer["step"],
    params=params,
    opt_state=_map_moments(
      lambda tree: batch_norm.split(tree)[0], optimizer["opt_state"], params
    ),
    stats=stats,
    ema=arrays.get(_EMA, {}),
  )


def _map_moments(
  fn: Callable[[Any], Any], opt_state: Any, params: dict[str, Any]
) -> Any:
  """Return `opt_state` with fn(tree) for each tree that is like `params`."""

  def is_like_params(tree: Any) -> bool:
    return isinstance(tree, dict) and tree.keys() == params.keys()

  return jax.tree.map(
    lambda x: fn(x) if is_like_params(x) else x,
    opt_state,
    is_leaf=is_like_params,
  )


@functools.cache
def _silence_orbax() -> None:
  """Hide the output of Orbax beside the errors that it raises.

  When one read or write fails, the others report to an event loop that is
  closed by then, in hundreds of lines that would hide the message about the
  unusable checkpoint. With --verbosity=0 its log is shown.
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
