"""Videos of an evaluation set: their views, and the tower that embeds them.

Any set of captions or of classes becomes one of videos by its section `video`.
The same videos may be in several sets, such as one for each tower.
"""

import dataclasses
import math
from typing import Any

from input_pipeline.images import image_protocols
from input_pipeline.sources import source_config
from input_pipeline.videos import views as views_lib
from models.video import embedding, video_swin
from runtime import checks


@dataclasses.dataclass(frozen=True)
class VideoConfig:
  """Section `video` of an evaluation set.

  Attributes:
    clips: clips of a video, at even distances; 0: the source holds images.
      Florence has 4 on Kinetics (arXiv 2111.11432).
    frames: frames of a clip. Florence's number is unpublished: ours.
    fps: frames a second of a clip; ours.
    crops: crops of each frame along its longer side. Florence has 3 there; 1
      is the model's own crop.
    tower: "image", the image tower frame by frame, or "inflated", the inflation
      of a Swin.
    aggregation: mean over frames, or over the views of the inflated tower, that
      is the video's embedding: "normalised_mean" of rows of length 1, or "mean"
      of the tower's outputs.
    inflation: temporal sizes of the inflated tower; unpublished, ours.
  """

  clips: int = 0
  frames: int = 8
  fps: float = 2.0
  crops: int = 1
  tower: str = embedding.IMAGE
  aggregation: str = embedding.NORMALISED_MEAN
  inflation: video_swin.VideoConfig = video_swin.VideoConfig()

  @property
  def is_on(self) -> bool:
    """Whether the set's source holds videos."""
    return self.clips > 0

  @property
  def views(self) -> views_lib.ViewsConfig:
    """Clips and crops of a video."""
    return views_lib.ViewsConfig(self.clips, self.frames, self.fps, self.crops)

  @property
  def embedding(self) -> embedding.EmbeddingConfig:
    """Tower and aggregation."""
    return embedding.EmbeddingConfig(
      self.tower, self.aggregation, self.inflation
    )

  @checks.collected()
  def check(self, field: str) -> None:
    """Raise ValueError, naming the field, where a value cannot be used.

    Args:
      field: name of this section in messages.
    """
    for name, lowest in (("clips", 0), ("frames", 1), ("crops", 1)):
      checks.at_least(f"{field}.{name}", getattr(self, name), lowest)
    checks.above(f"{field}.fps", self.fps, 0)
    if self.fps == math.inf:
      checks.refuse(f"{field}.fps must be finite; got {self.fps}")
    checks.one_of(f"{field}.tower", self.tower, embedding.TOWERS)
    checks.one_of(
      f"{field}.aggregation", self.aggregation, embedding.AGGREGATIONS
    )

  def check_crops(self, protocol: Any, field: str) -> None:
    """Raise ValueError where an image protocol does not make the crops.

    Args:
      protocol: image protocol of the model.
      field: name of this section in messages.
    """
    square = isinstance(protocol, image_protocols.Protocol)
    if self.crops > 1 and square and not protocol.keeps_shape:
      checks.refuse(
        f"{field}.crops must be 1 for the image protocol {protocol.name}, which"
        f" does not keep the shape of frames ({protocol.resize}); got"
        f" {self.crops}"
      )

  def facts(self) -> dict[str, Any]:
    """Return what a figure depends on, for its protocol record."""
    inflates = self.tower == embedding.INFLATED
    return {
      "clips": self.clips,
      "frames": self.frames,
      "fps": self.fps,
      "start": "clip i of N at (seconds - frames / fps) * i / N",
      "crops": self.crops,
      "views": self.views.num,
      "tower": self.tower,
      "aggregation": self.aggregation,
      "inflation": {
        "kernels": "copied over time, divided by their length",
        "relative_positions": "copied along time",
        "ends": "frames at the ends of a clip repeated",
        **dataclasses.asdict(self.inflation),
      }
      if inflates
      else None,
    }


@dataclasses.dataclass(frozen=True)
class Videos:
  """Key of the videos of a source, with all that decides their embeddings.

  Attributes:
    source: section of the source, with is_video.
    video: views and tower.
  """

  source: source_config.SourceConfig
  video: VideoConfig


def key(
  source: source_config.SourceConfig, video: VideoConfig
) -> source_config.SourceConfig | Videos:
  """Return the key of a set's examples: its source, or its videos."""
  if not video.is_on:
    return source
  return Videos(dataclasses.replace(source, is_video=True), video)
