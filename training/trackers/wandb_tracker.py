"""Weights & Biases: a run with the id of ours, which later starts go on with.

Without a network (WANDB_MODE=offline) each start writes an offline run of the
same id below the run's folder, which `wandb sync` uploads. Its newest step is
read from these files: a kill loses what the client had not yet written there.
"""

import json
import os
import pathlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import wandb
from wandb.proto import wandb_internal_pb2

# Files are LevelDB's logs behind a header of their own: blocks of pieces, each
# with checksum, length and kind. A kind of 1 is whole, one of 4 a last piece.
_HEADER_BYTES, _BLOCK_BYTES = 7, 32768
_PIECE = struct.Struct("<IHB")
_LAST = (1, 4)


class Tracker:
  """Run of Weights & Biases; see tracking_process.py."""

  def __init__(self, about: Mapping[str, Any]):
    folder = os.environ.get("WANDB_DIR") or about["files"] or "."
    offline_step = _last_step(pathlib.Path(folder, "wandb"), about["id"])
    self._run = wandb.init(
      project=about["project"],
      id=about["id"],
      name=about["run_name"],
      resume="allow",
      config=about["config"] | {"record": about["record"]},
      allow_val_change=True,
      dir=folder,
      settings=wandb.Settings(
        # Output, code and commit are in the run's own record.
        console="off",
        disable_code=True,
        disable_git=True,
        silent=True,
      ),
    )
    self.url = self._run.url or ""
    is_offline = self._run.offline
    self.last_step = offline_step if is_offline else self._run.starting_step - 1

  def log(self, steps: Sequence[tuple[int, Mapping[str, float]]]) -> None:
    for step, figures in steps:
      self._run.log(dict(figures), step=step, commit=True)

  def close(self, *, is_finished: bool) -> None:
    self._run.finish(exit_code=0 if is_finished else 1)


def begin(about: Mapping[str, Any]) -> Tracker:
  """Return the run; see tracking_process.py."""
  return Tracker(about)


def records(data: bytes) -> Iterator[Any]:
  """Yield the records of a file, up to one that a kill cut short."""
  at, parts = _HEADER_BYTES, []
  while at + _PIECE.size <= len(data):
    left = _BLOCK_BYTES - at % _BLOCK_BYTES
    if left < _PIECE.size:  # the rest of a block is empty
      at += left
      continue
    _, length, kind = _PIECE.unpack_from(data, at)
    at += _PIECE.size + length
    if at > len(data):
      return
    parts.append(data[at - length : at])
    if kind in _LAST:
      record = wandb_internal_pb2.Record()
      record.ParseFromString(b"".join(parts))
      parts = []
      yield record


def line(record: Any) -> dict[str, Any]:
  """Return the figures of a record of history, with "_step"."""
  return {
    item.key or ".".join(item.nested_key): json.loads(item.value_json)
    for item in record.history.item
  }


def _last_step(folder: pathlib.Path, id_: str) -> int:
  """Return the newest step in the offline files of a run, -1 for none."""
  return max(
    (
      line(record)["_step"]
      for path in folder.glob(f"offline-run-*-{id_}/*.wandb")
      for record in records(path.read_bytes())
      if record.HasField("history")
    ),
    default=-1,
  )
