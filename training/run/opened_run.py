"""Parts of a run that come before its data and model."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax

from input_pipeline import loader
from runtime import cluster, compilation_cache, hung_processes
from runtime import mesh as mesh_lib
from runtime import stopping as stopping_lib
from training import checkpointing, metrics
from training import config as config_lib
from training import stop as stop_lib
from training.run import workdir


@dataclasses.dataclass(frozen=True)
class Opened:
  """Parts of a run that come before its data and its model.

  Attributes:
    began: time.monotonic() of the start.
    steps: steps that have a checkpoint.
    stack: what is closed when the run ends, in reverse order.
  """

  folder: pathlib.Path
  began: float
  mesh: jax.sharding.Mesh
  stop: stop_lib.Stop
  hang: hung_processes.Watchdog
  checkpointer: checkpointing.Checkpointer
  steps: list[int]
  stack: contextlib.ExitStack

  def take(self, iterator: loader.Loader) -> None:
    """Check the loader of the run's data, and close it with the run.

    Raises:
      ValueError: the data are not those that the run began with.
      cluster.ClusterError: the same on another process.
    """
    self.stack.enter_context(contextlib.closing(iterator))
    if self.steps:
      cluster.together(iterator.check_unchanged)
    for name, held_out in iterator.held_out.items():
      metrics.say(f"Held out of data.sources.{name}: {held_out}")


@contextlib.contextmanager
def opened(config: config_lib.Config, folder: pathlib.Path) -> Iterator[Opened]:
  """Claim the run's folder, open its checkpoints, and watch over it.

  An error before the loop begins leaves the folder as it was; one that was not
  there is deleted.

  Args:
    config: checked config of the run.
    folder: folder of the run, made if it is not there.
  """
  began = time.monotonic()
  compilation_cache.enable(folder)
  stop = stop_lib.Stop()
  mesh = mesh_lib.make_mesh(config.mesh)
  with contextlib.ExitStack() as stack:
    stack.callback(stop.restore)
    restore = workdir.restorer(folder)
    workdir.claim_for_all(folder, config, stack)

    def restore_after(kind: type[BaseException] | None, *_: Any) -> None:
      if kind is None or stop.has_begun or not cluster.is_first():
        return
      if not workdir.has_checkpoint(folder):
        restore()

    stack.push(restore_after)
    hang = hung_processes.Watchdog(
      config.hang, folder / workdir.HUNG, lambda: _code_of_hang(folder)
    )
    stack.enter_context(hang.watching())
    checkpointer = checkpointing.Checkpointer(
      folder / workdir.CHECKPOINTS, keep=config.checkpoint.keep
    )
    stack.callback(checkpointer.close)
    steps = checkpointer.steps()
    stop.is_kept = bool(steps)
    yield Opened(
      folder, began, mesh, stop, hang, checkpointer, list(steps), stack
    )


def _code_of_hang(folder: pathlib.Path) -> int:
  """Return the exit code of a run that hangs: 75 if it has a checkpoint."""
  return stopping_lib.REQUEUE if workdir.has_checkpoint(folder) else 1
