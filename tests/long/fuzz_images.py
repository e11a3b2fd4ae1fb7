"""Broken, hostile and misnamed image files for tests/long/fuzz_data.py."""

import functools
import io
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

_SIZE = (24, 17)

# Format, mode and options of good files, one for each kind that `decode` reads.
_FORMS: Sequence[tuple[str, str, dict]] = (
  ("JPEG", "RGB", {}),
  (
    "JPEG",
    "RGB",
    {"progressive": True, "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"},
  ),
  ("JPEG", "CMYK", {}),
  ("JPEG", "L", {"icc_profile": b"profile" * 40}),
  ("MPO", "RGB", {"save_all": True}),
  ("PNG", "RGB", {}),
  ("PNG", "RGBA", {}),
  ("PNG", "P", {"transparency": 3}),
  ("PNG", "LA", {}),
  ("PNG", "I;16", {}),
  ("PNG", "1", {}),
  ("PNG", "RGB", {"save_all": True}),
  ("WEBP", "RGB", {}),
  ("WEBP", "RGBA", {"lossless": True}),
  ("WEBP", "RGB", {"save_all": True}),
  ("GIF", "P", {}),
  ("GIF", "P", {"save_all": True}),
  ("BMP", "RGB", {}),
  ("BMP", "P", {}),
  ("TIFF", "RGB", {}),
  ("TIFF", "RGB", {"compression": "tiff_lzw"}),
  ("TIFF", "RGB", {"compression": "jpeg"}),
  ("TIFF", "CMYK", {"compression": "tiff_adobe_deflate"}),
  ("TIFF", "I;16", {}),
  ("TIFF", "1", {"compression": "group4"}),
)


def corrupted(rng: np.random.Generator) -> bytes:
  """Return a good file after one to three corruptions."""
  data = _good()[int(rng.integers(len(_FORMS)))]
  for _ in range(int(rng.integers(1, 4))):
    data = corrupt(data, rng)
  return data


def corrupt(data: bytes, rng: np.random.Generator) -> bytes:
  """Return the bytes after one corruption."""
  accident = _ACCIDENTS[int(rng.integers(len(_ACCIDENTS)))]
  return accident(data, rng)


def flip_bits(data: bytes, rng: np.random.Generator) -> bytes:
  """Return the bytes with 1 to 16 bits flipped."""
  if not data:
    return data
  changed = bytearray(data)
  for bit in rng.integers(8 * len(data), size=int(rng.integers(1, 17))):
    changed[bit // 8] ^= 1 << (bit % 8)
  return bytes(changed)


def truncate(data: bytes, rng: np.random.Generator) -> bytes:
  """Return a prefix of the bytes."""
  return data[: int(rng.integers(len(data) + 1))]


def _overwrite(data: bytes, rng: np.random.Generator) -> bytes:
  start, end = _cut(data, rng, 64)
  return data[:start] + rng.bytes(end - start) + data[end:]


def _huge_number(data: bytes, rng: np.random.Generator) -> bytes:
  """Overwrite bytes by a number that no size or offset may have."""
  number = int(rng.choice([0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]))
  order = "big" if rng.random() < 0.5 else "little"
  width = 2 if number <= 0xFFFF and rng.random() < 0.5 else 4
  start = int(rng.integers(max(len(data) - width, 1)))
  return data[:start] + number.to_bytes(width, order) + data[start + width :]


def _delete(data: bytes, rng: np.random.Generator) -> bytes:
  start, end = _cut(data, rng, len(data))
  return data[:start] + data[end:]


def _repeat(data: bytes, rng: np.random.Generator) -> bytes:
  start, end = _cut(data, rng, len(data))
  return data[:end] + data[start:end] * int(rng.integers(1, 9)) + data[end:]


def _splice(data: bytes, rng: np.random.Generator) -> bytes:
  other = _good()[int(rng.integers(len(_FORMS)))]
  return truncate(data, rng) + other[int(rng.integers(len(other))) :]


_ACCIDENTS: Sequence[Callable[[bytes, np.random.Generator], bytes]] = (
  *(flip_bits, flip_bits, truncate, _overwrite),
  *(_huge_number, _delete, _repeat, _splice),
)


def _cut(
  data: bytes, rng: np.random.Generator, longest: int
) -> tuple[int, int]:
  if not data:
    return 0, 0
  start = int(rng.integers(len(data)))
  return start, min(start + 1 + int(rng.integers(longest)), len(data))


@functools.cache
def _good() -> tuple[bytes, ...]:
  """Return a small file of each of _FORMS."""
  pixels = np.random.default_rng(0).integers(0, 256, (*_SIZE[::-1], 3))
  image = Image.fromarray(pixels.astype(np.uint8))
  files = []
  for form, mode, options in _FORMS:
    if mode == "I;16":
      made = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    else:
      made = image.convert(mode)
    if options.get("save_all"):
      frames = [made.transpose(Image.Transpose.ROTATE_180)] * 2
      options = {**options, "append_images": frames}
    buffer = io.BytesIO()
    made.save(buffer, form, **options)
    files.append(buffer.getvalue())
  return tuple(files)


@functools.cache
def hostile() -> Mapping[str, bytes]:
  """Return files by name that are made to do harm, or are no images."""
  zeros = zlib.compress(bytes(64_000_000), 9)
  many = 40
  return {
    "png of 50,000 x 50,000": _png(50_000, 50_000, zeros[:60_000]),
    "png of 2**31-1 x 1": _png(2**31 - 1, 1, zeros[:999]),
    "png without pixels": _png(0, 7, b""),
    "png that inflates to 64 MB": _png(8, 8, zeros),
    "png of 8,000 x 8,000, all there": _png(
      8000, 8000, zlib.compress(bytes(8001 * 8000), 9), colour=0
    ),
    "png with zTXt bombs": _png(
      8, 8, None, [(b"zTXt", b"a\0\0" + zeros)] * many
    ),
    "png with iTXt bombs": _png(
      8, 8, None, [(b"iTXt", b"a\0\1\0\0\0" + zeros)] * many
    ),
    "png with iCCP bomb": _png(8, 8, None, [(b"iCCP", b"a\0\0" + zeros)]),
    "png with a million chunks": _png(8, 8, None, [(b"tEXt", b"a\0b")] * 10**5),
    "apng of 2**31-1 frames": _png(
      8, 8, None, [(b"acTL", struct.pack(">II", 2**31 - 1, 0))]
    ),
    "jpeg of 65,535 x 65,535": _jpeg(65_535, 65_535),
    "jpeg of 0 x 0": _jpeg(0, 0),
    "jpeg of a million markers": b"\xff\xd8" + b"\xff\xe0\0\2" * 10**5,
    "webp of 16,384 x 16,384": _riff(
      b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\x3f\0" * 2
    ),
    "webp of 2**24 x 2**24": _riff(
      b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff" * 6
    ),
    "webp of a lossless bomb": _riff(
      b"VP8L" + struct.pack("<I", 50) + b"\x2f" + b"\xff" * 49
    ),
    "gif of 20,000 frames": _gif(8, 8, 20_000),
    "gif of 65,535 x 65,535": _gif(65_535, 65_535, 2),
    "gif whose frame leaves its screen": _gif(8, 8, 2, frame=65_535),
    "bmp of 2**31-1 x 2**31-1": b"BM"
    + struct.pack(
      "<IHHIIiiHHIIiiII",
      99,
      0,
      0,
      54,
      40,
      2**31 - 1,
      -(2**31) + 1,
      1,
      24,
      0,
      0,
      0,
      0,
      0,
      0,
    ),
    "tiff of 2**32-1 x 2**32-1": _tiff(width=2**32 - 1, height=2**32 - 1),
    "tiff whose directories run in a circle": _tiff(after=8),
    "tiff of a strip of 4 GB": _tiff(strip=2**32 - 1),
    "tiff of 65,535 empty entries": b"II*\0\x08\0\0\0\xff\xff"
    + bytes(12 * 65_535),
    "ppm of 10**9 x 10**9": b"P6 1000000000 1000000000 255\n",
    "ppm of 10**7 digits": b"P6 " + b"9" * 10**7,
    "eps that runs PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n"
    b"%%BoundingBox: 0 0 9 9\n{} loop\n%%EOF\n",
    "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>',
    "html": b"<!DOCTYPE html><title>404</title>" * 9,
    "pickle": b"\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system",
    "zip": b"PK\3\4" + bytes(99),
    "gzip of zeros": zlib.compress(bytes(10**6), wbits=31),
    "psd": b"8BPS\0\1"
    + bytes(6)
    + struct.pack(">HIIHH", 4, 30_000, 30_000, 8, 3),
    "fits": b"SIMPLE  =                    T".ljust(80) * 36,
    "icns": b"icns\xff\xff\xff\xff" + b"ic10\0\0\0\x08" * 9,
    "fli": struct.pack("<IHHHH", 99, 0xAF11, 65_535, 65_535, 65_535)
    + bytes(99),
    "xpm": b"/* XPM */\nstatic char *a[] = {\n" + b'"99999 99999 9 9",\n' * 9,
    "nothing": b"",
    "one byte": b"\xff",
    "zeros": bytes(4096),
    "a caption": b"a photo of a cat, not one of its bytes",
  }


def _chunk(name: bytes, data: bytes) -> bytes:
  crc = zlib.crc32(name + data)
  return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)


def _png(
  width: int,
  height: int,
  pixels: bytes | None,
  more: Sequence[tuple[bytes, bytes]] = (),
  colour: int = 2,
) -> bytes:
  if pixels is None:
    pixels = zlib.compress(bytes(height * (1 + 3 * width)))
  header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
  return (
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", header)
    + b"".join(_chunk(name, data) for name, data in more)
    + _chunk(b"IDAT", pixels)
    + _chunk(b"IEND", b"")
  )


def _jpeg(width: int, height: int) -> bytes:
  good = bytearray(_good()[0])
  start = good.index(b"\xff\xc0") + 5
  good[start : start + 4] = struct.pack(">HH", height, width)
  return bytes(good)


def _riff(chunks: bytes) -> bytes:
  return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def _gif(width: int, height: int, frames: int, frame: int = 1) -> bytes:
  one = b"," + struct.pack("<HHHHB", 0, 0, frame, frame, 0) + b"\2\2D\1\0"
  screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0)
  return screen + b"\0\0\0\xff\xff\xff" + one * frames + b";"


def _tiff(
  width: int = 8, height: int = 8, strip: int = 64, after: int = 0
) -> bytes:
  entries = (
    *((256, width), (257, height), (258, 8), (259, 1), (262, 1)),
    *((273, 200), (277, 1), (278, height), (279, strip)),
  )
  packed = b"".join(struct.pack("<HHII", tag, 4, 1, n) for tag, n in entries)
  directory = (
    struct.pack("<H", len(entries)) + packed + struct.pack("<I", after)
  )
  return (b"II*\0\x08\0\0\0" + directory).ljust(200, b"\0") + bytes(64)
