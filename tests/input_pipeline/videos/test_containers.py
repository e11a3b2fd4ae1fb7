"""Whole files, and those that are cut or are something else."""

import pytest

from input_pipeline import faults
from input_pipeline.videos import containers
from tests.input_pipeline.videos import made

_CODECS = {"mp4": "libx264", "matroska": "libx264", "gif": "gif"}


def _video(format: str) -> bytes:
  fps = 10 if format == "gif" else 30
  return made.video(6, format=format, codec=_CODECS[format], fps=fps, gop=3)


@pytest.mark.parametrize("format", _CODECS)
def test_a_file_that_is_cut_anywhere_is_a_fault(format):
  data = _video(format)
  assert containers.format_of(data) == format
  containers.check_whole(data, format)
  for stop in range(64, len(data)):
    with pytest.raises(faults.ExampleError) as caught:
      containers.check_whole(data[:stop], format)
    assert caught.value.kind == "video_broken"


def test_bytes_behind_the_last_box_are_left_out():
  data = _video("mp4")
  containers.check_whole(data + bytes(20), "mp4")
  containers.check_whole(data + b"\xff" * 20, "mp4")


def test_an_mp4_without_its_index_is_named():
  data = _video("mp4")
  with pytest.raises(faults.ExampleError, match="it has no box moov"):
    containers.check_whole(data[: data.index(b"moov") - 4], "mp4")


def test_damaged_elements_are_a_fault():
  data = bytearray(_video("matroska"))
  cluster = data.index(b"\x1f\x43\xb6\x75")
  data[cluster] ^= 0xFF
  with pytest.raises(faults.ExampleError, match=r"damaged at byte \d+"):
    containers.check_whole(bytes(data), "matroska")


def test_a_live_recording_has_no_size():
  """A segment whose size is not known is taken as it is."""
  data = _video("matroska")
  segment = data.index(b"\x18\x53\x80\x67") + 4
  live = data[:segment] + b"\x01" + b"\xff" * 7 + data[segment + 8 :]
  containers.check_whole(live, "matroska")
  containers.check_whole(live[:-40], "matroska")


@pytest.mark.parametrize(
  ("data", "reason"),
  [
    (b"", "it is an empty file"),
    (b"#EXTM3U\nfile:///etc/passwd\n", "it begins with 23 45 58 54"),
    (b"<!doctype html><title>404</title>", "it is an HTML page"),
    (b"\xff\xd8\xff\xe0 JFIF", "it is a JPEG image"),
    (b"\0\0\0\x18ftypavif\0\0\0\0avifmif1", "it is an AVIF image"),
    (b"OggS", "it is an Ogg sound or video"),
  ],
)
def test_other_files_are_named(data, reason):
  with pytest.raises(faults.ExampleError) as caught:
    containers.format_of(data)
  assert caught.value.kind == "video_broken"
  assert reason in str(caught.value)
  assert "expected MP4, QuickTime, Matroska, WebM or GIF" in str(caught.value)
