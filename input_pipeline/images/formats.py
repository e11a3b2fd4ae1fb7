"""Formats of encoded images, opened by Pillow; faults of all other bytes.

JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000 and PPM (PBM, PGM, PFM) are
read, and HEIC where requirements-heif.txt is installed. Several frames (GIF,
APNG, animated WebP and AVIF, TIFF, MPO): the first, of HEIC the one that the
file names as its primary one. JPEG XL is not read: its plug-in for Pillow
decodes a file before its size is known.
"""

import contextlib
import io
import re
from collections.abc import Iterator

from PIL import Image, TiffImagePlugin

from input_pipeline import faults
from input_pipeline.storage import file_kinds

# Kind of file -> format, among Pillow's 43. Others run programs (EPS:
# Ghostscript) or were rarely tested with hostile files.
_FORMATS = {
  "a JPEG image": "JPEG",
  "a PNG image": "PNG",
  "a WebP image": "WEBP",
  "a GIF image": "GIF",
  "a BMP image": "BMP",
  "a TIFF image": "TIFF",
  "a BigTIFF image": "TIFF",
  "an AVIF image": "AVIF",
  "a JPEG 2000 image": "JPEG2000",
}
# PPM begins with too little to be a kind: "P6" and a space.
_TRIED = (*dict.fromkeys(_FORMATS.values()), "PPM")
_HEIF = ("a HEIC image", "a HEIF image")
_HEIF_PACKAGE = "requirements-heif.txt"
_READ = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC, JPEG 2000 or PPM"
# Characters of a text, and bytes of other data, that a message quotes.
_NUM_QUOTED, _NUM_BYTES = 40, 8
# Characters of a library's message; an object's address is not repeatable.
_MAX_REASON = 200
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@contextlib.contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
  """Yield an image of Pillow, not decoded yet; its exceptions become faults."""
  try:
    yield _open(data)
  except faults.ExampleError:
    raise
  # Pillow raises this above twice the size that it warns of.
  except Image.DecompressionBombError as error:
    raise faults.ExampleError("image_too_large", str(error)) from error
  # Pillow's parsers of odd files raise undocumented exceptions, ValueError and
  # struct.error among them; with any of them the file is no usable image.
  except Exception as error:
    kind = _kind(data)
    named = f", {kind}" if kind in (*_FORMATS, *_HEIF) else ""
    raise _broken(data, f"{named}: {_one_line(error)}") from error


def _open(data: bytes) -> Image.Image:
  try:
    return Image.open(io.BytesIO(data), formats=_TRIED)
  except Image.UnidentifiedImageError:
    kind = _kind(data)
  if kind in _HEIF:
    return _open_heif(data, kind)
  if kind in _FORMATS:
    raise ValueError(_refusal(data, kind))
  if kind.endswith("image"):
    raise _broken(data, f": it is {kind}; expected {_READ}")
  hint = "; data.video has videos decoded" if kind.endswith("video") else ""
  found = f"is {kind}{hint}" if kind else _beginning(data)
  raise _broken(data, f": it {found}")


def _open_heif(data: bytes, kind: str) -> Image.Image:
  try:
    import pillow_heif  # pyrefly: ignore[missing-import]
  except ModuleNotFoundError as error:
    advice = f": it is {kind}, which needs `pip install -r {_HEIF_PACKAGE}`"
    raise _broken(data, advice) from error
  pillow_heif.register_heif_opener()
  return Image.open(io.BytesIO(data), formats=("HEIF",))


def _broken(data: bytes, reason: str) -> faults.ExampleError:
  message = f"cannot decode image of {len(data)} bytes{reason}"
  return faults.ExampleError("image_broken", message)


def _kind(data: bytes) -> str:
  return file_kinds.describe(data[: file_kinds.NUM_BYTES])


def _beginning(data: bytes) -> str:
  """Return a clause about bytes of an unknown kind."""
  first = data[: 4 * _NUM_QUOTED]  # a character has up to 4 bytes
  text = first.decode("utf-8", "replace")[:_NUM_QUOTED]
  if all(c.isprintable() or c.isspace() for c in text) and "\ufffd" not in text:
    form = "JSON" if text.lstrip()[:1] in ("{", "[") else "text"
    return f"begins with the {form} {text!r}"
  return f"begins with the bytes {data[:_NUM_BYTES].hex(' ')}"


def _one_line(error: Exception) -> str:
  text = " ".join(_ADDRESS.sub("", str(error)).split())
  return text[:_MAX_REASON] or type(error).__name__


def _refusal(data: bytes, kind: str) -> str:
  """Return the reason for which Pillow refuses one of its formats."""
  make, _ = Image.OPEN[_FORMATS[kind]]
  try:
    make(io.BytesIO(data), "")
  except SyntaxError as error:
    if "TIFF" in kind and (numbers := _tiff_numbers(data)):
      return f"pixels of {numbers} are not read"
    # Its cause is an accident of the parser: an index, a number of bytes.
    if error.__cause__ is None and "not identified" not in str(error):
      return str(error)
  return "its header is broken"


def _tiff_numbers(data: bytes) -> str:
  """Return the numbers of a pixel of a TIFF, "" without their tags."""
  length = 16 if b"+" in data[2:4] else 8  # of BigTIFF's header, or TIFF's
  directory = TiffImagePlugin.ImageFileDirectory_v2(data[:length])
  file = io.BytesIO(data)
  file.seek(directory.next)
  directory.load(file)
  bits = directory.get(258)
  sorts = {2: "integers with signs", 3: "floats"}
  sort = sorts.get(directory.get(339, (1,))[0], "integers")
  return f"{len(bits)} {sort} of {bits[0]} bits" if bits else ""
