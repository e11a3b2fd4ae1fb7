"""Encoded images of exact numbers, some of kinds that Pillow cannot write."""

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image


def by_pillow(image: Image.Image, form: str, **options) -> bytes:
  """Return an image in one of Pillow's formats."""
  buffer = io.BytesIO()
  image.save(buffer, form, **options)
  return buffer.getvalue()


def png(
  row: bytes, width: int, *, bits: int, colour: int, transparent: bytes = b""
) -> bytes:
  """Return a PNG of one row.

  Args:
    row: pixels as PNG stores them.
    width: number of pixels.
    bits: bits of a sample.
    colour: PNG's type: 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA.
    transparent: samples of the colour that is transparent, 16 bits each.
  """
  header = struct.pack(">IIBBBBB", width, 1, bits, colour, 0, 0, 0)
  chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\x00" + row))]
  if transparent:
    chunks.insert(1, (b"tRNS", transparent))
  return b"\x89PNG\r\n\x1a\n" + b"".join(
    struct.pack(">I", len(body))
    + kind
    + body
    + struct.pack(">I", zlib.crc32(kind + body))
    for kind, body in (*chunks, (b"IEND", b""))
  )


def tiff(
  pixels: bytes,
  width: int,
  *,
  bits: int,
  sort: int,
  photometric: int = 1,
  num_samples: int = 1,
  extra: Sequence[int] = (),
  planar: int = 1,
) -> bytes:
  """Return an uncompressed TIFF of one row, little-endian.

  Args:
    pixels: samples as TIFF stores them.
    width: number of pixels.
    bits: bits of a sample.
    sort: TIFF's SampleFormat: 1 integers, 2 with signs, 3 floats.
    photometric: 0 white is zero, 1 black is zero, 2 RGB, 5 CMYK.
    num_samples: samples of a pixel.
    extra: kind of each sample beyond the colours, 2 for alpha.
    planar: 1 for the samples of a pixel together, 2 for planes of a sample.
  """
  num_planes = num_samples if planar == 2 else 1
  length = len(pixels) // num_planes
  tags = [
    (256, "I", [width]),
    (257, "I", [1]),
    (258, "H", [bits] * num_samples),
    (259, "H", [1]),
    (262, "H", [photometric]),
    (273, "I", [8 + length * plane for plane in range(num_planes)]),
    (277, "H", [num_samples]),
    (278, "I", [1]),
    (279, "I", [length] * num_planes),
    (284, "H", [planar]),
    *([(338, "H", extra)] if extra else []),
    (339, "H", [sort] * num_samples),
  ]
  start = 8 + len(pixels)
  behind = start + 2 + 12 * len(tags) + 4
  entries, values = struct.pack("<H", len(tags)), b""
  for number, form, items in tags:
    packed = struct.pack(f"<{len(items)}{form}", *items)
    if len(packed) > 4:
      value = struct.pack("<I", behind + len(values))
      values += packed
    else:
      value = packed.ljust(4, b"\x00")
    kind = {"H": 3, "I": 4}[form]
    entries += struct.pack("<HHI", number, kind, len(items)) + value
  return (
    struct.pack("<2sHI", b"II", 42, start)
    + pixels
    + entries
    + struct.pack("<I", 0)
    + values
  )


def noise(height: int = 64, width: int = 64) -> Image.Image:
  """Return random pixels, the same at each call."""
  rng = np.random.default_rng(0)
  return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
