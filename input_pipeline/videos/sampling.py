"""Times of a video's frames that make its clips: the section `data.video`.

A clip is `frames` frames at `fps` frames a second, and so lasts frames / fps
seconds. A training example has `clips` of them (sparse sampling: ClipBERT,
arXiv 2102.06183, section 3). Times are fractions: no rounding decides which of
two frames is taken.

The released code of ClipBERT spreads a clip's frames from its first frame to
its last; with 2 frames at 2 a second, it takes them almost 1 second apart, ours
are half a second apart, as fps says.
"""

import dataclasses
import fractions
import math

import numpy as np

from runtime import checks, marks

# Values of the field `start`.
RANDOM, UNIFORM = STARTS = ("random", "uniform")


@dataclasses.dataclass(frozen=True)
class VideoConfig:
  """Fields of the section; configs/base.py explains them."""

  clips: marks.Fixed[int] = 0
  frames: marks.Fixed[int] = 2
  fps: marks.Fixed[float] = 2.0
  start: marks.Fixed[str] = RANDOM

  @property
  def is_on(self) -> bool:
    """Whether sources hold videos, not images."""
    return self.clips > 0

  def check(self) -> None:
    """Raise ValueError, naming the field, for a value that cannot be used."""
    for field, lowest in (("clips", 0), ("frames", 1)):
      checks.at_least(f"data.video.{field}", getattr(self, field), lowest)
    checks.above("data.video.fps", self.fps, 0)
    if self.fps == math.inf:
      checks.refuse(f"data.video.fps must be finite; got {self.fps}")
    checks.one_of("data.video.start", self.start, STARTS)

  def at_inference(self, clips: int) -> "VideoConfig":
    """Return the section for `clips` clips at even distances."""
    return dataclasses.replace(self, clips=clips, start=UNIFORM)


def starts(
  config: VideoConfig,
  duration: fractions.Fraction,
  rng: np.random.Generator | None,
) -> list[fractions.Fraction]:
  """Return the start of each clip, in seconds.

  "random" draws each by itself, evenly from 0 to duration - clip; clips may
  overlap. "uniform" starts clip i of N at (duration - clip) i / N, as ClipBERT
  does at inference. In a video that is shorter than a clip, all start at 0.

  Args:
    config: section of the config.
    duration: seconds of the video.
    rng: generator of one number a clip; None with "uniform".

  >>> config = VideoConfig(clips=4, frames=2, fps=2.0, start="uniform")
  >>> [float(x) for x in starts(config, fractions.Fraction(9), None)]
  [0.0, 2.0, 4.0, 6.0]
  """
  room = max(
    duration - config.frames / _exact(config.fps), fractions.Fraction()
  )
  if config.start == UNIFORM:
    return [room * i / config.clips for i in range(config.clips)]
  if rng is None:
    raise ValueError('data.video.start="random" needs a generator; got none')
  return [room * fractions.Fraction(rng.random()) for _ in range(config.clips)]


def times(
  config: VideoConfig, start: fractions.Fraction
) -> list[fractions.Fraction]:
  """Return the time of each frame of a clip, in seconds.

  >>> config = VideoConfig(clips=1, frames=3, fps=2.0)
  >>> [float(x) for x in times(config, fractions.Fraction(1))]
  [1.0, 1.5, 2.0]
  """
  return [start + i / _exact(config.fps) for i in range(config.frames)]


def _exact(fps: float) -> fractions.Fraction:
  """Return a rate as it is written: 0.1 is a tenth, not the nearest float."""
  return fractions.Fraction(str(fps))
