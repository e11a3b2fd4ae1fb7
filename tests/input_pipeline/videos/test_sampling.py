"""Times of clips: goldens by hand, and what a config may say."""

import doctest
import fractions

import numpy as np
import pytest

from input_pipeline.videos import sampling, video
from tests.input_pipeline.videos import made


def _numbers(config, one, rng=None):
  return [
    [one.number_at(time) for time in sampling.times(config, start)]
    for start in sampling.starts(config, one.duration, rng)
  ]


def test_examples():
  results = doctest.testmod(sampling)
  assert results.attempted >= 4
  assert results.failed == 0


@pytest.mark.parametrize(
  ("fields", "numbers"),
  [
    # 120 frames at 30 a second; a clip of 30 frames begins at 90 i / 4.
    ((4, 2, 2.0), [[0, 15], [22, 37], [45, 60], [67, 82]]),
    # A clip of 60 frames begins at 60 i / 3.
    ((3, 4, 2.0), [[0, 15, 30, 45], [20, 35, 50, 65], [40, 55, 70, 85]]),
    # At the video's own rate, frames are adjacent.
    ((2, 3, 30.0), [[0, 1, 2], [58, 59, 60]]),
    # Above it, a frame is taken again.
    ((1, 3, 60.0), [[0, 0, 1]]),
    # A clip of 5 seconds in a video of 4: the last frame is repeated.
    ((2, 5, 1.0), [[0, 30, 60, 90, 119]] * 2),
    # TGIF-QA in ClipBERT: one frame.
    ((1, 1, 1.0), [[0]]),
  ],
)
def test_uniform_clips(fields, numbers):
  config = sampling.VideoConfig(*fields, start="uniform")
  with video.opened(made.video(120)) as one:
    assert _numbers(config, one) == numbers


def test_random_clips_are_those_of_the_generator():
  config = sampling.VideoConfig(clips=4, frames=2, fps=2.0)
  duration = fractions.Fraction(9)
  starts = sampling.starts(config, duration, np.random.default_rng(0))
  # Philox and PCG64 draw the same everywhere: 8 times rng.random().
  drawn = 8 * np.random.default_rng(0).random(4)
  assert [float(start) for start in starts] == drawn.tolist()
  assert len({*starts}) == 4
  again = sampling.starts(config, duration, np.random.default_rng(0))
  assert again == starts
  for seed in range(50):
    rng = np.random.default_rng(seed)
    for start in sampling.starts(config, duration, rng):
      assert 0 <= start <= 8


def test_inference_is_uniform():
  config = sampling.VideoConfig(clips=2, frames=3, fps=1.5)
  assert config.at_inference(16) == sampling.VideoConfig(16, 3, 1.5, "uniform")
  with pytest.raises(ValueError, match="needs a generator; got none"):
    sampling.starts(config, fractions.Fraction(9), None)


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("clips", -1, "data.video.clips must be at least 0; got -1"),
    ("frames", 0, "data.video.frames must be at least 1; got 0"),
    ("fps", 0.0, "data.video.fps must be above 0; got 0.0"),
    ("fps", float("inf"), "data.video.fps must be finite; got inf"),
    ("fps", float("nan"), "data.video.fps must be above 0; got nan"),
    ("start", "middle", "data.video.start must be one of random, uniform"),
  ],
)
def test_a_value_that_cannot_be_used(field, value, message):
  with pytest.raises(ValueError, match=message):
    sampling.VideoConfig(**{field: value}).check()
