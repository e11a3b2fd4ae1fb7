"""Selection of a run's weights by a figure of its evaluations.

The best evaluated step has a checkpoint of its own, in WORKDIR/selected, which
evaluation, export and later runs take in place of the newest one. The figures
of earlier steps are those of metrics.jsonl, so that a resumed run selects what
an unbroken one does.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from runtime import cluster, failures
from runtime.storage import jsonl
from training import checkpointing, metrics, train_state
from training.run import workdir

# Ends of the names of figures that are better where they are lower.
_LOWER = ("loss", "median_rank", "mean_rank", "ece", "nll")


class Selection:
  """Best step of a run so far; without a figure's name, it selects nothing."""

  def __init__(self, folder: pathlib.Path, name: str, first_step: int):
    """Read the figures of earlier steps.

    Args:
      folder: folder of the run, claimed.
      name: config.checkpoint.select.
      first_step: step that the run begins with; later ones are made again.
    """
    self._name = name
    self._best: tuple[float, int] | None = None
    self._checkpointer: checkpointing.Checkpointer | None = None
    if not name:
      return
    lines = cluster.on_first(lambda: _lines(folder, name))
    for step, value in lines:
      if step < first_step and self._is_better(value):
        self._best = value, step
    self._checkpointer = checkpointing.Checkpointer(
      workdir.selected(folder), keep=1
    )
    self._checkpointer.reject_others(self._best[1] if self._best else None)

  def offer(
    self,
    step: int,
    figures: Mapping[str, float],
    state: train_state.TrainState,
    iterator: Any,
  ) -> None:
    """Keep the state if it is the best so far.

    Raises:
      failures.RunError: the figure is none of this evaluation.
    """
    if self._checkpointer is None:
      return
    if self._name not in figures:
      raise failures.RunError(
        f"checkpoint.select must be a figure of an evaluation, among "
        f"{', '.join(sorted(figures))}; got {self._name!r}"
      )
    value = figures[self._name]
    if self._is_better(value):
      self._best = value, step
      self._checkpointer.save(state, iterator, step)
      self._checkpointer.wait()
      metrics.say(f"Selected step {step}: {self._name} {value:.4g}")

  def facts(self) -> dict[str, Any]:
    """Return step, figure and value of the selected step, {} without one."""
    if self._best is None:
      return {}
    value, step = self._best
    return {"step": step, "figure": self._name, "value": value}

  def restore(self, variables: Any, step: int) -> Any:
    """Return the selected step's variables, which may be those of `step`."""
    if self._checkpointer is None or self._best is None:
      return variables
    if self._best[1] == step:
      return variables
    restored = self._checkpointer.restore_params(
      jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
        variables,
      )
    )
    assert restored is not None  # it was saved before its step counted
    return restored[1]

  def close(self) -> None:
    """Release what the checkpoints hold."""
    if self._checkpointer is not None:
      self._checkpointer.close()

  def _is_better(self, value: float) -> bool:
    if self._best is None:
      return True
    best, _ = self._best
    is_lower = self._name.rpartition("/")[2] in _LOWER
    return value < best if is_lower else value > best


def _lines(folder: pathlib.Path, name: str) -> list[tuple[int, float]]:
  """Return step and value of each line of metrics.jsonl with a figure."""
  return [
    (line["step"], line[name])
    for line in jsonl.read(folder / workdir.METRICS)
    if name in line
  ]
