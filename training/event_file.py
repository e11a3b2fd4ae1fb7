"""File of TensorBoard events."""

import contextlib
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def _hidden(*names: str) -> Iterator[None]:
  """Make imports of modules fail, but of those that are imported already."""
  modules: dict[str, Any] = sys.modules
  hidden = [name for name in names if name not in modules]
  modules.update(dict.fromkeys(hidden))
  try:
    yield
  finally:
    for name in hidden:
      del modules[name]


# tensorboardX imports the clients of stores that are installed, which takes a
# second; its files of events are local ones here.
with _hidden("boto3", "google.cloud.storage"):
  from tensorboardX import event_file_writer, summary
  from tensorboardX.proto import event_pb2

# Seconds between two flushes of TensorBoard events.
_FLUSH_SECONDS = 30.0
# Messages of the files, made when the module is imported.
_pb: Any = event_pb2


class EventFile:
  """File of TensorBoard events.

  SummaryWriter of tensorboardX writes in a thread: on a full disk the thread
  ends with a traceback, and the loop waits for ever once its queue has ten
  events. Here a failure is raised where the event is added.
  """

  def __init__(self, folder: pathlib.Path, suffix: str):
    folder.mkdir(parents=True, exist_ok=True)
    prefix = str(folder / "events")
    self._writer = event_file_writer.EventsWriter(prefix, suffix)
    self._flushed = 0.0

  def purge(self, step: int) -> None:
    """Take back the events of other files from a step on."""
    for event in (
      _pb.Event(step=step, file_version="brain.Event:2"),
      _pb.Event(
        step=step,
        session_log=_pb.SessionLog(status=_pb.SessionLog.START),
      ),
    ):
      self._writer.write_event(event)

  def add(self, name: str, value: float, step: int) -> None:
    """Add a figure; the disk has it within _FLUSH_SECONDS of steps."""
    self._writer.write_event(
      _pb.Event(
        wall_time=time.time(),
        step=step,
        summary=summary.scalar(name, value),
      )
    )
    if time.monotonic() - self._flushed > _FLUSH_SECONDS:
      self._writer.flush()
      self._flushed = time.monotonic()

  def close(self) -> None:
    """Write the remaining events."""
    self._writer.close()
