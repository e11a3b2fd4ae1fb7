"""Learning rate as a function of the step."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from runtime import checks

Schedule = Callable[[jax.Array], jax.Array]
SCHEDULES = ("cosine", "linear", "rsqrt", "constant", "factors")


class Piece(NamedTuple):
  """Steps of a run from `first_step` on, which count 1 / stretch each."""

  first_step: int
  stretch: float


class Span(NamedTuple):
  """Steps of one schedule, from step `first_step` of the run on.

  Attributes:
    num_steps: length of the schedule, in steps of its own.
    pieces: pieces of the run's steps in order, the first from `first_step` on;
      () where each step counts as one.
  """

  first_step: int
  num_steps: int
  pieces: tuple[Piece, ...] = ()

  def elapsed(self, step: jax.Array) -> jax.Array:
    """Return how many steps of the schedule lie before a step of the run."""
    if not self.pieces:
      return step - self.first_step if self.first_step else step
    ends = [piece.first_step for piece in self.pieces[1:]]
    total = jnp.float32(0)
    for piece, end in zip(self.pieces, [*ends, None], strict=True):
      since = jnp.maximum(step - piece.first_step, 0)
      if end is not None:
        since = jnp.minimum(since, end - piece.first_step)
      total += since.astype(jnp.float32) / piece.stretch
    return total


def in_run(schedule: Schedule, span: Span) -> Schedule:
  """Return the factor at a step of a run, of a schedule's own steps."""
  return lambda step: schedule(span.elapsed(jnp.asarray(step)))


def make_schedule(
  name: str,
  *,
  total_steps: int,
  warmup_steps: int,
  cooldown_steps: int,
  timescale_steps: int,
  final_fraction: float,
  factors: Sequence[tuple[int, float]] = (),
) -> Schedule:
  """Return a function from the step to a factor of the learning rate.

  A linear warmup from 0 over `warmup_steps` multiplies every schedule. With t
  the steps since the end of the warmup and T the steps left at that time:
    cosine: from 1 to final_fraction, half a cosine over T.
    linear: from 1 to final_fraction over T.
    rsqrt: 1 / sqrt(1 + t / timescale_steps), then the cooldown.
    constant: 1, then the cooldown.
    factors: the factor of the last of `factors` that has begun, each a first
      step and a factor, then the cooldown.
  The cooldown goes linearly to 0 over the last `cooldown_steps` steps.
  Source: "Scaling Vision Transformers" (arXiv 2106.04560), section 3.5, for
  rsqrt with a cooldown.

  Raises:
    ValueError: an unknown name, or phases that do not fit in the run.
  """
  checks.one_of("optimizer.schedule", name, SCHEDULES)
  if name in ("cosine", "linear") and cooldown_steps:
    checks.refuse(
      "optimizer.cooldown_steps must be 0 with optimizer.schedule="
      f"{name!r}, which ends by itself; got {cooldown_steps}"
    )
  _check_factors(name, factors)
  checks.at_least("optimizer.warmup_steps", warmup_steps, 0)
  checks.at_least("optimizer.cooldown_steps", cooldown_steps, 0)
  checks.at_least("optimizer.timescale_steps", timescale_steps, 1)
  if warmup_steps + cooldown_steps > total_steps:
    checks.refuse(
      "optimizer.warmup_steps + cooldown_steps must be at most total_steps;"
      f" got {warmup_steps} + {cooldown_steps} and {total_steps}"
    )

  def factor(step: jax.Array) -> jax.Array:
    step = jnp.asarray(step, jnp.float32)
    since = jnp.maximum(step - warmup_steps, 0.0)
    progress = jnp.minimum(since / max(total_steps - warmup_steps, 1), 1.0)
    if name == "cosine":
      wave = 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
      body = final_fraction + (1.0 - final_fraction) * wave
    elif name == "linear":
      body = 1.0 + (final_fraction - 1.0) * progress
    elif name == "rsqrt":
      body = jax.lax.rsqrt(1.0 + since / timescale_steps)
    elif name == "factors":
      starts = jnp.array([start for start, _ in factors], jnp.float32)
      values = jnp.array([value for _, value in factors], jnp.float32)
      body = values[jnp.searchsorted(starts, step, side="right") - 1]
    else:
      body = jnp.ones_like(step)
    if warmup_steps:
      body = body * jnp.minimum(step / warmup_steps, 1.0)
    if cooldown_steps:
      left = jnp.maximum(total_steps - step, 0.0)
      body = body * jnp.minimum(left / cooldown_steps, 1.0)
    return body

  return factor


def _check_factors(name: str, factors: Sequence[tuple[int, float]]) -> None:
  """Raise ValueError for factors that the schedule cannot use."""
  starts = [start for start, _ in factors]
  if (name == "factors") != bool(factors):
    checks.refuse(
      'optimizer.factors must be given with optimizer.schedule="factors", and '
      f"with no other; got {factors!r} and {name!r}"
    )
  if factors and (starts[0] != 0 or starts != sorted(set(starts))):
    checks.refuse(
      "optimizer.factors must begin at step 0, and each later than the one "
      f"before; got the steps {starts}"
    )
  if any(factor < 0 for _, factor in factors):
    checks.refuse(f"optimizer.factors must be at least 0; got {factors!r}")
