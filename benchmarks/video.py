"""Decoding one clip of a video, beside reading the file from its start.

  taskset -c 0 .venv/bin/python -m benchmarks.video

A video of 30 s, 854 x 480, 30 frames a second, H.264 in MP4, with a key frame
every 2 s (60 frames) or every 250 frames (x264's default), is written once: a
view that moves over noise of several scales. A turn takes --num_clips clips of
2 adjacent frames at random times, each resized to 448 pixels square:

  ours   videos/clips.py, from the key frame before the clip
  start  PyAV decodes from the start of the file, and stops behind the clip
  whole  PyAV decodes the whole file, and the clip is taken of its frames

All have the same pixels, which is checked first. The contestants take turns on
one core with one thread. ms is the median turn's time of the processor for one
clip, which other processes on the machine change little; the ratio is the
median of the rounds' ratios, above 1 if ours is faster.
"""

import dataclasses
import fractions
import io
import json
import statistics
import time
from collections.abc import Callable, Sequence

import av  # pyrefly: ignore[missing-import]
import numpy as np
from absl import app, flags

from benchmarks import rounds
from configs import base
from input_pipeline.images import augmentation as augmentation_lib
from input_pipeline.images import picture
from input_pipeline.videos import clips, sampling, video
from training import config as config_lib

_ROUNDS = flags.DEFINE_integer(
  "rounds", 5, "Turns of each contestant.", lower_bound=1
)
_NUM_CLIPS = flags.DEFINE_integer(
  "num_clips", 8, "Clips of a turn.", lower_bound=1
)

_SIZE, _FPS, _SECONDS = 448, 30, 30
_HEIGHT, _WIDTH = 480, 854
_CONFIG = sampling.VideoConfig(clips=1, frames=2, fps=float(_FPS))


def make_video(gop: int) -> bytes:
  """Return the file, with a key frame every `gop` frames."""
  rng = np.random.default_rng(0)
  canvas = np.zeros((1024, 2048, 3), np.float32)
  for scale in (4, 16, 64):
    noise = rng.uniform(0, 85, (1024 // scale, 2048 // scale, 3))
    canvas += noise.repeat(scale, 0).repeat(scale, 1)
  canvas = canvas.astype(np.uint8)
  file = io.BytesIO()
  with av.open(file, "w", format="mp4") as container:
    stream = container.add_stream("libx264", rate=_FPS)
    stream.height, stream.width, stream.pix_fmt = _HEIGHT, _WIDTH, "yuv420p"
    stream.options = {"preset": "veryfast", "g": str(gop), "sc_threshold": "0"}
    for i in range(_FPS * _SECONDS):
      top, left = i * 3 % (1024 - _HEIGHT), i * 5 % (2048 - _WIDTH)
      view = canvas[top : top + _HEIGHT, left : left + _WIDTH]
      frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(view))
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
  return file.getvalue()


def make_ours(
  data: bytes, augmentation: augmentation_lib.Augmentation
) -> Callable[[int], np.ndarray]:
  """Return a function from a seed to the frames of a clip."""

  def take(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    facts = _CONFIG, augmentation, _SIZE
    return clips.arrays(data, *facts, rng)["images"][0]

  return take


def make_peer(
  data: bytes, augmentation: augmentation_lib.Augmentation, *, stops: bool
) -> Callable[[int], np.ndarray]:
  """Return a function from a seed to the same frames, through PyAV alone."""

  def take(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    duration = fractions.Fraction(_SECONDS)
    (start,) = sampling.starts(_CONFIG, duration, rng)
    numbers = [int(t * _FPS) for t in sampling.times(_CONFIG, start)]
    frames = []
    with av.open(io.BytesIO(data), "r") as container:
      container.streams.video[0].codec_context.thread_count = 1
      for number, frame in enumerate(container.decode(video=0)):
        if number in numbers:
          frames.append(frame.to_ndarray(format="rgb24"))
        if stops and number == numbers[-1]:
          break
    changed = (
      augmentation.changed(picture.of_pixels(frame), _SIZE, rng)
      for frame in frames
    )
    return np.stack(list(changed))

  return take


def make_timed(take: Callable[[int], np.ndarray]) -> rounds.Timed:
  """Return a function that returns its seconds for one clip."""

  def timed() -> float:
    start = time.process_time()
    for seed in range(_NUM_CLIPS.value):
      take(seed)
    return (time.process_time() - start) / _NUM_CLIPS.value

  return timed


def main(argv: Sequence[str]) -> None:
  del argv
  config = config_lib.from_mapping(base.get_config().to_dict())
  augmentation = dataclasses.replace(
    config.data.augmentation, resize="squash", random_crop=False
  )
  for gop in (2 * _FPS, 250):
    data = make_video(gop)
    takes = {
      "ours": make_ours(data, augmentation),
      "start": make_peer(data, augmentation, stops=True),
      "whole": make_peer(data, augmentation, stops=False),
    }
    with video.opened(data) as one:
      assert one.duration == _SECONDS
    for seed in range(2):
      expected = takes["ours"](seed)
      np.testing.assert_array_equal(takes["start"](seed), expected)
    seconds = rounds.measure(
      {name: make_timed(take) for name, take in takes.items()}, _ROUNDS.value
    )
    row: dict[str, object] = {"frames_per_key": gop, "num_bytes": len(data)}
    row |= {f"{k}_ms": 1000 * statistics.median(v) for k, v in seconds.items()}
    for name in ("start", "whole"):
      row[f"{name}_ratio"] = statistics.median(
        theirs / ours
        for ours, theirs in zip(seconds["ours"], seconds[name], strict=True)
      )
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
  app.run(main)
