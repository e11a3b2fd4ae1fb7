"""Metrics of training steps, written one step late."""

import dataclasses
import math
import time
from typing import Any

import jax

from input_pipeline import loader
from input_pipeline import watchdog as watchdog_lib
from input_pipeline.regions import region_rows
from runtime import failures
from training import checkpointing, metrics
from training import config as config_lib
from training.run import run_warnings

# Number of a step's phase, from 0 on, in metrics.jsonl of a run with phases.
PHASE = "train/phase"
# Seconds between two lines with times in metrics.jsonl.
_CLOCK_SECONDS = 10.0


class NonFiniteError(failures.RunError):
  """Error for a loss or gradient that is not finite, with the step's number."""


@dataclasses.dataclass
class Reporter:
  """Writes a step's metrics once the next step is dispatched.

  A loss that is not finite ends the run.
  """

  stage: config_lib.Stage
  writer: metrics.Writer
  progress: metrics.Progress
  checkpointer: checkpointing.Checkpointer
  iterator: loader.Loader
  watchdog: watchdog_lib.Watchdog
  warnings: run_warnings.Writer
  _: dataclasses.KW_ONLY
  total_steps: int
  _pending: tuple[int, Any] | None = None
  _clock: float = dataclasses.field(default_factory=time.monotonic)

  def enter(self, stage: config_lib.Stage, iterator: loader.Loader) -> None:
    """Go on with another phase; the metrics of the one before are written."""
    self.flush()
    self.stage, self.iterator = stage, iterator

  def add(self, step: int, device_metrics: Any) -> None:
    """Write the pending metrics, and keep those of a step just dispatched."""
    self.flush()
    self._pending = (step, device_metrics)

  def flush(self) -> None:
    """Wait for the pending metrics, and write them.

    Raises:
      NonFiniteError: a metric is not finite.
    """
    if self._pending is None:
      return
    step, device_metrics = self._pending
    self._pending = None
    values = {
      name: float(value)
      for name, value in jax.device_get(device_metrics).items()
    }
    self._check_finite(step, values)
    self.warnings.add(
      run_warnings.of_step(self.stage.config, step, values), step
    )
    is_last = step == self.total_steps
    if self.stage.name:
      values[PHASE] = float(self.stage.index)
    if step % self.stage.config.log_every_steps == 0 or is_last:
      self.writer.write(step, values)
    self.progress.update(step, values["train/loss"])
    if time.monotonic() - self._clock > _CLOCK_SECONDS or is_last:
      self._clock = time.monotonic()
      values = {"time/images_per_s": self.progress.images_per_s(step)}
      values |= self.watchdog.report()
      if self.iterator.bad_fraction:
        values["data/bad_fraction"] = self.iterator.bad_fraction
      if self.iterator.regions:
        values["data/without_region"] = region_rows.without_region(
          self.iterator.regions
        )
      self.writer.write(step, values)

  def _check_finite(self, step: int, values: dict[str, float]) -> None:
    broken = {k: v for k, v in values.items() if not math.isfinite(v)}
    if not broken:
      return
    self.progress.end_line()
    self.checkpointer.wait()
    good = self.checkpointer.steps()
    kept = (
      f"the checkpoint of step {good[-1]} is whole"
      if good
      else "there is no checkpoint yet"
    )
    name, value = next(iter(broken.items()))
    raise NonFiniteError(
      f"{name} is {value} at step {step}; {kept}. Try, in another --workdir,"
      " a lower optimizer.learning_rate, a longer optimizer.warmup_steps or a"
      " smaller optimizer.clip_norm."
    )
