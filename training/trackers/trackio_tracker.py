"""trackio: a run of the local database, or where its variables say.

A run is found again by its name, which therefore ends in our id.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import trackio


class Tracker:
  """Run of trackio; see tracking_process.py."""

  def __init__(self, about: Mapping[str, Any]):
    self._run = trackio.init(
      project=about["project"],
      name=f"{about['run_name']}-{about['id']}",
      config=about["config"] | {"record": about["record"]},
      resume="allow",
      embed=False,
      auto_log_cpu=False,
      auto_log_gpu=False,
    )
    self.url = ""
    # The step that it would give a line without one.
    self.last_step = self._run._next_step - 1

  def log(self, steps: Sequence[tuple[int, Mapping[str, float]]]) -> None:
    for step, figures in steps:
      self._run.log(dict(figures), step=step)

  def close(self, *, is_finished: bool) -> None:
    del is_finished
    self._run.finish()


def begin(about: Mapping[str, Any]) -> Tracker:
  """Return the run; see tracking_process.py."""
  return Tracker(about)
