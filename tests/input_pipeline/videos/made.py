"""Videos whose frames show their numbers, written by PyAV."""

import fractions
import io
from collections.abc import Mapping, Sequence
from typing import Any

import av
import numpy as np

# Bars of a picture, black or white: the bits of its number, lowest first.
_NUM_BITS = 8
HEIGHT, WIDTH = 32, 64


def picture(
  number: int, height: int = HEIGHT, width: int = WIDTH
) -> np.ndarray:
  """Return the picture of a number, uint8 [height, width, 3]."""
  bits = number >> np.arange(_NUM_BITS) & 1
  row = (255 * bits).repeat(width // _NUM_BITS).astype(np.uint8)
  return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def number(pixels: np.ndarray) -> int:
  """Return the number that a decoded picture of any size shows."""
  bars = np.array_split(pixels.mean((0, 2)), _NUM_BITS)
  return sum(int(bar.mean() > 127) << i for i, bar in enumerate(bars))


def video(
  num_frames: int = 60,
  *,
  format: str = "mp4",
  codec: str = "libx264",
  fps: int = 30,
  gop: int = 12,
  milliseconds: Sequence[int] = (),
  size: tuple[int, int] = (HEIGHT, WIDTH),
  options: Mapping[str, str] | None = None,
  first: int = 0,
  step: int = 1,
) -> bytes:
  """Return a video file whose frames show first, first + step, ...

  Args:
    num_frames: number of frames.
    format: FFmpeg's name of the container.
    codec: FFmpeg's name of the encoder.
    fps: frames a second.
    gop: frames from a key frame to the next.
    milliseconds: time at which each frame is shown; a constant rate by default.
    size: height and width in pixels.
    options: options of the encoder.
    first: number of the first frame.
    step: difference of the numbers of two frames.
  """
  file = io.BytesIO()
  height, width = size
  if codec == "libx264":
    options = {"preset": "ultrafast", "bf": "2"} | dict(options or {})
  with av.open(file, "w", format=format) as container:
    stream = _stream(container, codec, fps, size)
    stream.codec_context.gop_size = gop
    stream.options = dict(options or {})
    if milliseconds:
      stream.codec_context.time_base = fractions.Fraction(1, 1000)
    for i in range(num_frames):
      frame = av.VideoFrame.from_ndarray(picture(first + step * i, *size))
      if milliseconds:
        frame.pts = milliseconds[i]
        frame.time_base = fractions.Fraction(1, 1000)
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
  return file.getvalue()


def turning(num_frames: int = 20, turn: int = 10) -> bytes:
  """Return a WebM whose frames are WIDTH x HEIGHT, and then the other way."""
  file = io.BytesIO()
  with av.open(file, "w", format="webm") as container:
    stream = _stream(container, "libvpx", 10, (HEIGHT, WIDTH))
    for first, last, size in (
      (0, turn, (HEIGHT, WIDTH)),
      (turn, num_frames, (WIDTH, HEIGHT)),
    ):
      with av.open(io.BytesIO(), "w", format="webm") as other:
        encoder = _stream(other, "libvpx", 10, size).codec_context
        frames = [
          av.VideoFrame.from_ndarray(picture(i, *size))
          for i in range(first, last)
        ]
        packets = [
          p for frame in [*frames, None] for p in encoder.encode(frame)
        ]
        for number, packet in enumerate(packets, first):
          packet.stream = stream
          packet.pts = packet.dts = number
          packet.time_base = fractions.Fraction(1, 10)
          container.mux(packet)
  return file.getvalue()


def sound() -> bytes:
  """Return an MP4 with a stream of sound alone."""
  file = io.BytesIO()
  with av.open(file, "w", format="mp4") as container:
    stream = container.add_stream("aac", rate=16_000, layout="mono")
    silence = np.zeros((1, 4096), np.float32)
    frame = av.AudioFrame.from_ndarray(silence, "fltp", "mono")
    frame.sample_rate = 16_000
    container.mux(stream.encode(frame))
    container.mux(stream.encode())
  return file.getvalue()


def _stream(container: Any, codec: str, fps: int, size: tuple[int, int]) -> Any:
  stream = container.add_stream(codec, rate=fps)
  stream.height, stream.width = size
  stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
  # One thread: a test's machine has few cores.
  stream.codec_context.thread_count = 1
  return stream
