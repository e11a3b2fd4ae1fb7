"""Checkpoints: the only file that knows Orbax.

A checkpoint is one step's folder with the train state and the position of the
data iterator. Orbax writes it beside its final name and renames it, so a run
killed while saving leaves no folder that looks finished. In a bucket, an object
that is written last says that it is: Orbax itself writes to gs://. It cannot
write to s3://, so that a checkpoint is staged on the disk, and uploaded while
training goes on (staging.py). Orbax does not detect
a file that changed afterwards: each checkpoint therefore has a digest of its
arrays' bits, which is the same on every mesh, and a checkpoint that does not
match its digest is not used.
"""

import concurrent.futures
import contextlib
import dataclasses
import errno
import functools
import glob
import json
import logging as python_logging
import os
import pathlib
import shutil
import sys
import types
import warnings
from collections.abc import Callable, Collection, Iterator
from typing import Any

from absl import logging
from etils import epath
from etils.epath import gpath
from orbax.checkpoint import v1 as ocp
from orbax.checkpoint._src.metadata import step_metadata_serialization
from orbax.checkpoint.experimental.v1._src.saving import execution

from runtime import checks, cluster, failures, marks
from runtime.storage import bucket_path, committed, objects
from training import metrics, saved_trees, staging, train_state

# Folder of the iterator's position, beside those of saved_trees.
_DATA = "data"
_POSITION = "position.json"
# Key of the mesh and the number of processes in a checkpoint's metadata.
_LAYOUT = "layout"
# Key of the phase that made a checkpoint's state.
_PHASE = "phase"
# File of Orbax's own metadata of a step.
_DESCRIPTION = "_CHECKPOINT_METADATA"
# Orbax's limit of a save to a disk, by the machine's clock: where that is set
# ahead by a day, a save must not end. At gs://, where Orbax writes to a bucket
# that may vanish, its own limit of 20 minutes holds.
_SAVE_SECONDS = 10 * 24 * 3600
# Folder that unreadable checkpoints are moved to, where Orbax ignores them.
_REJECTED = "rejected"


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
  """Fields of `config.checkpoint`; configs/base.py explains them."""

  every_steps: marks.Free[int]
  keep: marks.Free[int]
  select: marks.Free[str] = ""

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError where a field's value cannot be used."""
    for field in ("every_steps", "keep"):
      checks.at_least(f"checkpoint.{field}", getattr(self, field), 1)


# State as shapes and shardings, or a function from a step to it.
Abstract = train_state.TrainState | Callable[[int], train_state.TrainState]


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
    self._keep = keep
    self._stack = contextlib.ExitStack()
    # None where Orbax writes to the folder.
    self._staging: staging.Staging | None = None
    self._pool = concurrent.futures.ThreadPoolExecutor(1)
    self._upload: concurrent.futures.Future[None] | None = None
    self._saving: Any = None  # response of Orbax to the last save
    policies: Any = ocp.training.preservation_policies
    policy = policies.PreserveAll() if keep is None else policies.LatestN(keep)
    is_apart = False
    if isinstance(folder, bucket_path.BucketPath):
      if bucket_path.is_staged(folder):
        self._staging = staging.Staging(folder, keep=keep)
        self._stack.enter_context(self._staging)
        is_apart = not self._staging.is_shared
        policy = policies.PreserveAll()  # the staging deletes
        path: Any = _LiteralPath(self._staging.local)
      else:
        path = epath.Path(str(folder))
    else:
      path = _LiteralPath(folder.absolute())
    if keep is not None:
      self._reject_described_wrongly()
    self._orbax = ocp.training.Checkpointer(
      path,
      context=_context(is_apart) if isinstance(path, _LiteralPath) else None,
      save_decision_policy=_AlwaysSave(),
      preservation_policy=policy,
      cleanup_tmp_directories=keep is not None,
    )

  def steps(self) -> list[int]:
    """Return the steps that have a finished checkpoint, oldest first."""
    return cluster.on_first(self._steps)

  def _steps(self) -> list[int]:
    if self._staging is not None:
      return self._staging.steps()
    return sorted(saved.step for saved in self._orbax.checkpoints)

  def save(
    self,
    state: train_state.TrainState,
    iterator: Any,
    step: int,
    phase: str = "",
  ) -> None:
    """Start saving in the background; wait for an earlier save first.

    Args:
      state: state to save; its arrays are copied before this returns.
      iterator: Grain iterator; its position is read now.
      step: `state.step`, as counted by the host.
      phase: name of the phase that made the state; "" without phases.

    Raises:
      OSError: this save, or the one before, could not be written.
    """
    self.wait()
    arrays = saved_trees.arrays_of(state)
    digests: dict[str, Any] = {
      name: saved_trees.digest(tree) for name, tree in arrays.items()
    }
    with self._named():
      self._saving = self._orbax.save_checkpointables_async(
        step,
        arrays | {_DATA: _Position(iterator)},
        custom_metadata=digests
        | {_DATA: _position(iterator), _LAYOUT: _layout(state)}
        | ({_PHASE: phase} if phase else {}),
      )
    if self._staging is not None:
      self._upload = self._pool.submit(self._finish, self._staging, step)

  def _finish(self, staged: staging.Staging, step: int) -> None:
    """Wait for Orbax, and move a step from the disk to the bucket."""
    self._wait_for_orbax()
    staged.upload(step)

  def _wait_for_orbax(self) -> None:
    """Wait until the last save is on the disk."""
    # Orbax waits in a thread of its own; in Python 3.11 and 3.12 two threads
    # that join the same third one may both fail ("release unlocked lock").
    saving, self._saving = self._saving, None
    if saving is not None:
      saving.result()
    self._orbax.wait()

  def wait(self) -> None:
    """Block until the last save is finished.

    Raises:
      OSError: the save could not be written.
      CheckpointError: the same in a bucket.
    """
    with self._named():
      if self._upload is not None:
        upload, self._upload = self._upload, None
        upload.result()
      else:
        self._wait_for_orbax()

  @contextlib.contextmanager
  def _named(self) -> Iterator[None]:
    """Name the bucket in errors of Orbax, whose layers each have their own."""
    try:
      yield
    except failures.RunError:
      raise
    except Exception as error:
      if not isinstance(self._folder, bucket_path.BucketPath):
        raise
      reason = _reason(error)
      if self._staging is not None and failures.is_disk_full(_root(error)):
        reason = (
          f"{os.strerror(errno.ENOSPC)} in {self._staging.local}; free some, or"
          " name another temporary folder by TMPDIR"
        )
      raise CheckpointError(
        f"no checkpoint could be saved in {self._folder}: {reason};"
        " earlier ones are whole, and the same command goes on from the last"
      ) from error

  def restore(
    self, abstract: Abstract, iterator: Any
  ) -> train_state.TrainState | None:
    """Return the newest state that is whole, and move the iterator to it.

    A newer checkpoint that cannot be read, or whose bits have changed, is
    reported and moved to the folder "rejected".

    Args:
      abstract: ShapeDtypeStructs with the shardings to restore to, any mesh;
        or a function from a step to these, of a run with phases.
      iterator: Grain iterator of the same data; its position is changed.

    Returns:
      The state, or None if there is no checkpoint at all.

    Raises:
      CheckpointError: there are checkpoints, but none can be used.
    """
    start = iterator.get_state()
    layouts: dict[int, str] = {}

    def load(step: int) -> dict[str, Any]:
      iterator.set_state(start)
      state = abstract(step) if callable(abstract) else abstract
      wanted = saved_trees.arrays_of(state) | {_DATA: _Position(iterator)}
      loaded = self._load(step, wanted)
      metadata = self._metadata(step)
      cluster.together(lambda: _check_position(iterator, metadata[_DATA]))
      # Absent in checkpoints of earlier versions.
      layouts[step] = metadata.get(_LAYOUT, "")
      return loaded

    newest = self._newest(load)
    if newest is None:
      return None
    step, loaded = newest
    for newer in [s for s in self.steps() if s > step]:
      self._reject(newer)
    state = abstract(step) if callable(abstract) else abstract
    _tell_layout(step, layouts[step], _layout(state))
    return saved_trees.state_of(loaded)

  def restore_params(self, abstract_params: Any) -> tuple[int, Any] | None:
    """Return the newest step with whole parameters, and these; else None.

    Args:
      abstract_params: ShapeDtypeStructs with the shardings to restore to, or
        a function from a step to these.

    Raises:
      CheckpointError: there are checkpoints, but none can be used.
    """
    of_step = abstract_params
    if not callable(of_step):
      of_step = lambda step: abstract_params  # noqa: E731
    newest = self._newest(
      lambda step: self._load(step, {saved_trees.PARAMS: of_step(step)})
    )
    return (
      None if newest is None else (newest[0], newest[1][saved_trees.PARAMS])
    )

  def _newest(self, load: Callable[[int], Any]) -> tuple[int, Any] | None:
    """Return the newest step that `load` does not raise for, and its result."""
    failures = []
    for step in reversed(self.steps()):
      try:
        return step, load(step)
      except objects.BucketError:
        raise
      except Exception as error:  # Orbax raises exceptions of all its layers
        # A bucket that does not answer says nothing about its checkpoints.
        bucket_path.check(self._folder, f"{self._folder}")
        reason = _reason(error)
        failures.append(f"step {step} ({reason})")
        logging.error("Checkpoint of step %d is not usable: %s", step, reason)
      finally:
        self._discard(step)
    if failures:
      raise CheckpointError(
        f"No checkpoint in {self._folder} can be read: {'; '.join(failures)}."
        " Restore the folder from a copy, or start anew in another --workdir."
      )
    return None

  def _load(self, step: int, wanted: dict[str, Any]) -> dict[str, Any]:
    self._fetch(step, wanted)
    loaded = cluster.together(
      lambda: self._orbax.load_checkpointables(step, wanted)
    )
    for name, expected in self._metadata(step).items():
      if name in loaded and name != _DATA:
        got = saved_trees.digest(loaded[name])
        if got != expected:
          raise ValueError(f"{name} has digest {got}, expected {expected}")
    return loaded

  def _fetch(self, step: int, wanted: Collection[str]) -> None:
    """Copy what is read of a step from the bucket to the disk."""
    if self._staging is not None:
      self._staging.download(step, wanted)
      self._orbax.reload()

  def _discard(self, step: int) -> None:
    """Delete the copy of a step on the disk."""
    if self._staging is not None:
      self._staging.discard(step)
      self._orbax.reload()

  def _metadata(self, step: int) -> dict[str, Any]:
    digests = cluster.together(
      lambda: self._orbax.metadata(step).custom_metadata
    )
    if not isinstance(digests, dict):
      raise ValueError("its digests are missing")
    return digests

  def _reject_described_wrongly(self) -> None:
    """Move steps whose metadata have a key that Orbax does not know.

    With such a step, Orbax reads none.
    """

    def move() -> None:
      if not self._folder.is_dir():
        return
      for step in sorted(self._folder.iterdir()):
        if not step.name.isdecimal() or not _has_unknown_key(step):
          continue
        logging.error(
          "Checkpoint of step %s is not usable: its %s has an unknown key; it"
          " is in %s/ now",
          *(step.name, _DESCRIPTION, _REJECTED),
        )
        self._move(int(step.name))

    cluster.on_first(move)

  def reject_others(self, step: int | None) -> None:
    """Move all steps but one to the folder of rejected ones."""
    for other in self.steps():
      if other != step:
        self._reject(other)

  def _reject(self, step: int) -> None:
    cluster.on_first(lambda: self._move(step))
    self._orbax.reload()

  def _move(self, step: int) -> None:
    """Move a step to the folder of rejected ones."""
    if isinstance(self._folder, bucket_path.BucketPath):
      target = self._folder.parent / _REJECTED / str(step)
      committed.move(self._folder / str(step), target)
      return
    rejected = self._folder.parent / _REJECTED
    rejected.mkdir(exist_ok=True)
    shutil.rmtree(rejected / str(step), ignore_errors=True)
    (self._folder / str(step)).rename(rejected / str(step))

  def close(self) -> None:
    """Wait for saves and release Orbax's resources."""
    try:
      self._pool.shutdown()
      with self._named():
        try:
          self._wait_for_orbax()
        finally:
          self._orbax.close()
    finally:
      self._stack.close()


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


def _context(is_apart: bool) -> ocp.Context:
  """Return Orbax's settings.

  Args:
    is_apart: whether processes each write a folder of theirs. Files of OCDBT
      would have to be merged; without it, each piece of an array is one.
  """
  context = ocp.Context()
  context.async_options.timeout_secs = _SAVE_SECONDS
  if not is_apart:
    return context
  # Orbax compares the names of the folders.
  execution._check_directory_consistency = lambda directory: None
  context.multiprocessing_options.primary_host = None  # each is its own
  saving = context.array_options.saving
  saving.use_ocdbt = saving.use_replica_parallel = False
  return context


def _has_unknown_key(step: pathlib.Path) -> bool:
  """Return whether Orbax refuses a step's metadata, and with it all steps."""
  try:
    described = json.loads((step / _DESCRIPTION).read_bytes())
  except (OSError, ValueError):
    return False  # Orbax takes a step without metadata
  if not isinstance(described, dict):
    return False
  try:
    step_metadata_serialization.deserialize(described)
  except ValueError:
    return True
  return False


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


def _root(error: BaseException) -> BaseException:
  """Return the error that began it."""
  while error.__cause__ is not None:
    error = error.__cause__
  return error


def _reason(error: BaseException) -> str:
  """Return the first line of the error that began it."""
  error = _root(error)
  lines = str(error).strip().splitlines() or [""]
  return f"{type(error).__name__}: {lines[0][:150]}"


def _layout(state: train_state.TrainState) -> str:
  """Return the mesh and the number of processes of a state."""
  mesh = getattr(state.step.sharding, "mesh", None)
  sizes = {} if mesh is None else mesh.shape
  axes = ", ".join(f"{axis}={size}" for axis, size in sizes.items())
  return f"mesh {axes or 'of one device'}; processes {cluster.count()}"


def _tell_layout(step: int, saved: str, here: str) -> None:
  """Print a line where a step was saved on another mesh than this one."""
  if not saved or saved == here or not cluster.is_first():
    return
  is_equal = saved.partition(";")[0] == here.partition(";")[0]
  metrics.say(
    f"Checkpoint of step {step} was saved with {saved}; now {here}"
    + ("" if is_equal else ": sums are rounded differently from here on")
  )


def _position(iterator: Any) -> str:
  """Return the iterator's position as text."""
  return json.dumps(iterator.get_state(), sort_keys=True, default=int)


def _check_position(iterator: Any, expected: str) -> None:
  if _position(iterator) != expected:
    raise ValueError("the data iterator's position has changed")
