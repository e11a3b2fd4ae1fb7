"""Scan of a tar for its examples, by headers, without reading images."""

import json
from typing import Any

import numpy as np

from input_pipeline.storage import files, remote, tar_headers
from input_pipeline.storage import uids as uids_lib

# Span of one example, consecutive members of one key; 28 bytes.
SPAN = np.dtype([("start", "<u8"), ("length", "<u4"), ("uid", uids_lib.UID)])
# Length in the span of an example of 4 GiB or more, which is never read.
MAX_LENGTH = 2**32 - 1

# Bytes of one local read: most captions and JSON files fit in with their
# headers and the next image's header, so that an example takes one read.
_LOCAL_WINDOW = 8 << 10
# Bytes of one remote read: a request takes as long as a few megabytes of data,
# so images are read too.
_REMOTE_WINDOW = 8 << 20
# Most zeros after the end mark: tar fills its last record, 10 KiB by default.
_MAX_FILLING = 1 << 20

# First bytes of a compressed tar -> program that unpacks it.
_PACKED = {
  b"\x1f\x8b": "gunzip",
  b"BZh": "bunzip2",
  b"\xfd7zXZ": "unxz",
  b"\x28\xb5\x2f\xfd": "unzstd",
}


def scan(tar: files.File, uid_field: str) -> tuple[np.ndarray, list[str]]:
  """Return SPAN [N] of a tar's examples, and warnings about the tar.

  An example that is cut off has a span too, and so have the bytes after a
  broken header, so that reading them counts as a fault. Raises ValueError for a
  file that is no tar, or has no example with `uid_field`; faults.ExampleError.
  """
  groups = _Groups(Window(tar), uid_field)
  warnings = []
  position = 0
  while True:
    try:
      member = tar_headers.next_member(groups.window, position)
    except tar_headers.HeaderError as error:
      if position == 0:
        _check_is_tar(tar, groups.window, error)
      groups.close()
      groups.add(position, position + tar_headers.BLOCK, (0, 0))
      left = (tar.size - position) / 1e6
      warnings.append(f"{tar.path}: {error}; {left:.1f} MB are not used")
      break
    except tar_headers.SparseError as error:
      raise ValueError(
        f"{tar.path}: {error}: write it again without --sparse"
      ) from error
    if member is None:
      if not tar.size:
        groups.add(0, tar_headers.BLOCK, (0, 0))
      warnings += _ending(tar, position, groups.window)
      break
    position = member.next
    groups.member(member)
    if member.stop > tar.size:
      warnings.append(f"{tar.path} is cut short: it ends within an example")
      break
  groups.close()
  spans = np.array(groups.spans, SPAN)
  if uid_field and len(spans) and not groups.num_with_uid:
    raise ValueError(f"no example of {tar.path} has {uid_field!r} in its JSON")
  return spans, warnings


def uid(key: str, field: str, data: bytes | None) -> tuple[int, int]:
  """Return the UID of an example, (0, 0) if its JSON `data` has none."""
  if not field:
    return uids_lib.uid(key)
  try:
    value: Any = json.loads(data or b"")[field]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
      value = int(value)  # 7.0 is 7; larger ones may be several numbers
    if not isinstance(value, str | int):
      return 0, 0
    return uids_lib.uid(str(value))
  except (ValueError, TypeError, KeyError, RecursionError):
    return 0, 0


def text_of(name: bytes) -> str:
  """Return a name as text; bytes that are no UTF-8 are escaped."""
  return name.decode("utf-8", "backslashreplace")


class Window:
  """Reader of a file, most of whose reads lie in the piece read before."""

  def __init__(self, tar: files.File):
    self._tar = tar
    is_remote = remote.is_remote(tar.path)
    self._length = _REMOTE_WINDOW if is_remote else _LOCAL_WINDOW
    self._start = 0
    self._data = b""

  def __call__(self, start: int, size: int) -> bytes:
    stop = min(start + size, self._tar.size)
    if not self._start <= start <= stop <= self._start + len(self._data):
      end = min(max(stop, start + self._length), self._tar.size)
      self._data = b""
      if start < end:
        self._data = files.read_range(self._tar.path, start, end)
      self._start = start
    return self._data[start - self._start : stop - self._start]


class _Groups:
  """Examples collected so far, from consecutive members of one key."""

  def __init__(self, window: Window, uid_field: str):
    self.window = window
    self.spans: list[tuple[int, int, tuple[int, int]]] = []
    self.num_with_uid = 0
    self._uid_field = uid_field
    self._key: bytes | None = None
    self._start = self._stop = 0
    self._json: bytes | None = None

  def member(self, member: tar_headers.Member) -> None:
    """Add a member to its example; a member without a key is skipped."""
    name_parts = tar_headers.split_name(member.name)
    if name_parts is None:
      return
    key, extension = name_parts
    if key != self._key:
      self.close()
      self._key, self._start, self._json = key, member.start, None
    self._stop = member.stop
    if self._uid_field and extension == "json" and self._json is None:
      self._json = self.window(member.data, member.stop - member.data)

  def close(self) -> None:
    """End the present example."""
    if self._key is None:
      return
    name = uid(text_of(self._key), self._uid_field, self._json)
    self.num_with_uid += name != (0, 0)
    self.add(self._start, self._stop, name)
    self._key = None

  def add(self, start: int, stop: int, name: tuple[int, int]) -> None:
    """Add the span of an example."""
    self.spans.append((start, min(stop - start, MAX_LENGTH), name))


def _check_is_tar(
  tar: files.File, window: Window, error: tar_headers.HeaderError
) -> None:
  """Raise ValueError for a file that is not even the beginning of a tar."""
  start = window(0, 8)
  for magic, program in _PACKED.items():
    if start.startswith(magic):
      raise ValueError(
        f"{tar.path} is a compressed tar, in which nothing can be found "
        f"without unpacking all before it: {program} it first (images do not "
        "get smaller)"
      ) from error
  if not isinstance(error, tar_headers.CutError):
    raise ValueError(
      f"{tar.path} is not a tar: it begins with {start!r}"
    ) from error


def _ending(tar: files.File, position: int, window: Window) -> list[str]:
  if not window(position, tar_headers.BLOCK):
    return [f"{tar.path} has no end mark: is it cut short?"]
  left = tar.size - position
  if left > _MAX_FILLING:
    return [
      f"{tar.path} goes on for {left / 1e6:.1f} MB after its end mark; that "
      "is not used. If tars were joined by cat, list them one by one"
    ]
  return []
