"""Levels of each kind of number and colour, computed by hand."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from input_pipeline import faults
from input_pipeline.images import image_ops
from tests.input_pipeline.images import encoded


def _levels(data: bytes) -> list:
  """Return the pixels of an image of one row, a number for a grey one."""
  (row,) = image_ops.decode(data).tolist()
  return [pixel[0] if len({*pixel}) == 1 else tuple(pixel) for pixel in row]


def _floats(*values: float) -> bytes:
  return np.array(values, "<f4").tobytes()


def _shorts(*values: int) -> bytes:
  return np.array(values, "<u2").tobytes()


def test_floats_are_a_ramp_from_black_to_white():
  ramp = np.linspace(0, 1, 64, dtype=np.float32)[None]
  data = encoded.by_pillow(Image.fromarray(ramp), "TIFF")
  expected = np.linspace(0, 255, 64).round().tolist()
  assert _levels(data) == expected


@pytest.mark.parametrize(
  ("data", "expected"),
  [
    (encoded.tiff(_floats(0, 0.5, 1), 3, bits=32, sort=3), [0, 128, 255]),
    (
      encoded.tiff(_floats(0, 0.25, 1), 3, bits=32, sort=3, photometric=0),
      [255, 191, 0],
    ),
    (b"Pf\n2 1\n-1.0\n" + _floats(0, 0.5), [0, 128]),
    # 16 bits keep the upper 8, 12 bits the upper 8 too.
    (
      encoded.tiff(_shorts(0, 257, 0x80FF, 65535), 4, bits=16, sort=1),
      [0, 1, 128, 255],
    ),
    (
      encoded.tiff(
        _shorts(0, 0x80FF, 65535), 3, bits=16, sort=1, photometric=0
      ),
      [255, 127, 0],
    ),
    (encoded.tiff(b"\xff\xf0\x80", 2, bits=12, sort=1), [255, 8]),
    (
      encoded.tiff(
        *(_shorts(0, 0x12FF, 65535), 1),
        bits=16,
        sort=1,
        photometric=2,
        num_samples=3,
      ),
      [(0, 0x12, 255)],
    ),
    (
      encoded.png(struct.pack(">2H", 0x1234, 0xFFFF), 2, bits=16, colour=0),
      [0x12, 255],
    ),
    (b"P5\n2 1\n65535\n\x12\x34\xff\xff", [0x12, 255]),
    (b"P5\n2 1\n4095\n\x0f\xff\x08\x00", [255, 128]),
    # Few bits are spread over all levels.
    (encoded.png(b"\x40", 2, bits=1, colour=0), [0, 255]),
    (encoded.png(b"\x1b", 4, bits=2, colour=0), [0, 85, 170, 255]),
    (encoded.png(b"\x2a", 2, bits=4, colour=0), [34, 170]),
    (b"P4\n2 1\n\x40", [255, 0]),
    (b"P5\n2 1\n15\n\x0f\x08", [255, 136]),
    (encoded.tiff(b"\x00\x80", 2, bits=8, sort=1, photometric=0), [255, 127]),
  ],
)
def test_numbers(data, expected):
  assert _levels(data) == expected


@pytest.mark.parametrize(
  ("data", "expected"),
  [
    # Alpha on white: 255 - alpha / 255 * (255 - level).
    (encoded.png(bytes([100, 255, 100, 0]), 2, bits=8, colour=4), [100, 255]),
    (encoded.png(bytes([0, 51]), 1, bits=8, colour=4), [204]),
    (
      encoded.png(bytes([255, 0, 0, 51]), 1, bits=8, colour=6),
      [(255, 204, 204)],
    ),
    (
      encoded.png(struct.pack(">4H", 0, 0, 0, 0x33FF), 1, bits=16, colour=6),
      [204],
    ),
    (
      encoded.tiff(bytes([0, 51]), 1, bits=8, sort=1, num_samples=2, extra=[2]),
      [204],
    ),
    # One transparent colour, for each number of bits.
    (
      encoded.png(
        struct.pack(">2H", 0x1234, 0x1200),
        *(2,),
        bits=16,
        colour=0,
        transparent=b"\x12\x34",
      ),
      [255, 0x12],
    ),
    (
      encoded.png(
        struct.pack(">6H", 1, 2, 0x300, 0x400, 0x400, 0x400),
        *(2,),
        bits=16,
        colour=2,
        transparent=struct.pack(">3H", 1, 2, 0x300),
      ),
      [255, 4],
    ),
    (
      encoded.png(b"\x1b", 4, bits=2, colour=0, transparent=b"\x00\x02"),
      [0, 85, 255, 255],
    ),
    (
      encoded.png(b"\x2a", 2, bits=4, colour=0, transparent=b"\x00\x02"),
      [255, 170],
    ),
    (
      encoded.png(b"\x2a\x0a", 2, bits=8, colour=0, transparent=b"\x00\x2a"),
      [255, 10],
    ),
    (
      encoded.png(b"\x80", 2, bits=1, colour=0, transparent=b"\x00\x00"),
      [255, 255],
    ),
  ],
)
def test_transparency(data, expected):
  assert _levels(data) == expected


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_palettes(form):
  image = Image.new("P", (3, 1))
  image.putpalette([255, 0, 0, 0, 9, 255, 0, 200, 0])
  image.putdata([0, 1, 2])
  opaque = encoded.by_pillow(image, form)
  assert _levels(opaque) == [(255, 0, 0), (0, 9, 255), (0, 200, 0)]
  data = encoded.by_pillow(image, form, transparency=1)
  assert _levels(data) == [(255, 0, 0), 255, (0, 200, 0)]


def test_a_palette_with_levels_of_transparency():
  image = Image.new("P", (2, 1))
  image.putpalette([255, 0, 0, 0, 0, 0])
  image.putdata([0, 1])
  data = encoded.by_pillow(image, "PNG", transparency=bytes([255, 51]))
  assert _levels(data) == [(255, 0, 0), 204]


# Cyan, magenta, yellow and black -> (255 - ink) * (255 - black) / 255.
INKS = ((0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 0, 255), (51, 102, 0, 127))
COLOURS = [255, (0, 255, 255), 0, (102, 77, 128)]


def test_cmyk():
  pixels = bytes(ink for inks in INKS for ink in inks)
  data = encoded.tiff(pixels, 4, bits=8, sort=1, photometric=5, num_samples=4)
  assert _levels(data) == COLOURS


@pytest.mark.parametrize("inks", range(len(INKS)))
def test_jpegs_of_adobe_store_cmyk_inverted(inks):
  flat = Image.new("CMYK", (16, 16), INKS[inks])
  data = encoded.by_pillow(flat, "JPEG", quality=100)
  assert b"Adobe" in data
  expected = COLOURS[inks]
  difference = image_ops.decode(data).astype(int) - expected
  assert np.abs(difference).max() <= 1  # JPEG's own rounding


def test_profiles_are_ignored():
  # One that Pillow would refuse to apply.
  image = encoded.noise(4, 4)
  data = encoded.by_pillow(image, "PNG", icc_profile=b"not a profile" * 20)
  np.testing.assert_array_equal(image_ops.decode(data), image)


@pytest.mark.parametrize(
  ("data", "reason"),
  [
    (encoded.tiff(_floats(0, 255), 2, bits=32, sort=3), "floats from 0 to 255"),
    (encoded.tiff(_floats(-0.5, 1), 2, bits=32, sort=3), "from -0.5 to 1"),
    (encoded.tiff(_floats(0, np.nan), 2, bits=32, sort=3), "NaN or infinite"),
    (encoded.tiff(_floats(0, np.inf), 2, bits=32, sort=3), "NaN or infinite"),
    (encoded.tiff(_shorts(1, 2), 1, bits=32, sort=1), "of 32-bit integers"),
    (encoded.tiff(_shorts(1, 2), 1, bits=32, sort=2), "integers with signs"),
    (encoded.tiff(_shorts(1, 2), 2, bits=16, sort=2), "integers with signs"),
    (encoded.tiff(b"\x00\xff", 2, bits=8, sort=2), "integers with signs"),
    (
      encoded.tiff(bytes(8), 1, bits=64, sort=3),
      "a TIFF image: pixels of 1 floats of 64 bits are not read",
    ),
    (
      encoded.tiff(bytes(12), 1, bits=32, sort=3, photometric=2, num_samples=3),
      "pixels of 3 floats of 32 bits are not read",
    ),
    (
      encoded.tiff(bytes(5), 1, bits=8, sort=1, num_samples=5),
      "pixels of 5 integers of 8 bits are not read",
    ),
  ],
)
def test_numbers_without_a_white_are_faults(data, reason):
  with pytest.raises(faults.ExampleError, match=reason) as raised:
    image_ops.decode(data)
  assert raised.value.kind == "image_broken"


@pytest.mark.parametrize(
  ("pixels", "form", "expected"),
  [
    (bytes([1, 4, 2, 5, 3, 6]), {"bits": 8}, [(1, 2, 3), (4, 5, 6)]),
    (_shorts(*[0x1234] * 6), {"bits": 16}, "planes of 16 bits"),
    (
      bytes([1, 2]),
      {"bits": 8, "photometric": 1, "num_samples": 1},
      [1, 2],
    ),
    (
      bytes([1, 2]),
      {"bits": 8, "photometric": 0, "num_samples": 1},
      "planes of 8 bits, in mode L,",
    ),
    (bytes([1, 4, 2, 5, 3, 6]), {"bits": 8, "photometric": 8}, "mode LAB"),
  ],
)
def test_planes_are_right_or_a_fault(pixels, form, expected):
  form = {"sort": 1, "photometric": 2, "num_samples": 3} | form
  data = encoded.tiff(pixels, 2, planar=2, **form)
  if isinstance(expected, list):
    assert _levels(data) == expected
    return
  with pytest.raises(faults.ExampleError, match=expected) as caught:
    _levels(data)
  assert caught.value.kind == "image_broken"


@pytest.mark.parametrize("order", ["<", ">"])
def test_compressed_floats_of_either_byte_order(order):
  pixels = zlib.compress(struct.pack(f"{order}3f", 0, 0.5, 1))
  values = [3, 1, 32, 8, 1, 8, 1, 1, len(pixels), 3]
  numbers = [256, 257, 258, 259, 262, 273, 277, 278, 279, 339]
  data = {"<": b"II", ">": b"MM"}[order]
  data += struct.pack(f"{order}HI", 42, 8 + len(pixels)) + pixels
  data += struct.pack(f"{order}H", len(numbers))
  for number, value in zip(numbers, values, strict=True):
    data += struct.pack(f"{order}HHII", number, 4, 1, value)
  assert _levels(data + bytes(4)) == [0, 128, 255]
