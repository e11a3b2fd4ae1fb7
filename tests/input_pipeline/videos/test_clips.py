"""Clips as arrays: their frames, and one augmentation for each clip."""

import dataclasses
import fractions

import numpy as np
import pytest

from input_pipeline import faults
from input_pipeline.images import augmentation as augmentation_lib
from input_pipeline.images import image_protocols, picture
from input_pipeline.videos import clips, sampling, video
from tests.input_pipeline.images import augmentations
from tests.input_pipeline.videos import made

_WHOLE = augmentations.make(resize="squash", random_crop=False)
_CONFIG = sampling.VideoConfig(clips=3, frames=4, fps=10.0)


def _rng(seed: int = 0) -> np.random.Generator:
  return np.random.default_rng(seed)


def test_frames_are_those_of_the_sampler():
  data = made.video(60)
  images = clips.arrays(data, _CONFIG, _WHOLE, 64, _rng())["images"]
  assert images.dtype == np.uint8
  assert {"images": (images.shape, np.uint8)} == clips.shapes(_CONFIG, 64)
  assert images.shape == (3, 4, 64, 64, 3)
  starts = sampling.starts(_CONFIG, fractions.Fraction(2), _rng())
  with video.opened(data) as one:
    expected = [
      [one.number_at(time) for time in sampling.times(_CONFIG, start)]
      for start in starts
    ]
  got = [[made.number(frame) for frame in clip] for clip in images]
  assert got == expected
  # 10 frames a second of 30, at three starts.
  assert [np.diff(numbers).tolist() for numbers in got] == [[3, 3, 3]] * 3
  assert len({numbers[0] for numbers in got}) == 3


def _random(**fields) -> augmentation_lib.Augmentation:
  fields = {"flip_probability": 0.5, "quarter_turns": True} | fields
  return augmentations.make(
    **{
      "resize": "area",
      "crop_scale": (0.2, 1.0),
      "jitter": (0.4, 0.4, 0.4, 0.1),
      "erase_probability": 0.5,
      "randaug_layers": 2,
    }
    | fields
  )


def test_all_frames_of_a_clip_have_the_same_augmentation():
  # Above the video's rate, a clip is one frame many times: 0, 16 and 33.
  data = made.video(50)
  config = dataclasses.replace(_CONFIG, frames=6, fps=1000.0, start="uniform")
  for seed in range(4):
    rng = _rng(seed)
    images = clips.arrays(data, config, _random(), 32, rng)["images"]
    for clip in images:
      np.testing.assert_array_equal(clip, np.broadcast_to(clip[:1], clip.shape))


def test_each_clip_has_draws_of_its_own():
  # All clips are the first frame of a video that is shorter than they are.
  config = sampling.VideoConfig(clips=8, frames=1, fps=1.0)
  data = made.video(2, first=0b01100101)
  images = clips.arrays(data, config, _random(), 32, _rng())["images"]
  assert len({image.tobytes() for image in images}) > 4


def test_an_example_depends_on_its_generator_alone():
  data = made.video(60)
  one, same, other = (
    clips.arrays(data, _CONFIG, _random(), 32, _rng(seed))["images"]
    for seed in (1, 1, 2)
  )
  np.testing.assert_array_equal(one, same)
  assert (one != other).any()


def test_a_frame_is_changed_as_an_image_is():
  """A clip of one frame equals the image pipeline on that frame."""
  config = sampling.VideoConfig(clips=1, frames=1, fps=1.0, start="uniform")
  data = made.video(6)
  images = clips.arrays(data, config, _random(), 32, _rng(3))["images"]
  with video.opened(data) as one:
    ((_, pixels),) = one.frames([fractions.Fraction()])
  seed = int(_rng(3).integers(2**63, size=1)[0])
  rng = np.random.Generator(np.random.Philox(seed))
  expected = _random().changed(picture.of_pixels(pixels), 32, rng)
  np.testing.assert_array_equal(images[0, 0], expected)


def test_clips_at_inference_are_those_of_an_image_protocol():
  protocol = image_protocols.PROTOCOLS["clip"].at(24)
  config = _CONFIG.at_inference(2)
  data = made.video(60)
  images = clips.at_inference(data, config, protocol)
  assert images.shape == (2, 4, 24, 24, 3)
  # 60 frames at 30 a second; a clip of 12 frames begins at 48 i / 2.
  times = [fractions.Fraction(n, 30) for n in (0, 3, 6, 9, 24, 27, 30, 33)]
  with video.opened(data) as one:
    for position, pixels in one.frames(times):
      got = images.reshape(-1, 24, 24, 3)[position]
      np.testing.assert_array_equal(got, protocol.apply(pixels))
  with pytest.raises(ValueError, match='start="random" needs a generator'):
    clips.at_inference(data, _CONFIG, protocol)


def test_sizes_and_checks():
  data = made.video(6)
  assert clips.size(data) == (made.HEIGHT, made.WIDTH)
  assert clips.first_size(data) == (made.HEIGHT, made.WIDTH)
  assert clips.decode(data) == (made.HEIGHT, made.WIDTH)
  turning = made.turning()
  assert clips.size(turning) == clips.first_size(turning)
  with pytest.raises(faults.ExampleError, match="change their size"):
    clips.decode(turning)
  with pytest.raises(faults.ExampleError, match="at least data.augmentation"):
    clips.arrays(data, _CONFIG, _random(pre_crop=48), 32, _rng())
