"""Video file, of which single frames are decoded by their times.

FFmpeg decodes, through PyAV (requirements-video.txt), in the thread that asks:
data.num_threads and data.num_workers are what runs in parallel. All packets are
read once for their times, which takes a small part of the time of decoding;
then, for each frame that is wanted, the decoder starts at the last key frame
before it. So frames are the same, to the bit, as where a file is decoded from
its start.

The rules for odd files:

- The frame at a time is the one that a player shows then: the last whose time
  stamp is not later, after the time is rounded to the stream's unit. So videos
  of a variable rate need no rule of their own. Times count from the first
  frame; before it and behind the last one, that one is shown.
- A packet that the decoder refuses, or a frame that it had to conceal, is
  "video_broken" where it is decoded on the way to a frame that is wanted.
  Damage elsewhere goes unnoticed. A file that is cut short is refused whole.
- Frames have the size that the header states; another is "video_broken".
- The display's rotation and the shape of pixels are ignored, as for images.
  Colours are converted by the matrix and the range that the file states, to 8
  bits. A GIF's transparency is white.
"""

import bisect
import contextlib
import fractions
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from input_pipeline import faults
from input_pipeline.videos import containers

# Pixels of the largest frame that is decoded: 5.3K (5312 x 2988) is, 8K is not.
# A decoder holds up to 17 frames, of 1.5 bytes a pixel at 8 bits.
MAX_PIXELS = 16_000_000
# Pixels of frames that FFmpeg may decode to learn of a stream. Above it, the
# size that it returns is 0.
_PROBED_PIXELS = 64_000_000
# Characters of FFmpeg's message.
_MAX_REASON = 120


class _Packet(NamedTuple):
  """Packet of a video, in the order of decoding.

  Attributes:
    pts: time stamp at which its frame is shown, in units of the stream.
    dts: time stamp at which it is decoded; None without one.
    is_key: whether a decoder may start with it.
    is_shown: whether it has a frame that is shown.
  """

  pts: int
  dts: int | None
  is_key: bool
  is_shown: bool


def check_installed() -> None:
  """Raise ModuleNotFoundError where PyAV is not installed."""
  _av()


@contextlib.contextmanager
def opened(data: bytes) -> Iterator["Video"]:
  """Yield a video, whose packets have been listed; no frame is decoded yet.

  Args:
    data: content of a file.

  Raises:
    faults.ExampleError: "video_broken", "video_missing", "video_too_large" or
      "video_too_short".
    ModuleNotFoundError: PyAV is not installed.
  """
  av = _av()
  format = containers.format_of(data)
  containers.check_whole(data, format)
  try:
    with contextlib.ExitStack() as stack:
      yield Video(data, format, stack)
  except av.FFmpegError as error:
    raise containers.broken(data, _one_line(error)) from error


class Video:
  """Video that is open.

  Attributes:
    height, width: size of its frames in pixels.
    num_frames: number of frames that are shown.
    duration: seconds from the first frame to the end of the last one.
  """

  def __init__(self, data: bytes, format: str, stack: contextlib.ExitStack):
    self._data = data
    self._format = format
    self._stack = stack
    self._container, self._stream = self._opened()
    context = self._stream.codec_context
    self.height, self.width = context.height, context.width
    self._check_size()
    self._last_ticks = 0  # of the frame that is shown last
    self._packets = list(self._listed())
    self._numbers = {(x.pts, x.dts): i for i, x in enumerate(self._packets)}
    self._shown = sorted({x.pts for x in self._packets if x.is_shown})
    self._keys = sorted(
      (x.pts, i) for i, x in enumerate(self._packets) if x.is_key
    )
    self.num_frames = len(self._shown)
    if self.num_frames < 2:
      raise faults.ExampleError(
        "video_too_short",
        f"a video has at least 2 frames; got {self.num_frames} in"
        f" {len(data)} bytes",
      )
    ticks = self._shown[-1] - self._shown[0]
    last = self._last_ticks or fractions.Fraction(ticks, self.num_frames - 1)
    self.duration = (ticks + last) * self._stream.time_base

  def number_at(self, time: fractions.Fraction) -> int:
    """Return the number of the frame that is shown at a time, from 0.

    Args:
      time: seconds after the first frame is shown.
    """
    ticks = time / self._stream.time_base + fractions.Fraction(1, 2)
    pts = self._shown[0] + ticks.numerator // ticks.denominator
    return max(bisect.bisect_right(self._shown, pts) - 1, 0)

  def frames(
    self, times: Sequence[fractions.Fraction]
  ) -> Iterator[tuple[int, np.ndarray]]:
    """Yield a position in `times`, and the frame shown then, for each time.

    The order is that of the video, so that few frames are in memory at once.

    Args:
      times: seconds after the first frame is shown, in any order.

    Yields:
      Position, and uint8 [height, width, 3] that is not to be changed.

    Raises:
      faults.ExampleError: "video_broken".
    """
    positions: dict[int, list[int]] = {}
    for position, time in enumerate(times):
      pts = self._shown[self.number_at(time)]
      positions.setdefault(pts, []).append(position)
    wanted: dict[int, list[int]] = {}
    for pts in sorted(positions):
      wanted.setdefault(self._key_of(pts), []).append(pts)
    for key, group in wanted.items():
      for pts, pixels in self._decoded(key, group):
        for position in positions[pts]:
          yield position, pixels

  def check_all(self) -> None:
    """Raise faults.ExampleError where a frame of the video is damaged."""
    left = set(self._shown)
    for frame in self._frames_from(0):
      self._check_frame(frame)
      left.discard(frame.pts)
    if left:
      raise self._no_frame(min(left))

  def _opened(self) -> tuple[Any, Any]:
    """Return the container and its first video stream that is no cover."""
    av = _av()
    container = self._stack.enter_context(
      av.open(
        io.BytesIO(self._data),
        format=self._format,
        options={"max_pixels": str(_PROBED_PIXELS)},
        metadata_errors="ignore",
      )
    )
    covers = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
      if not stream.disposition & covers and stream.codec_context is not None:
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        return container, stream
    kinds = [stream.type for stream in container.streams]
    raise faults.ExampleError(
      "video_missing",
      "a video must have a stream of pictures that FFmpeg decodes; got"
      f" {', '.join(kinds) or 'no stream'} in {len(self._data)} bytes",
    )

  def _check_size(self) -> None:
    if self.height * self.width > MAX_PIXELS:
      raise faults.ExampleError(
        "video_too_large",
        f"video of {self.width} x {self.height} ="
        f" {self.height * self.width} pixels; at most {MAX_PIXELS} are decoded",
      )
    if not self.height * self.width:
      raise containers.broken(
        self._data,
        f"its header states no size, or one above {_PROBED_PIXELS} pixels",
      )

  def _listed(self) -> Iterator[_Packet]:
    """Yield all packets; sets the length of the last frame, in units."""
    is_vp8 = "vp8" in self._stream.codec_context.name
    last: int | None = None
    for packet in self._container.demux(self._stream):
      if not packet.size:  # the end
        continue
      if packet.is_corrupt:
        raise containers.broken(self._data, "it ends within a frame")
      if packet.pts is None:
        raise containers.broken(self._data, "a frame has no time stamp")
      # Reference frames of VP8 have packets of their own (RFC 6386, 9.1).
      is_hidden = is_vp8 and not bytes(packet)[0] & 0x10
      is_shown = not (is_hidden or packet.is_discard)
      if is_shown and (last is None or packet.pts >= last):
        last, self._last_ticks = packet.pts, packet.duration or 0
      yield _Packet(packet.pts, packet.dts, packet.is_keyframe, is_shown)

  def _key_of(self, pts: int) -> int:
    """Return the number of the packet that decoding begins with."""
    at = bisect.bisect_right(self._keys, (pts, len(self._packets))) - 1
    return self._keys[at][1] if at >= 0 else 0

  def _decoded(
    self, key: int, wanted: Sequence[int]
  ) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (pts, frame) of the wanted frames, decoded from a packet on.

    Args:
      key: number of the packet.
      wanted: time stamps, ascending, none before the packet's.
    """
    left = list(wanted)
    missing = []
    for frame in self._frames_from(key):
      while left and frame.pts > left[0]:
        missing.append(left.pop(0))
      if left and frame.pts == left[0]:
        yield left.pop(0), self._pixels(frame)
      if not left:
        break
    missing += left
    if missing and key:
      # The packet was no key frame in truth.
      yield from self._decoded(0, missing)
    elif missing:
      raise self._no_frame(missing[0])

  def _frames_from(self, key: int) -> Iterator[Any]:
    """Yield the frames from a packet on, in the order in which they are shown.

    Frames before it, which lack their references, are left out. Nothing is
    yielded where the first frame needs others: an encoder that refreshes the
    picture in parts calls such frames key frames.
    """
    av = _av()
    start, is_first = self._packets[key].pts, True
    for packet in self._packets_from(key):
      # A stream that was opened again has another decoder.
      context = self._stream.codec_context
      try:
        frames = context.decode(packet if packet.size else None)
      except av.FFmpegError:
        if packet.size and packet.pts < start:
          continue
        raise
      for frame in frames:
        if frame.pts is None or frame.pts < start:
          continue
        if frame.is_corrupt:
          raise containers.broken(self._data, "a frame is damaged")
        if key and is_first and frame.pict_type != av.video.frame.PictureType.I:
          return
        is_first = False
        yield frame

  def _packets_from(self, key: int) -> Iterable[Any]:
    """Yield the packets from one on, and a last one that is empty."""
    wanted = self._packets[key]
    offset = wanted.pts if wanted.dts is None else wanted.dts
    self._container.seek(offset, stream=self._stream)
    packets = self._container.demux(self._stream)
    first = next(packets)
    if self._numbers.get((first.pts, first.dts), key + 1) > key:
      # A container without an index may be read from its start alone.
      self._container, self._stream = self._opened()
      packets = self._container.demux(self._stream)
      first = next(packets)
    is_found = False
    for packet in itertools.chain((first,), packets):
      is_found |= (packet.pts, packet.dts) == (wanted.pts, wanted.dts)
      if is_found:
        yield packet

  def _pixels(self, frame: Any) -> np.ndarray:
    self._check_frame(frame)
    return frame.to_ndarray(
      format="rgb24", src_color_range=frame.color_range, threads=1
    )

  def _check_frame(self, frame: Any) -> None:
    """Raise faults.ExampleError for a frame of another size."""
    if (frame.height, frame.width) != (self.height, self.width):
      raise containers.broken(
        self._data,
        f"its frames change their size: the header states {self.width} x"
        f" {self.height} pixels; got {frame.width} x {frame.height} at"
        f" {self._seconds(frame.pts)}",
      )

  def _no_frame(self, pts: int) -> faults.ExampleError:
    reason = f"it has no frame at {self._seconds(pts)}"
    return containers.broken(self._data, reason)

  def _seconds(self, pts: int) -> str:
    seconds = (pts - self._shown[0]) * self._stream.time_base
    return f"{float(seconds):.3f} s"


def _one_line(error: Exception) -> str:
  """Return FFmpeg's reason, without the number that it has on this system."""
  reason = getattr(error, "strerror", None) or str(error)
  text = " ".join(str(reason).split())
  return text[:_MAX_REASON] or type(error).__name__


def _av() -> Any:
  try:
    import av  # pyrefly: ignore[missing-import]
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      "data.video needs the package av (PyAV): "
      "pip install -r requirements-video.txt",
      name="av",
    ) from error
  return av
