"""Broken and hostile WebDataset tars for tests/long/fuzz_data.py."""

import gzip
import json
import tarfile
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from tests.long import fuzz_images, fuzz_pairs

_BLOCK = 512
_Form = Literal[0, 1, 2]
_FORMATS: tuple[_Form, ...] = (
  tarfile.USTAR_FORMAT,
  tarfile.PAX_FORMAT,
  tarfile.GNU_FORMAT,
)

Members = list[bytes]


def corrupted(rng: np.random.Generator) -> bytes:
  """Return a corrupted tar of fuzz_pairs."""
  members = _good(rng)
  for _ in range(int(rng.integers(0, 3))):
    members = _MEMBERS[int(rng.integers(len(_MEMBERS)))](members, rng)
  data = b"".join(members)
  # Two blocks of zeros end a tar; some writers forget them.
  data += bytes(_BLOCK * int(rng.integers(0, 3)))
  for _ in range(int(rng.integers(0, 3))):
    data = _BYTES[int(rng.integers(len(_BYTES)))](data, rng)
  return data


def whole() -> bytes:
  """Return an intact tar of fuzz_pairs."""
  return b"".join(_good(np.random.default_rng(0))) + bytes(2 * _BLOCK)


def member(
  name: str,
  data: bytes,
  *,
  kind: bytes = tarfile.REGTYPE,
  link: str = "",
  form: _Form = tarfile.USTAR_FORMAT,
  pax: dict[str, str] | None = None,
) -> bytes:
  """Return header and content of one member, padded to whole blocks."""
  info = tarfile.TarInfo(name)
  info.size, info.type, info.linkname = len(data), kind, link
  info.pax_headers = pax or {}
  return info.tobuf(form, "utf-8", "surrogateescape") + _filled(data)


def _good(rng: np.random.Generator) -> Members:
  form = _FORMATS[int(rng.integers(len(_FORMATS)))]
  as_json = rng.random() < 0.3
  prefix = "" if rng.random() < 0.7 else "a/" * int(rng.integers(1, 80))
  members = []
  for number in range(fuzz_pairs.NUM_PAIRS):
    name, text = fuzz_pairs.key(number), fuzz_pairs.caption(number)
    image = fuzz_pairs.image(number)
    body = json.dumps({"caption": text}) if as_json else text
    extension = "json" if as_json else "txt"
    for end, data in (("png", image), (extension, body.encode())):
      # A prefix that is too long for USTAR raises ValueError.
      used: _Form = tarfile.GNU_FORMAT if len(prefix) > 90 else form
      members.append(member(f"{prefix}{name}.{end}", data, form=used))
  return members


def _reorder(members: Members, rng: np.random.Generator) -> Members:
  return [members[i] for i in rng.permutation(len(members))]


def _swap(members: Members, rng: np.random.Generator) -> Members:
  first, second = rng.integers(len(members), size=2)
  members[first], members[second] = members[second], members[first]
  return members


def _repeat(members: Members, rng: np.random.Generator) -> Members:
  again = members[int(rng.integers(len(members)))]
  members.insert(int(rng.integers(len(members) + 1)), again)
  return members


def _drop(members: Members, rng: np.random.Generator) -> Members:
  del members[int(rng.integers(len(members)))]
  return members


def _insert(members: Members, rng: np.random.Generator) -> Members:
  number = int(rng.integers(fuzz_pairs.NUM_PAIRS))
  strange = _strange(fuzz_pairs.key(number), rng)
  members.insert(int(rng.integers(len(members) + 1)), strange)
  return members


def _break_header(members: Members, rng: np.random.Generator) -> Members:
  """Write nonsense into a header, under a valid checksum."""
  index = int(rng.integers(len(members)))
  header = bytearray(members[index][:_BLOCK])
  start, length, values = (
    (124, 12, _SIZES),  # size
    (156, 1, [bytes([kind]) for kind in range(256)]),  # type
    (100, 8, _SIZES),  # mode
    (257, 8, [b"", b"ustar  \0", b"ustar\x0099", b"\xff" * 8]),  # magic
    (345, 155, [b"../..", b"/", b"\xff" * 155]),  # prefix of the name
  )[int(rng.integers(5))]
  value = values[int(rng.integers(len(values)))][:length]
  header[start : start + length] = value.ljust(length, b"\0")
  members[index] = _summed(header) + members[index][_BLOCK:]
  return members


def _garbage(members: Members, rng: np.random.Generator) -> Members:
  block = rng.bytes(_BLOCK * int(rng.integers(1, 4)))
  zeros = bytes(len(block))
  members.insert(
    int(rng.integers(len(members) + 1)), block if rng.random() < 0.5 else zeros
  )
  return members


_SIZES = (
  *(b"77777777777\0", b"-0000000001\0", b"99999999999\0", b"", b"0x10"),
  *(b"\x80" + b"\xff" * 11, b"\xff" * 12, b"00000001000\0", b"            "),
)


def _strange(name: str, rng: np.random.Generator) -> bytes:
  """Return a member that no data set should contain."""
  deep = b"[" * 100_000
  makers: Sequence[Callable[[], bytes]] = (
    lambda: member(f"{name}.pkl", b"\x80\4N."),
    lambda: member(f"{name}.pyd", b"\x80\4N."),
    lambda: member(f"{name}.pth", b"PK\3\4"),
    lambda: member(f"../../{name}.txt", b"pair"),
    lambda: member(f"/etc/{name}.png", fuzz_images.corrupted(rng)),
    lambda: member(
      f"{name}.png", b"", kind=tarfile.SYMTYPE, link="/etc/passwd"
    ),
    lambda: member(f"{name}.txt", b"", kind=tarfile.LNKTYPE, link="other.txt"),
    lambda: member(f"{name}/", b"", kind=tarfile.DIRTYPE),
    lambda: member(f"{name}.png", b"", kind=tarfile.FIFOTYPE),
    lambda: member(f"{name}.jpg", b"", kind=tarfile.GNUTYPE_SPARSE),
    lambda: member("", b"no name"),
    lambda: member(".txt", b"no key"),
    lambda: member(f"{name}", b"no extension"),
    lambda: member(f"{name}\n\0\r.txt", b"a line in the name"),
    lambda: member(f"{name}.json", deep),
    lambda: member(f"{name}.json", b'{"caption": ' * 9999),
    lambda: member(f"{name}.json", b'{"caption": {"a": [1e999]}, "n": NaN}'),
    lambda: member(f"{name}.json", b'[1, "2", null]'),
    lambda: member(f"{name}.json", b"9" * 5000),
    lambda: member(f"{name}.txt", b"\xff\xfe\0\xd8" * 99),
    lambda: member(f"{name}.txt", b""),
    lambda: member(
      f"{name}.txt", b"x", form=tarfile.PAX_FORMAT, pax={"size": "9" * 30}
    ),
    lambda: member(
      f"{name}.txt", b"x", form=tarfile.PAX_FORMAT, pax={"path": "../x.txt"}
    ),
    lambda: member(
      f"{name}.txt", b"", form=tarfile.PAX_FORMAT, pax={"comment": "x" * 10**6}
    ),
    lambda: member("x", b"99 a=b\n" * 999, kind=tarfile.XHDTYPE),
    lambda: member("x", b"99999999999999999999 a=b\n", kind=tarfile.XHDTYPE),
    lambda: member("x", b"9" * 5000 + b" a=b\n", kind=tarfile.XHDTYPE),
    lambda: member("x", b"6 a=b\n" * 170_000, kind=tarfile.XHDTYPE),
    lambda: member("x", b"\xff" * 999, kind=tarfile.XGLTYPE),
    lambda: member("x", b"16 GNU.sparse.major=1\n" * 9, kind=tarfile.XHDTYPE),
    lambda: member(
      "././@LongLink", b"a" * 10**6, kind=tarfile.GNUTYPE_LONGNAME
    ),
    lambda: member("././@LongLink", b"", kind=tarfile.GNUTYPE_LONGNAME) * 2000,
  )
  return makers[int(rng.integers(len(makers)))]()


def _compress(data: bytes, rng: np.random.Generator) -> bytes:
  del rng
  return gzip.compress(data, 1)


def _join(data: bytes, rng: np.random.Generator) -> bytes:
  """Return bytes with another tar, or none, behind them."""
  blocks = int(rng.integers(0, 30))
  after = rng.bytes(700) if rng.random() < 0.2 else b"".join(_good(rng))
  return data + bytes(_BLOCK * blocks) + after


_MEMBERS = (
  *(_reorder, _swap, _repeat, _drop, _insert, _insert),
  *(_break_header, _break_header, _garbage),
)
_BYTES = (
  *(
    fuzz_images.flip_bits,
    fuzz_images.flip_bits,
    fuzz_images.truncate,
    fuzz_images.truncate,
  ),
  *(fuzz_images.flip_bits, _compress, _join, _join),
)


def _summed(header: bytearray) -> bytes:
  """Return a header with the checksum of its bytes."""
  header[148:156] = b" " * 8
  header[148:156] = b"%06o\0 " % sum(header)
  return bytes(header)


def _filled(data: bytes) -> bytes:
  return data + bytes(-len(data) % _BLOCK)
