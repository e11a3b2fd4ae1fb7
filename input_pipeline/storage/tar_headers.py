"""Members of a tar, located by its headers alone: POSIX ustar, pax, GNU, V7.

No member is extracted, and values of a header are used only as positions in the
file. Positions are relative to the member before, so that an archive may begin
at any byte. Folders and devices are skipped; links keep their names.
"""

import io
import tarfile
import zlib
from collections.abc import Callable
from typing import NamedTuple

BLOCK = 512
# Most bytes of a name with its pax attributes; larger ones are hostile. A name
# is at most 4,096 bytes on Linux (PATH_MAX).
_MAX_EXTENSION_BYTES = 1 << 20
# Digits of _MAX_EXTENSION_BYTES.
_MAX_DIGITS = 7

_FILES = frozenset(b"0\x007S")
_LINKS = {ord("1"): "hard link", ord("2"): "symbolic link"}
# Types without content (links, devices, folders and pipes), for any stated
# size.
_EMPTY = frozenset(b"123456")
# Types of headers that extend the next one: names of GNU, and POSIX's pax.
_EXTENSIONS = frozenset(b"LKgxX")

# Most bytes of a sparse file with its holes, which are free to write.
_MAX_SPARSE_BYTES = 1 << 28

# Errors of tarfile for a broken map.
_BROKEN = (ArithmeticError, LookupError, TypeError, ValueError)

Read = Callable[[int, int], bytes]


class HeaderError(ValueError):
  """Error for bytes that are no header: a broken tar, or no tar at all."""


class CutError(HeaderError):
  """Error for a tar that ends within a header."""


class SparseError(ValueError):
  """Error for a sparse file that is broken or too large."""


class Member(NamedTuple):
  """One member of a tar; positions are in bytes.

  Attributes:
    name: name as stored; b"" for a member that is no regular file or link.
    start: position of its first header, including those that extend its name.
    data: position of its content.
    stop: position of the end of its content.
    link: kind of link; "" for a file.
    is_sparse: whether its content lacks holes; `unfolded` returns the file.
  """

  name: bytes
  start: int
  data: int
  stop: int
  link: str = ""
  is_sparse: bool = False

  @property
  def next(self) -> int:
    """Return the position of the next header: contents fill whole blocks."""
    return self.data + _filled(self.stop - self.data)


def next_member(read: Read, position: int) -> Member | None:
  """Return the member at `position`, None at the end of the tar.

  `read(start, size)` returns fewer bytes at the end of the file. Raises
  HeaderError.
  """
  start = position
  long_name = b""
  pax: dict[bytes, bytes] = {}
  while True:
    header = read(position, BLOCK)
    if len(header) < BLOCK:
      if any(header) or position > start:
        raise CutError(f"the tar ends within the header at byte {position}")
      return None
    if not header[0] and not any(header):
      if position > start:
        raise HeaderError(f"no header at byte {position}, after a name")
      return None
    _check(header, position)
    kind = header[156]
    data = position + BLOCK
    if kind not in _EXTENSIONS:
      break
    stop = data + _size(header)
    if stop - data > _MAX_EXTENSION_BYTES:
      raise HeaderError(f"a name of {stop - data} bytes at byte {position}")
    content = read(data, stop - data)
    if len(content) < stop - data:
      raise CutError(f"the tar ends within the name at byte {position}")
    if kind == ord("L"):
      long_name = content.partition(b"\0")[0]
    elif kind == ord("g"):
      if {b"path", b"size"} & set(_pax_fields(content, position)):
        raise HeaderError(f"one name for all members at byte {position}")
    elif kind != ord("K"):
      pax = _pax_fields(content, position)
    position = data + _filled(stop - data)
  size, name = _size(header), long_name or _name(header)
  if pax:
    size, name = _pax_size(pax, size), pax.get(b"path") or name
    name = pax.get(b"GNU.sparse.name") or name
  is_sparse = any(key.startswith(b"GNU.sparse") for key in pax)
  if kind == ord("S"):
    is_sparse = True
    data = _sparse_data(read, data, header)
  if kind in _EMPTY:
    size = 0
  if (kind not in _FILES and kind not in _LINKS) or name.endswith(b"/"):
    name = b""
  link = _LINKS.get(kind, "")
  return Member(name, start, data, data + size, link, is_sparse)


def unfolded(data: bytes) -> bytes:
  """Return a sparse file with zeros for its holes; raises SparseError.

  Args:
    data: bytes of the member with its headers.
  """
  try:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
      info = tar.next()
      size = info.size if info else 0
      is_small = size <= _MAX_SPARSE_BYTES
      file = tar.extractfile(info) if info and is_small else None
      content = file.read() if file else None
  except (tarfile.TarError, OSError, *_BROKEN) as error:
    raise SparseError(f"a broken sparse file: {error}") from error
  if content is None:
    raise SparseError(f"a sparse file of {size} bytes")
  return content


def split_name(name: bytes) -> tuple[bytes, str] | None:
  """Return a member's key and its lower-case extension.

  As in webdataset, the key is the path up to the first dot of the file name,
  and the extension the rest. Members of no example give None: those without an
  extension, hidden ones, and those below a folder such as __meta__ or __MACOSX.
  A leading "./" is left out.
  """
  name = name.removeprefix(b"./")
  folder, slash, file = name.rpartition(b"/")
  stem, dot, extension = file.partition(b".")
  if not stem or not dot:
    return None
  if b"__" in folder:
    folders = folder.split(b"/")
    top = folders[0]
    if len(top) > 3 and top.startswith(b"__") and top.endswith(b"__"):
      return None
    if b"__MACOSX" in folders:
      return None
  return folder + slash + stem, extension.decode("latin-1").lower()


def _filled(size: int) -> int:
  """Return a number of bytes rounded up to whole blocks."""
  return -(-size // BLOCK) * BLOCK


def _sparse_data(read: Read, position: int, header: bytes) -> int:
  """Return the position of the data behind a GNU sparse file's maps."""
  goes_on = header[482]
  while goes_on:
    block = read(position, BLOCK)
    if len(block) < BLOCK:
      raise CutError(f"the tar ends within the map at byte {position}")
    position += BLOCK
    goes_on = block[504]
  return position


def _check(header: bytes, position: int) -> None:
  """Raise HeaderError for a header with a wrong checksum."""
  try:
    stated = _number(header[148:156])
  except ValueError:
    stated = -1
  # The checksum is the sum of all bytes, its own eight bytes as spaces. The
  # lower half of Adler-32 is 1 plus the sum of all bytes, modulo 65,521.
  total = zlib.adler32(header[156:], zlib.adler32(header[:148])) & 0xFFFF
  if (total - 1 + 8 * ord(" ") - stated) % 65521:
    # Some old programs summed signed bytes.
    negative = sum(byte > 127 for byte in header[:148] + header[156:])
    if (total - 1 + 8 * ord(" ") - 256 * negative - stated) % 65521:
      raise HeaderError(f"no header at byte {position}")


def _size(header: bytes) -> int:
  try:
    size = _number(header[124:136])
  except ValueError as error:
    raise HeaderError(f"a header without a size: {error}") from error
  if size < 0:
    raise HeaderError(f"a size of {size} bytes")
  return size


def _pax_size(pax: dict[bytes, bytes], size: int) -> int:
  """Return the size in a pax header, `size` if it has none."""
  stated = pax.get(b"size", b"%d" % size)
  if not stated.isdigit() or len(stated) > 20:
    raise HeaderError(f"a size of {stated!r} bytes")
  return int(stated)


def _number(field: bytes) -> int:
  """Return an octal number, or one in GNU's binary form for large numbers."""
  if field[0] == 0x80:
    return int.from_bytes(field[1:], "big")
  return int(field.partition(b"\0")[0] or b"0", 8)


def _name(header: bytes) -> bytes:
  name = header[:100].partition(b"\0")[0]
  # GNU's own format ("ustar  ") has times in place of POSIX's prefix of the
  # name.
  if header[257:263] == b"ustar\0" and header[345]:
    return header[345:500].partition(b"\0")[0] + b"/" + name
  return name


def _pax_fields(content: bytes, position: int) -> dict[bytes, bytes]:
  """Return the fields of a pax header: "LENGTH KEY=VALUE\\n" each."""
  fields = {}
  # A position, since cutting off the front takes time quadratic in the number
  # of records, a minute for a megabyte of short ones.
  start, end = 0, len(content.rstrip(b"\0"))
  while start < end:
    space = content.find(b" ", start, start + _MAX_DIGITS + 1)
    digits = content[start : max(space, start)]
    stop = start + int(digits) if digits.isdigit() else 0
    if not space + 2 < stop <= len(content):
      raise HeaderError(f"a broken pax header at byte {position}")
    key, _, value = content[space + 1 : stop - 1].partition(b"=")
    fields[key] = value
    start = stop
  return fields
