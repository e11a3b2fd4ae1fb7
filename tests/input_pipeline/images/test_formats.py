"""Formats that are read, and what is said of bytes that are none of them."""

import io
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from input_pipeline import faults
from input_pipeline.images import image_ops, picture
from tests.input_pipeline.images import encoded

LOSSLESS = {
  "PNG": {},
  "BMP": {},
  "TIFF": {},
  "PPM": {},
  "JPEG2000": {},
  "WEBP": {"lossless": True},
  "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}


def _fault(data: bytes) -> str:
  with pytest.raises(faults.ExampleError) as raised:
    image_ops.decode(data)
  assert raised.value.kind == "image_broken"
  message = str(raised.value)
  assert message.startswith(f"cannot decode image of {len(data)} bytes")
  assert "0x" not in message
  assert "\n" not in message
  # The header is enough to say so.
  with pytest.raises(faults.ExampleError) as raised:
    picture.size(data)
  assert str(raised.value) == message
  return message


@pytest.mark.parametrize("form", LOSSLESS)
def test_pixels_of_each_format(form):
  image = encoded.noise(20, 30)
  data = encoded.by_pillow(image, form, **LOSSLESS[form])
  got = image_ops.decode(data).astype(int)
  # AVIF's colours are rounded on their way to YUV and back.
  assert np.abs(got - np.asarray(image)).max() <= (4 if form == "AVIF" else 0)
  assert picture.size(data) == (20, 30)


@pytest.mark.parametrize("form", [*LOSSLESS, "JPEG", "GIF"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (700, 1)])
def test_the_smallest_images(form, shape):
  flat = Image.new("RGB", shape, (255, 255, 255))
  got = image_ops.decode(encoded.by_pillow(flat, form))
  assert got.shape == (*shape[::-1], 3)
  assert (got >= 254).all()


@pytest.mark.parametrize("form", ["AVIF", "JPEG2000", "PPM", "TIFF", "HEIF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
@pytest.mark.filterwarnings("ignore:Truncated File Read")
def test_a_cut_file_is_a_fault(form, share):
  if form == "HEIF":
    pytest.importorskip("pillow_heif").register_heif_opener()
  data = encoded.by_pillow(encoded.noise(), form)
  with pytest.raises(faults.ExampleError) as raised:
    image_ops.decode(data[: int(share * len(data))])
  assert raised.value.kind == "image_broken"


def test_heic():
  heif = pytest.importorskip("pillow_heif")
  heif.register_heif_opener()
  image = Image.new("RGBA", (40, 30), (200, 40, 30, 51))
  data = encoded.by_pillow(image, "HEIF", quality=-1)
  assert data[8:12] == b"heic"
  # 51 of 255 on white: 255 - (255 - level) / 5.
  got = image_ops.decode(data).astype(int)
  assert got.shape == (30, 40, 3)
  assert np.abs(got - (244, 212, 210)).max() <= 2
  # The same with the brand of any HEIF.
  other = data[:8] + b"mif1" + data[12:]
  np.testing.assert_array_equal(image_ops.decode(other), got)
  assert picture.size(other) == (30, 40)


def test_heic_without_its_package(monkeypatch):
  monkeypatch.setitem(sys.modules, "pillow_heif", None)
  data = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(40)
  assert _fault(data).endswith(
    "it is a HEIC image, which needs `pip install -r requirements-heif.txt`"
  )


def test_orientations():
  """EXIF's is ignored; Pillow obeys TIFF's tag."""
  exif = Image.Exif()
  exif[0x0112] = 6  # to be shown turned clockwise by 90 degrees
  exif = exif.tobytes()  # Pillow's writer of AVIF would take the tag out
  image = encoded.noise(20, 30)
  for form in ("JPEG", "PNG", "WEBP", "AVIF"):
    data = encoded.by_pillow(image, form, exif=exif)
    assert image_ops.decode(data).shape == (20, 30, 3), form
    assert picture.size(data) == (20, 30)
  data = encoded.by_pillow(image, "TIFF", exif=exif)
  turned = np.rot90(np.asarray(image), -1)
  np.testing.assert_array_equal(image_ops.decode(data), turned)
  assert picture.size(data) == (30, 20)


def _zip() -> bytes:
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w") as archive:
    archive.writestr("a", "b")
  return file.getvalue()


@pytest.mark.parametrize(
  ("data", "end"),
  [
    (b"", ": it is an empty file"),
    (bytes(9), ": it is nothing but zeros"),
    (
      b"<!DOCTYPE html><p>404",
      ": it is an HTML page, such as that of a failed",
    ),
    (b"%PDF-1.7", ": it is a PDF document"),
    (_zip(), ": it is a zip file"),
    (
      b"version https://git-lfs.github.com/spec/v1\n",
      ": it is a Git LFS pointe",
    ),
    (b"\x80\x04K\x01.", ": it is a pickle, which is never loaded"),
    (b"<svg/>", ": it is an SVG image; expected JPEG, PNG, WebP, GIF, BMP"),
    (b"\xff\x0a" + bytes(9), ": it is a JPEG XL image; expected JPEG, PNG"),
    (b'{"error": 404}', """: it begins with the JSON '{"error": 404}'"""),
    (b"not found\n", r": it begins with the text 'not found\n'"),
    (
      "ein Bär ".encode() * 99,
      ": it begins with the text 'ein Bär ein Bär ein Bär ein Bär ein Bär '",
    ),
    (b"\xfa\xfb\x00\x01", ": it begins with the bytes fa fb 00 01"),
    (b"\xff\xd8\xff", ", a JPEG image: its header is broken"),
    (b"\x89PNG\r\n\x1a\n", ", a PNG image: its header is broken"),
    (
      b"BM\x01\x02\x03\x04" + bytes(20),
      ", a BMP image: Unsupported BMP header",
    ),
    (b"RIFF\x10\x00\x00\x00WEBPVP8 ", ", a WebP image: could not create decod"),
  ],
)
def test_what_is_no_image_is_named(data, end):
  message = _fault(data)
  head = f"cannot decode image of {len(data)} bytes"
  assert message.startswith(head + end)


def test_a_cut_image_is_named():
  data = encoded.by_pillow(encoded.noise(), "PNG")
  with pytest.raises(
    faults.ExampleError, match="a PNG image: image file is truncated"
  ):
    image_ops.decode(data[: len(data) // 2])


def test_an_apng_is_its_default_image():
  """The image for viewers without animation, also where it is no frame."""
  shown, first = (Image.new("RGB", (4, 4), name) for name in ("lime", "red"))
  data = encoded.by_pillow(
    shown, "PNG", save_all=True, append_images=[first], default_image=True
  )
  assert (image_ops.decode(data) == (0, 255, 0)).all()


def test_an_animation_s_transparency_is_white():
  frames = [Image.new("RGBA", (4, 4), (255, 0, 0, alpha)) for alpha in (0, 255)]
  data = encoded.by_pillow(
    frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True
  )
  assert (image_ops.decode(data) == 255).all()
