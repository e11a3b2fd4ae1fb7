"""Section `config.distillation`: an image tower learns from its own average."""

import dataclasses
import math
from typing import Any

import jax.numpy as jnp

from runtime import checks, marks

_SECTION = "distillation"


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
  """Fields of the section; configs/parts/distillation.py explains them."""

  consistency_weight: marks.Training[float] = 0.0
  masked_weight: marks.Training[float] = 0.0
  mask_share: marks.Training[float] = 0.5
  hidden_width: marks.Training[int] = 2048
  bottleneck_width: marks.Training[int] = 256
  num_prototypes: marks.Training[int] = 65_536
  student_temperature: marks.Training[float] = 0.1
  teacher_temperature: marks.Training[float] = 0.04
  center_momentum: marks.Training[float] = 0.9
  momentum: marks.Training[tuple[float, float]] = (0.996, 1.0)
  first_step: marks.Training[int] = 0

  @property
  def is_on(self) -> bool:
    """Whether a loss of it has a weight."""
    return bool(self.consistency_weight or self.masked_weight)

  @checks.collected()
  def check(self) -> None:
    """Raise ValueError, naming the field, for a value that cannot be used."""
    for field in ("consistency_weight", "masked_weight"):
      checks.at_least(f"{_SECTION}.{field}", getattr(self, field), 0)
    for field in ("hidden_width", "bottleneck_width", "num_prototypes"):
      checks.at_least(f"{_SECTION}.{field}", getattr(self, field), 1)
    for field in ("student_temperature", "teacher_temperature"):
      checks.above(f"{_SECTION}.{field}", getattr(self, field), 0)
    checks.in_range(f"{_SECTION}.mask_share", self.mask_share, 0, 1)
    checks.in_range(f"{_SECTION}.center_momentum", self.center_momentum, 0, 1)
    checks.at_least(f"{_SECTION}.first_step", self.first_step, 0)
    for value in self.momentum:
      checks.between(f"{_SECTION}.momentum", value, 0, 1)

  def momentum_at(self, step: Any, total_steps: int) -> Any:
    """Return the share of the teacher that a step keeps.

    It goes from the first value of `momentum`, at `first_step`, to the second,
    at the run's end, along half a cosine, as DINO's does (arXiv 2104.14294,
    section 3.1).

    Args:
      step: update, a number or an array.
      total_steps: steps of the run.
    """
    first, last = self.momentum
    num_steps = max(1, total_steps - self.first_step)
    done = jnp.clip((step - self.first_step) / num_steps, 0, 1)
    return last - (last - first) * (jnp.cos(math.pi * done) + 1) / 2
