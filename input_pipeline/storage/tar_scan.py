"""Scan of a tar for its examples, by headers, without reading images.

Members of one key are one example, wherever they are in the tar. Tars that were
joined by cat are read one after the other; the same key in two of them names
two examples.
"""

import json
from typing import Any, NamedTuple

import numpy as np

from input_pipeline.storage import file_kinds, files, tar_headers
from input_pipeline.storage import uids as uids_lib
from runtime.storage import remote

# Span of one example's first consecutive members; 28 bytes.
SPAN = np.dtype([("start", "<u8"), ("length", "<u4"), ("uid", uids_lib.UID)])
# Span of further members of an example, by its index; 20 bytes.
PIECE = np.dtype([("example", "<u8"), ("start", "<u8"), ("length", "<u4")])
# Length of the only span of a file that is no tar.
NO_TAR = 0
# Length of a span of 4 GiB or more, which is never read.
MAX_LENGTH = 2**32 - 1

# Bytes of one local read: most captions and JSON files fit in with their
# headers and the next image's header, so that an example takes one read.
_LOCAL_WINDOW = 8 << 10
# Bytes of one remote read: a request takes as long as a few megabytes of data,
# so images are read too. Larger ones are skipped, and so is what follows the
# first header, whose image may be large.
_REMOTE_WINDOW = 8 << 20
_SKIPPED = 1 << 20
_REMOTE_HEADERS = 64 << 10
# Most bytes read at once behind the end mark, where only zeros are expected.
_MAX_PADDING_READ = 8 << 20

# Number of files that a warning about a tar without examples names.
_NUM_NAMED = 3

# Kind of a file that is no tar -> way out.
_PACKED = (
  ", in which nothing can be found without unpacking all before it: {} it "
  "first (images do not get smaller)"
)
_ADVICE = {
  "gzip data": _PACKED.format("gunzip"),
  "bzip2 data": _PACKED.format("bunzip2"),
  "xz data": _PACKED.format("unxz"),
  "zstd data": _PACKED.format("unzstd"),
  "lz4 data": _PACKED.format("unlz4"),
  "lzip data": _PACKED.format("lzip -d"),
  "data compressed by compress": _PACKED.format("uncompress"),
  "a zip file": ": unpack it, and write a tar with `tar --sort=name`",
  "a Parquet file": ": format=parquet reads it",
  "an ArrayRecord (Riegeli) file": ": format=array_record reads it",
}


class Scan(NamedTuple):
  """Examples of a tar.

  Attributes:
    spans: SPAN [N].
    pieces: PIECE [M], ascending by example.
    warnings: what is odd about the tar.
  """

  spans: np.ndarray
  pieces: np.ndarray
  warnings: list[str]


def scan(tar: files.File, uid_field: str) -> Scan:
  """Return the examples of a tar.

  An example that is cut off has a span too, and so have the bytes after a
  broken header and a file that is no tar, so that reading them counts as a
  fault. Raises ValueError where no example has `uid_field`, and
  faults.ExampleError.
  """
  window = Window(tar)
  examples = _Examples(window, uid_field)
  warnings: list[str] = []
  joins: list[int] = []
  position = 0
  wrong = why_no_tar(tar, window)
  if wrong:
    spans = np.array([(0, NO_TAR, (0, 0))], SPAN)
    return Scan(spans, np.zeros(0, PIECE), [wrong])
  while position < tar.size:
    try:
      member = tar_headers.next_member(window, position)
    except tar_headers.HeaderError as error:
      examples.close()
      examples.add(position, position + tar_headers.BLOCK, (0, 0))
      warnings.append(
        f"{tar.path}: {error}; bytes {position} to {tar.size} are not used"
      )
      break
    if member is None:
      start = _after_zeros(window, position)
      if start is None:
        break
      garbage = _garbage(tar, window, start)
      if garbage:
        warnings.append(garbage)
        break
      joins.append(start)
      examples.begin_tar()
      position = start
      continue
    position = member.next
    examples.member(member)
    if member.stop > tar.size:
      warnings.append(
        f"{tar.path} is cut short: it ends at byte {tar.size}, within "
        f"{text_of(member.name)!r} of bytes {member.data} to {member.stop}"
      )
      break
    if position >= tar.size:
      warnings.append(
        f"{tar.path} has no end mark at byte {tar.size}: is it cut short?"
      )
  examples.close()
  warnings += examples.warnings(tar.path, joins)
  spans = np.array(examples.spans, SPAN)
  pieces = np.array(examples.pieces, PIECE)
  pieces = pieces[np.argsort(pieces["example"], kind="stable")]
  has_uid = any(name != (0, 0) for _, _, name in examples.spans)
  if uid_field and len(spans) and not has_uid:
    raise ValueError(f"no example of {tar.path} has {uid_field!r} in its JSON")
  return Scan(spans, pieces, warnings)


def why_no_tar(tar: files.File, read: tar_headers.Read) -> str:
  """Return why a file is not even the beginning of a tar, "" if it is.

  Raises faults.ExampleError.
  """
  try:
    tar_headers.next_member(read, 0)
    if tar.size:
      return ""
    error: tar_headers.HeaderError | None = None
  except tar_headers.HeaderError as broken:
    error = broken
  start = read(0, file_kinds.NUM_BYTES)
  kind = file_kinds.describe(start)
  if kind == "a tar":
    return f"{tar.path} is a broken tar: {error}"
  if kind:
    return f"{tar.path} is no tar but {kind}{_ADVICE.get(kind, '')}"
  if isinstance(error, tar_headers.CutError) and b"\0" in start:
    return ""
  return f"{tar.path} is no tar: it begins with {start[:16]!r}"


def uid(key: str, field: str, data: bytes | None) -> tuple[int, int]:
  """Return the UID of an example, (0, 0) if its JSON `data` has none."""
  if not field:
    return uids_lib.uid(key)
  try:
    fields = json.loads(data or b"", object_pairs_hook=_unambiguous)
    value = field_of(fields, field)
    if isinstance(value, float):
      value = uids_lib.number(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
      return 0, 0
    return uids_lib.uid(str(value))
  except (ValueError, RecursionError):
    return 0, 0


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """Return an object of JSON without fields of two different values."""
  values = dict(pairs)
  if len(values) < len(pairs):
    for name, value in pairs:
      if repr(value) != repr(values[name]):
        values[name] = None
  return values


def field_of(fields: Any, field: str) -> Any:
  """Return a field of JSON, or by dots one of an object in it; None for none.

  >>> field_of({"a": {"b": 1}}, "a.b")
  1
  """
  if not isinstance(fields, dict):
    return None
  if field in fields:
    return fields[field]
  outer, dot, inner = field.partition(".")
  return field_of(fields.get(outer), inner) if dot else None


def text_of(name: bytes) -> str:
  """Return a name as text; bytes that are no UTF-8 are escaped."""
  return name.decode("utf-8", "backslashreplace")


class Window:
  """Reader of a file, most of whose reads lie in the piece read before."""

  def __init__(self, tar: files.File):
    self._tar = tar
    self._is_remote = remote.is_remote(tar.path)
    self._start = 0
    self._data = b""
    # End of the last bytes asked for; None before the first.
    self._last: int | None = None

  def _length(self, start: int) -> int:
    """Return the bytes of a read that begins behind those read before."""
    if not self._is_remote:
      return _LOCAL_WINDOW
    is_far = self._last is None or start - self._last >= _SKIPPED
    return _REMOTE_HEADERS if is_far else _REMOTE_WINDOW

  def __call__(self, start: int, size: int) -> bytes:
    stop = min(start + size, self._tar.size)
    length, self._last = self._length(start), stop
    if not self._start <= start <= stop <= self._start + len(self._data):
      end = min(max(stop, start + length), self._tar.size)
      self._data = b""
      if start < end:
        self._data = files.read_range(self._tar.path, start, end)
      self._start = start
    return self._data[start - self._start : stop - self._start]


class _Examples:
  """Examples collected so far, each from the members of one key."""

  def __init__(self, window: Window, uid_field: str):
    self.spans: list[tuple[int, int, tuple[int, int]]] = []
    self.pieces: list[tuple[int, int, int]] = []
    self._window = window
    self._uid_field = uid_field
    # Index of the example of each key; of the present one of joined tars.
    self._indices: dict[bytes, int] = {}
    self._keys_before: set[bytes] = set()
    self._apart: set[int] = set()
    self._again: list[bytes] = []
    self._without_key: list[bytes] = []
    self._key: bytes | None = None
    self._start = self._stop = 0
    self._json: bytes | None = None

  def begin_tar(self) -> None:
    """Begin another of several joined tars: its keys are its own."""
    self.close()
    self._keys_before.update(self._indices)
    self._indices = {}

  def member(self, member: tar_headers.Member) -> None:
    """Add a member to its example; a member without a key is skipped."""
    name_parts = tar_headers.split_name(member.name)
    if name_parts is None:
      if member.name:
        self._without_key.append(member.name)
        del self._without_key[_NUM_NAMED:]
      return
    key, extension = name_parts
    if key != self._key:
      self.close()
      self._key, self._start, self._json = key, member.start, None
    self._stop = member.stop
    is_json = extension == "json" and not member.link
    if self._uid_field and is_json and self._json is None:
      self._json = self._window(member.data, member.stop - member.data)

  def close(self) -> None:
    """End the present consecutive members of a key."""
    key = self._key
    if key is None:
      return
    self._key = None
    index = self._indices.get(key)
    if index is None:
      if key in self._keys_before:
        self._again.append(key)
      self._indices[key] = len(self.spans)
      name = uid(text_of(key), self._uid_field, self._json)
      self.add(self._start, self._stop, name)
      return
    self._apart.add(index)
    length = min(self._stop - self._start, MAX_LENGTH)
    self.pieces.append((index, self._start, length))
    start, first, name = self.spans[index]
    if name == (0, 0):
      name = uid(text_of(key), self._uid_field, self._json)
      self.spans[index] = start, first, name

  def add(self, start: int, stop: int, name: tuple[int, int]) -> None:
    """Add the span of an example."""
    self.spans.append((start, min(stop - start, MAX_LENGTH), name))

  def warnings(self, path: str, joins: list[int]) -> list[str]:
    """Return what is odd about the tar at `path`.

    Args:
      path: path of the tar.
      joins: positions at which a further tar begins.
    """
    lines = []
    if joins:
      lines.append(
        f"{path} is {len(joins) + 1} tars joined, such as by cat: all are "
        f"read; the second begins at byte {joins[0]}"
      )
    if self._again:
      lines.append(
        f"{path}: keys that are in several of its joined tars: "
        f"{len(self._again)}, {text_of(self._again[0])!r} the first; their "
        "members are not put together"
      )
    if self._apart:
      lines.append(
        f"{path}: examples whose members do not follow each other, so that "
        f"each takes several reads: {len(self._apart)}; `tar --sort=name` "
        "writes them together"
      )
    if not self.spans:
      names = ", ".join(map(text_of, self._without_key)) or "no file"
      lines.append(
        f"{path} has no example, named such as KEY.jpg; it has {names}"
      )
    return lines


def _after_zeros(window: Window, position: int) -> int | None:
  """Return the position of the first byte that is not zero, None for none."""
  size = _LOCAL_WINDOW
  while data := window(position, size):
    rest = data.lstrip(b"\0")
    if rest:
      return position + len(data) - len(rest)
    position += len(data)
    size = min(2 * size, _MAX_PADDING_READ)
  return None


def _garbage(tar: files.File, window: Window, position: int) -> str:
  """Return a warning about bytes behind the end mark; "" if a tar follows."""
  try:
    tar_headers.next_member(window, position)
  except tar_headers.HeaderError:
    start = window(position, file_kinds.NUM_BYTES)
    kind = file_kinds.describe(start)
    what = f"are {kind}" if kind else f"begin with {start[:16]!r}"
    return (
      f"{tar.path}: bytes {position} to {tar.size}, behind the end of the tar, "
      f"are not used: they {what}"
    )
  return ""
