"""Weights & Biases: a run with the id of ours, which later starts go on with.

Without a network (WANDB_MODE=offline) each start writes an offline run of the
same id below the run's folder, which `wandb sync` uploads. As such files cannot
be asked for their last step, it is kept beside them.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import wandb


class Tracker:
  """Run of Weights & Biases; see tracking_process.py."""

  def __init__(self, about: Mapping[str, Any]):
    folder = os.environ.get("WANDB_DIR") or about["files"] or "."
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
    # Step before the next one of the server, or of the files.
    self.last_step = self._run.starting_step - 1
    path = pathlib.Path(folder, "wandb", f"{about['id']}.step")
    path.parent.mkdir(parents=True, exist_ok=True)
    self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    if self._run.offline and (text := os.read(self._file, 20).strip()):
      self.last_step = int(text)

  def log(self, steps: Sequence[tuple[int, Mapping[str, float]]]) -> None:
    for step, figures in steps:
      # Before the figures: after a kill, a step may be missing, and none is
      # there twice.
      os.pwrite(self._file, b"%20d" % step, 0)
      self._run.log(dict(figures), step=step, commit=True)

  def close(self, *, is_finished: bool) -> None:
    self._run.finish(exit_code=0 if is_finished else 1)


def begin(about: Mapping[str, Any]) -> Tracker:
  """Return the run; see tracking_process.py."""
  return Tracker(about)
