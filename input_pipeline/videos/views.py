"""Views of a video for an embedding of it: clips at even distances, cropped.

A video has clips x crops views, of some frames each: on Kinetics, Florence
(arXiv 2111.11432) and Video Swin (arXiv 2106.13230) take 4 clips x 3 crops. The
crops of a clip lie at even distances along the longer side of its frames, the
first and the last at the ends. Clips start as those of ClipBERT at inference
(sampling.starts, "uniform").
"""

import dataclasses

import numpy as np

from input_pipeline.images import image_protocols
from input_pipeline.videos import sampling, video


@dataclasses.dataclass(frozen=True)
class ViewsConfig:
  """Clips and crops of a video.

  Attributes:
    clips: clips of a video.
    frames: frames of a clip.
    fps: frames a second: a clip lasts frames / fps seconds.
    crops: crops of each frame; several need a protocol that keeps the shape of
      images.
  """

  clips: int
  frames: int
  fps: float
  crops: int

  @property
  def num(self) -> int:
    """Number of views of a video."""
    return self.clips * self.crops

  @property
  def clip_section(self) -> sampling.VideoConfig:
    """The clips without crops, as `data.video` describes them."""
    return sampling.VideoConfig(
      self.clips, self.frames, self.fps, sampling.UNIFORM
    )


def at_inference(
  data: bytes, config: ViewsConfig, protocol: image_protocols.Protocol
) -> np.ndarray:
  """Return the views of a video.

  Args:
    data: content of a video file.
    config: clips and crops.
    protocol: steps that each frame is resized and cropped by.

  Returns:
    uint8 [clips * crops, T, protocol.size, protocol.size, 3]: all crops of the
    first clip, then those of the second.

  Raises:
    faults.ExampleError: see `video.opened`.
    ValueError: several crops by a protocol that does not keep the shape.
  """
  section, size = config.clip_section, protocol.size
  views = np.empty(
    (config.clips, config.crops, config.frames, size, size, 3), np.uint8
  )
  with video.opened(data) as one:
    starts = sampling.starts(section, one.duration, None)
    times = [
      time for start in starts for time in sampling.times(section, start)
    ]
    for position, pixels in one.frames(times):
      clip, frame = divmod(position, config.frames)
      views[clip, :, frame] = protocol.crops(pixels, config.crops)
  return views.reshape(config.num, *views.shape[2:])


def middle(
  data: bytes, config: ViewsConfig, protocol: image_protocols.Protocol
) -> np.ndarray:
  """Return the frame in the middle of the middle clip: uint8 [Y, X, 3].

  Raises:
    faults.ExampleError: see `video.opened`.
  """
  section = config.clip_section
  with video.opened(data) as one:
    starts = sampling.starts(section, one.duration, None)
    times = sampling.times(section, starts[len(starts) // 2])
    ((_, pixels),) = one.frames([times[len(times) // 2]])
    return protocol.apply(pixels)
