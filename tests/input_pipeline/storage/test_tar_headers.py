"""Members are those that Python's tarfile finds."""

import io
import tarfile

import hypothesis
import pytest
from hypothesis import strategies

from input_pipeline.storage import tar_headers
from tests.input_pipeline.sources import tars

FORMATS = {
  "ustar": tarfile.USTAR_FORMAT,
  "gnu": tarfile.GNU_FORMAT,
  "pax": tarfile.PAX_FORMAT,
}
# Names that fit in a header, that are split in two (POSIX), and that need a
# header of their own (GNU, pax).
NAMES = strategies.one_of(
  strategies.text("abcé0123.-_", min_size=1, max_size=20),
  strategies.integers(90, 160).map(lambda n: "d" * 60 + "/" + "x" * n),
  strategies.just("folder/" * 30 + "0.jpg"),
)
KINDS = strategies.sampled_from(
  [
    *(tarfile.REGTYPE, tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE),
    *(tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE),
  ]
)


def _reader(data: bytes) -> tar_headers.Read:
  return lambda start, size: data[start : start + size]


def _members(data: bytes) -> list[tar_headers.Member]:
  members, position = [], 0
  while member := tar_headers.next_member(_reader(data), position):
    members.append(member)
    position = member.next
  return members


@hypothesis.given(
  strategies.lists(
    strategies.tuples(NAMES, strategies.binary(max_size=1500), KINDS)
  ),
  strategies.sampled_from(sorted(FORMATS)),
)
@hypothesis.settings(max_examples=60, deadline=None)
def test_members_are_those_of_tarfile(members, form):
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode="w", format=FORMATS[form]) as tar:
    for name, content, kind in members:
      info = tarfile.TarInfo(name)
      info.type = kind
      info.linkname = "target" * (30 if form != "ustar" else 1)
      info.size = len(content) if info.isreg() else 0
      try:
        tar.addfile(info, io.BytesIO(content))
      except ValueError:  # too long for USTAR
        continue
  with tarfile.open(fileobj=io.BytesIO(file.getvalue())) as tar:
    expected = [
      (m.name.encode(), m.offset, m.offset_data, m.offset_data + m.size)
      for m in tar
      if m.isreg()
    ]
  found = _members(file.getvalue())
  assert [m[:4] for m in found if m.name and not m.link] == expected
  with tarfile.open(fileobj=io.BytesIO(file.getvalue())) as tar:
    links = [
      (m.name.encode(), m.issym()) for m in tar if m.issym() or m.islnk()
    ]
  assert [(m.name, m.link[0] == "s") for m in found if m.link] == links


def test_sizes_above_8_gib():
  info = tarfile.TarInfo("x.jpg")
  info.size = 9 << 30
  for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
    (member,) = _members(info.tobuf(form))
    assert member.stop - member.data == 9 << 30


def test_sums_of_signed_bytes():
  header = bytearray(tarfile.TarInfo("é.jpg").tobuf(tarfile.USTAR_FORMAT))
  (member,) = _members(bytes(header))
  total = sum(b - 256 * (b > 127) for b in header[:148] + header[156:512])
  header[148:156] = b"%06o\0 " % (total + 256)
  assert _members(bytes(header)) == [member]


@pytest.mark.parametrize(
  ("place", "content", "message"),
  [
    (0, b"y", "no header at byte 0"),
    (148, b"zzzzzz", "no header"),
    (511, b"\1", "no header"),
  ],
)
def test_broken_header(place, content, message):
  header = bytearray(tarfile.TarInfo("x.jpg").tobuf())
  header[place : place + len(content)] = content
  with pytest.raises(tar_headers.HeaderError, match=message):
    _members(bytes(header))


def _with_sum(header: bytes) -> bytes:
  header = header[:148] + b" " * 8 + header[156:]
  return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def test_traps():
  header = tarfile.TarInfo("x.jpg").tobuf(tarfile.GNU_FORMAT)
  # A size that would lead back to this header for ever.
  backwards = _with_sum(header[:124] + b"-0000001000\0" + header[136:])
  with pytest.raises(tar_headers.HeaderError, match="size of -512"):
    _members(backwards)
  # A name without a file: the end of a tar is nowhere else.
  name = header[:124] + b"%011o\0" % 5 + header[136:156] + b"L" + header[157:]
  with pytest.raises(tar_headers.HeaderError, match="at byte 1024, after a"):
    _members(_with_sum(name) + b"k.jpg".ljust(512, b"\0") + bytes(1024))
  # A name of 8 GB.
  huge = header[:124] + b"77777777777\0" + header[136:156] + b"L" + header[157:]
  with pytest.raises(tar_headers.HeaderError, match="a name of 8589934591"):
    _members(_with_sum(huge))
  # Maps of a sparse file that go on behind the end of the tar.
  sparse = header[:156] + b"S" + header[157:482] + b"\1" + header[483:]
  with pytest.raises(tar_headers.CutError, match="within the map at byte 512"):
    _members(_with_sum(sparse))
  with pytest.raises(tar_headers.CutError):
    _members(header[:300])


_HOLE = 2000


def _old_sparse(size: int = _HOLE + 4) -> bytes:
  """Return a GNU sparse file "k.jpg": "head", a hole, "tail"."""
  header = tarfile.TarInfo("k.jpg").tobuf(tarfile.GNU_FORMAT)
  numbers = (0, 4, _HOLE, 4)
  pieces = b"".join(b"%011o\0" % number for number in numbers)
  header = header[:386] + pieces + header[386 + len(pieces) :]
  header = header[:483] + b"%011o\0" % size + header[495:]
  header = header[:124] + b"%011o\0" % 8 + header[136:156] + b"S" + header[157:]
  return _with_sum(header) + b"headtail".ljust(512, b"\0")


def _pax_sparse(size: int = _HOLE + 4) -> bytes:
  """Return the same file as GNU's pax sparse format 1.0."""
  info = tarfile.TarInfo("GNUSparseFile.1/k.jpg")
  info.pax_headers = {
    "GNU.sparse.major": "1",
    "GNU.sparse.minor": "0",
    "GNU.sparse.name": "k.jpg",
    "GNU.sparse.realsize": str(size),
  }
  pieces = (b"2\n0\n4\n%d\n4\n" % _HOLE).ljust(512, b"\0")
  info.size = len(pieces) + 8
  return info.tobuf(tarfile.PAX_FORMAT) + pieces + b"headtail".ljust(512, b"\0")


@pytest.mark.parametrize("make", [_old_sparse, _pax_sparse])
def test_sparse_files(make):
  after = tarfile.TarInfo("k.txt").tobuf()
  sparse, member = _members(make() + after)
  assert (sparse.name, sparse.is_sparse) == (b"k.jpg", True)
  assert (member.name, member.is_sparse) == (b"k.txt", False)
  content = tar_headers.unfolded(make())
  assert content == b"head".ljust(_HOLE, b"\0") + b"tail"
  # A hole of any size takes no room in the tar.
  with pytest.raises(tar_headers.SparseError, match="of 1099511627775 bytes"):
    tar_headers.unfolded(_wide(make))
  for cut in (200, len(make()) - 512, len(make()) - 508):
    with pytest.raises(tar_headers.SparseError, match="a broken sparse file"):
      tar_headers.unfolded(make()[:cut])


def _wide(make) -> bytes:
  if make is _pax_sparse:
    return make(2**40 - 1)
  data = make()
  size = b"\x80" + (2**40 - 1).to_bytes(11, "big")
  return _with_sum(data[:483] + size + data[495:512]) + data[512:]


def test_broken_pax_header():
  info = tarfile.TarInfo("x" * 200)
  data = info.tobuf(tarfile.PAX_FORMAT)
  for wrong in (b"000 path", b"999 path", b"abc path", b"\xb2\xb2\xb2 path"):
    broken = data.replace(b"210 path", wrong)
    assert broken != data
    with pytest.raises(tar_headers.HeaderError, match="broken pax header"):
      _members(broken)
  # More digits than Python makes a number of, and than a header can have.
  header = tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT)
  digits = b"9" * 5000 + b" path=x\n"
  size = b"%011o\0" % len(digits)
  header = header[:124] + size + header[136:156] + b"x" + header[157:]
  with pytest.raises(tar_headers.HeaderError, match="broken pax header"):
    _members(_with_sum(header) + digits.ljust(5120, b"\0"))


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("000.jpg", ("000", "jpg")),
    ("./000.JPG", ("000", "jpg")),
    ("a.b/000.seg.png", ("a.b/000", "seg.png")),
    ("a/b/000.txt", ("a/b/000", "txt")),
    ("../000.txt", ("../000", "txt")),
    ("000.", ("000", "")),
    ("000", None),
    (".hidden.jpg", None),
    ("a/._000.jpg", None),
    ("__meta__/000.jpg", None),
    ("__MACOSX/000.jpg", None),
    ("a/__MACOSX/000.jpg", None),
    ("__a/000.jpg", ("__a/000", "jpg")),
    ("./a/000.jpg", ("a/000", "jpg")),
    ("", None),
  ],
)
def test_split_name(name, expected):
  found = tar_headers.split_name(name.encode())
  assert found == (expected and (expected[0].encode(), expected[1]))


def test_helper_writes_what_tarfile_reads():
  data = tars.data(tars.examples(0, 2))
  assert [m.name for m in _members(data)] == [
    *(b"0000.jpg", b"0000.txt", b"0000.json"),
    *(b"0001.jpg", b"0001.txt", b"0001.json"),
  ]
