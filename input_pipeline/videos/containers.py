"""Containers of videos, by their first bytes; faults of all other bytes.

MP4 (with QuickTime and 3GP), Matroska, WebM and GIF are read. The format is
never guessed from the content by FFmpeg, which has formats that open other
files (playlists). A file is whole where its boxes (ISO/IEC 14496-12) or
elements (RFC 9559) end within it; FFmpeg itself reads what is there.
"""

from collections.abc import Iterator

from input_pipeline import faults
from input_pipeline.storage import file_kinds

MP4, MATROSKA, GIF = "mp4", "matroska", "gif"
_READ = "MP4, QuickTime, Matroska, WebM or GIF"
# First box of a file without "ftyp", as old QuickTime files have it.
_FIRST_BOXES = (b"moov", b"mdat", b"wide", b"free", b"skip")
# Boxes that samples cannot be read without.
_BOXES = (b"moov", b"moof", b"mdat")
# Identifiers of RFC 9559: those of a segment's and of a cluster's elements.
_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_PADDING = {0xEC, 0xBF}  # Void, CRC-32
_IN_SEGMENT = _PADDING | {
  *(0x114D9B74, 0x1549A966, 0x1654AE6B, _CLUSTER, 0x1C53BB6B),
  *(0x1941A469, 0x1043A770, 0x1254C367),
}
_IN_CLUSTER = _PADDING | {0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0xAF, 0x5854}
_UNKNOWN_SIZE = -1


def format_of(data: bytes) -> str:
  """Return FFmpeg's name of a file's format: MP4, MATROSKA or GIF.

  Raises:
    faults.ExampleError: "video_broken" for any other file.
  """
  kind = file_kinds.describe(data[: file_kinds.NUM_BYTES])
  if kind == "a GIF image":
    return GIF
  if kind == "a WebM or Matroska video":
    return MATROSKA
  if kind in ("an MP4 video", "a QuickTime video"):
    return MP4
  if not kind and data[4:8] in _FIRST_BOXES:
    return MP4
  found = f"it is {kind}" if kind else f"it begins with {data[:8].hex(' ')}"
  raise broken(data, f"{found}; expected {_READ}")


def check_whole(data: bytes, format: str) -> None:
  """Raise faults.ExampleError for a file that ends before its content does.

  Args:
    data: file.
    format: what `format_of` returns.
  """
  if format == MP4:
    _check_boxes(data)
  elif format == MATROSKA:
    _check_elements(data)
  else:
    _check_blocks(data)


def broken(data: bytes, reason: str) -> faults.ExampleError:
  """Return the fault of a file that cannot be decoded."""
  message = f"cannot decode video of {len(data)} bytes: {reason}"
  return faults.ExampleError("video_broken", message)


def _check_boxes(data: bytes) -> None:
  position, has_index = 0, False
  while position + 8 <= len(data):
    size = int.from_bytes(data[position : position + 4])
    name = data[position + 4 : position + 8]
    if size == 1:  # 64 bits follow
      size = int.from_bytes(data[position + 8 : position + 16])
    elif size == 0:  # up to the end
      size = len(data) - position
    if name in _BOXES and position + size > len(data):
      raise broken(
        data,
        f"it ends within its box {name.decode()}, of {size} bytes from byte"
        f" {position}",
      )
    has_index |= name == b"moov"
    if size < 8:  # bytes behind the last box
      break
    position += size
  if not has_index:
    raise broken(
      data, "it has no box moov: it is cut short, or was never finished"
    )


def _check_elements(data: bytes) -> None:
  for id, start, stop in _elements(data, 0, len(data)):
    if id == _SEGMENT and stop != _UNKNOWN_SIZE:
      for inner, first, last in _elements(data, start, stop, _IN_SEGMENT):
        if last == _UNKNOWN_SIZE:  # of a live recording
          return
        if inner == _CLUSTER:
          for _ in _elements(data, first, last, _IN_CLUSTER):
            pass
    if id != _EBML:
      return
  raise broken(data, "it ends before its segment")


def _check_blocks(data: bytes) -> None:
  """Check the blocks of a GIF (GIF89a, appendix A)."""
  position = 13 + _colours(data, 10)
  while data[position : position + 1] != b";":
    kind = data[position : position + 1]
    if kind == b",":  # an image: its place, its colours, the size of its codes
      position += 11 + _colours(data, position + 9)
    elif kind == b"!":  # an extension, and its label
      position += 2
    elif kind:
      raise broken(data, f"its blocks are damaged at byte {position}")
    while size := data[position : position + 1]:
      position += 1 + size[0]
      if not size[0]:
        break
    if position >= len(data):
      raise broken(data, "it ends before the trailer of a GIF")


def _colours(data: bytes, position: int) -> int:
  """Return the bytes of the table of colours that a field announces."""
  field = data[position : position + 1]
  return 3 << (field[0] & 7) + 1 if field and field[0] & 0x80 else 0


def _elements(
  data: bytes, start: int, stop: int, known: set[int] | None = None
) -> Iterator[tuple[int, int, int]]:
  """Yield identifier, start and stop of the content of each element.

  The stop of a size that is not known is _UNKNOWN_SIZE; no element is yielded
  after it.

  Raises:
    faults.ExampleError: an element is not among `known`, or ends behind `stop`.
  """
  position = start
  while position < stop:
    id, first = _number(data, position, is_id=True)
    size, first = _number(data, first, is_id=False)
    if known is not None and id not in known:
      raise broken(data, f"its elements are damaged at byte {position}")
    if size == _UNKNOWN_SIZE:
      yield id, first, _UNKNOWN_SIZE
      return
    if first + size > stop:
      raise broken(
        data,
        f"it ends within an element of {size} bytes from byte {first}",
      )
    yield id, first, first + size
    position = first + size


def _number(data: bytes, start: int, *, is_id: bool) -> tuple[int, int]:
  """Return a number of RFC 8794, section 4, and its end."""
  first = data[start] if start < len(data) else 0
  length = 9 - first.bit_length()
  field = data[start : start + length]
  if not first or len(field) < length:
    raise broken(data, f"its elements end or are damaged at byte {start}")
  value = int.from_bytes(field)
  if not is_id:
    value ^= 1 << 7 * length
    if value == (1 << 7 * length) - 1:
      value = _UNKNOWN_SIZE
  return value, start + length
