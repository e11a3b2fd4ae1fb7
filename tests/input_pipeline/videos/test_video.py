"""Frames by their times: those of the file's start, to the bit, or a fault."""

import fractions
import io
import re

import av
import numpy as np
import pytest

from input_pipeline import faults
from input_pipeline.videos import video
from tests.input_pipeline.videos import made

_SECOND = fractions.Fraction(1)
# Frames with and without later references, key frames that are no start of
# decoding (x265's open groups, x264's refresh in parts), and no index (GIF).
_KINDS = {
  "mp4": {},
  "matroska": {"format": "matroska"},
  "open": {
    "format": "matroska",
    "options": {"preset": "veryfast", "x264-params": "open-gop=1:bframes=3"},
  },
  "refresh": {
    "options": {"preset": "veryfast", "x264-params": "intra-refresh=1"}
  },
  "mpeg4": {"codec": "mpeg4"},
  "webm": {"format": "webm", "codec": "libvpx"},
  "vp9": {
    "format": "webm",
    "codec": "libvpx-vp9",
    "options": {"deadline": "realtime", "cpu-used": "8"},
  },
  "gif": {"format": "gif", "codec": "gif", "fps": 10},
}


def _from_start(data: bytes) -> list[np.ndarray]:
  """Return all frames, as PyAV decodes a file from its start."""
  with av.open(io.BytesIO(data)) as container:
    container.streams.video[0].codec_context.thread_count = 1
    return [
      frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)
    ]


@pytest.mark.parametrize("kind", _KINDS)
def test_a_frame_is_that_of_decoding_from_the_start(kind):
  data = made.video(36, **_KINDS[kind])
  expected = _from_start(data)
  assert [made.number(pixels) for pixels in expected] == list(range(36))
  rate = _KINDS[kind].get("fps", 30)
  with video.opened(data) as one:
    assert (one.num_frames, one.height, one.width) == (36, 32, 64)
    assert one.duration == fractions.Fraction(36, rate)
    # Backwards, each by itself: every frame needs a seek.
    for number in (35, 24, 23, 13, 12, 11, 1, 0):
      ((position, pixels),) = one.frames([fractions.Fraction(number, rate)])
      assert position == 0
      np.testing.assert_array_equal(pixels, expected[number])


def test_frames_come_in_the_order_of_the_video():
  times = [fractions.Fraction(number, 30) for number in (30, 2, 30, 14)]
  with video.opened(made.video(36)) as one:
    got = [(at, made.number(pixels)) for at, pixels in one.frames(times)]
  assert got == [(1, 2), (3, 14), (0, 30), (2, 30)]


def test_no_more_is_decoded_than_from_the_key_frame_before(monkeypatch):
  with video.opened(made.video(48, gop=12)) as one:
    decoded = []
    frames_from = one._frames_from
    monkeypatch.setattr(
      one,
      "_frames_from",
      lambda key: (decoded.append(f.pts) or f for f in frames_from(key)),
    )
    list(one.frames([fractions.Fraction(26, 30)]))
  # 24 is a key frame; each frame is 512 units.
  assert [pts // 512 for pts in decoded] == [24, 25, 26]


@pytest.mark.parametrize("format", ["mp4", "matroska"])
def test_a_variable_rate_shows_what_a_player_shows(format):
  milliseconds = [0, 100, 150, 1000, 1001, 3000, 3500]
  data = made.video(7, format=format, milliseconds=milliseconds)
  with video.opened(data) as one:
    at = {
      time: one.number_at(fractions.Fraction(time, 1000))
      for time in (-5, 0, 99, 100, 149, 150, 999, 1000, 1001, 2999, 3400, 9000)
    }
    times = [fractions.Fraction(time, 1000) for time in at]
    frames = dict(one.frames(times))
  assert [*at.values()] == [0, 0, 0, 1, 1, 2, 2, 3, 4, 4, 5, 6]
  assert [made.number(frames[i]) for i in range(len(at))] == [*at.values()]


@pytest.mark.parametrize("format", ["mp4", "matroska"])
def test_times_are_rounded_to_the_unit_of_the_file(format):
  """Frame i is shown at i / 30 s, though Matroska's unit is a millisecond."""
  with video.opened(made.video(31, format=format)) as one:
    for number in range(31):
      assert one.number_at(fractions.Fraction(number, 30)) == number
      before = fractions.Fraction(number, 30) - fractions.Fraction(1, 500)
      assert one.number_at(before) == max(number - 1, 0)


def _of_size(width: int, height: int) -> bytes:
  """Return a GIF whose header states a size."""
  data = made.video(2, format="gif", codec="gif")
  size = width.to_bytes(2, "little") + height.to_bytes(2, "little")
  return data[:6] + size + data[10:]


def _fault(data: bytes) -> faults.ExampleError:
  with pytest.raises(faults.ExampleError) as caught, video.opened(data) as one:
    one.check_all()
  return caught.value


@pytest.mark.parametrize(
  ("data", "kind", "message"),
  [
    (lambda: made.video(1), "video_too_short", "at least 2 frames; got 1 in"),
    (made.sound, "video_missing", "FFmpeg decodes; got audio in"),
    (
      lambda: _of_size(7680, 4320),
      "video_too_large",
      "video of 7680 x 4320 = 33177600 pixels; at most 16000000",
    ),
    (
      made.turning,
      "video_broken",
      "the header states 64 x 32 pixels; got 32 x 64 at 1.000 s",
    ),
    (
      lambda: _of_size(60_000, 40_000),
      "video_broken",
      "its header states no size, or one above 64000000 pixels",
    ),
    (lambda: made.video(6)[:-9], "video_broken", "it ends within its box moov"),
    (lambda: b"", "video_broken", "it is an empty file; expected MP4"),
  ],
  ids=["one frame", "sound", "8K", "turning", "huge", "cut", "empty"],
)
def test_faults_by_name(data, kind, message):
  fault = _fault(data())
  assert fault.kind == kind
  assert message in str(fault)


def test_frames_before_a_change_of_size_are_read():
  with video.opened(made.turning()) as one:
    ((_, pixels),) = one.frames([_SECOND / 2])
    assert made.number(pixels) == 5
    with pytest.raises(faults.ExampleError, match="change their size"):
      list(one.frames([_SECOND * 3 / 2]))


def test_damage_is_a_fault_where_it_is_decoded():
  data = bytearray(made.video(48, gop=12, options={"bf": "0"}))
  with av.open(io.BytesIO(data)) as container:
    starts = [packet.pos for packet in container.demux(video=0) if packet.size]
  # Most of the frames from 14 on, up to the next key frame.
  for position in range(starts[14] + 8, starts[24]):
    data[position] ^= 0xA5
  with video.opened(bytes(data)) as one:
    good = [fractions.Fraction(number, 30) for number in (3, 8, 24, 40)]
    got = {made.number(pixels) for _, pixels in one.frames(good)}
    assert got == {3, 8, 24, 40}
    with pytest.raises(faults.ExampleError) as caught:
      list(one.frames([fractions.Fraction(20, 30)]))
  assert caught.value.kind == "video_broken"
  # The same in every process, so that a resumed run repeats it.
  assert not re.search(r"0x[0-9a-f]{6}", str(caught.value))


def test_no_damage_is_another_exception():
  data = made.video(8, gop=4, format="matroska")
  rng = np.random.default_rng(0)
  kinds = set()
  for position in rng.integers(len(data), size=60):
    changed = bytearray(data)
    changed[position] ^= 8
    try:
      with video.opened(bytes(changed)) as one:
        one.check_all()
    except faults.ExampleError as error:
      kinds.add(error.kind)
  assert kinds >= {"video_broken"}
