"""Clips of a video as the arrays of an example."""

import fractions
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from input_pipeline.images import augmentation as augmentation_lib
from input_pipeline.images import image_protocols, picture
from input_pipeline.videos import sampling, video


def arrays(
  data: bytes,
  config: sampling.VideoConfig,
  augmentation: augmentation_lib.Augmentation,
  size: int,
  rng: np.random.Generator,
) -> dict[str, np.ndarray]:
  """Return the arrays of one training example.

  All frames of a clip are cropped, mirrored and changed alike: each with a
  generator of the clip, begun anew. The example's generator draws the clips'
  starts, then a seed for each clip.

  Args:
    data: content of a video file.
    config: section of the clips.
    augmentation: changes of each frame.
    size: side of frames in pixels.
    rng: generator of this example and step.

  Returns:
    "images", uint8 [clips, T, size, size, 3].

  Raises:
    faults.ExampleError: see `video.opened`; frames smaller than pre_crop.
  """
  with video.opened(data) as one:
    starts = sampling.starts(config, one.duration, rng)
    seeds = rng.integers(2**63, size=config.clips)

    def change(pixels: np.ndarray, clip: int) -> np.ndarray:
      clip_rng = np.random.Generator(np.random.Philox(int(seeds[clip])))
      return augmentation.changed(picture.of_pixels(pixels), size, clip_rng)

    return {"images": _frames(one, config, starts, size, change)}


def at_inference(
  data: bytes,
  config: sampling.VideoConfig,
  protocol: image_protocols.Protocol,
) -> np.ndarray:
  """Return the clips of a video without chance.

  Args:
    data: content of a video file.
    config: section with start="uniform", as `VideoConfig.at_inference` returns.
    protocol: steps that each frame is resized and cropped by.

  Returns:
    uint8 [clips, T, protocol.size, protocol.size, 3].

  Raises:
    faults.ExampleError: see `video.opened`.
    ValueError: clips start at random.
  """
  with video.opened(data) as one:
    starts = sampling.starts(config, one.duration, None)
    return _frames(
      *(one, config, starts, protocol.size),
      lambda pixels, _: protocol.apply(pixels),
    )


def shapes(
  config: sampling.VideoConfig, size: int
) -> dict[str, tuple[tuple[int, ...], Any]]:
  """Return shape and dtype of each array that `arrays` makes."""
  return {"images": ((config.clips, config.frames, size, size, 3), np.uint8)}


def size(data: bytes) -> tuple[int, int]:
  """Return the height and width that a video's header states.

  No frame is decoded, but all packets are listed.

  Raises:
    faults.ExampleError: see `video.opened`.
  """
  with video.opened(data) as one:
    return one.height, one.width


def first_size(data: bytes) -> tuple[int, int]:
  """Return height and width of a video, after its first frame is decoded.

  Raises:
    faults.ExampleError: see `video.opened`.
  """
  with video.opened(data) as one:
    ((_, pixels),) = one.frames([fractions.Fraction()])
    return pixels.shape[0], pixels.shape[1]


def decode(data: bytes) -> tuple[int, int]:
  """Return height and width of a video, after all frames are decoded.

  Raises:
    faults.ExampleError: a frame cannot be decoded, and see `video.opened`.
  """
  with video.opened(data) as one:
    one.check_all()
    return one.height, one.width


def _frames(
  one: video.Video,
  config: sampling.VideoConfig,
  starts: Sequence[fractions.Fraction],
  size: int,
  change: Callable[[np.ndarray, int], np.ndarray],
) -> np.ndarray:
  """Return the frames of clips, each changed as it is decoded.

  Args:
    one: video that is open.
    config: section of the clips.
    starts: start of each clip in seconds.
    size: side of changed frames in pixels.
    change: function of a frame and the number of its clip.
  """
  images = np.empty(shapes(config, size)["images"][0], np.uint8)
  frames = images.reshape(-1, size, size, 3)
  times = [time for start in starts for time in sampling.times(config, start)]
  for position, pixels in one.frames(times):
    frames[position] = change(pixels, position // config.frames)
  return images
