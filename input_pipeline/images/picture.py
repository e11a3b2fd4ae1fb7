"""Encoded images, decoded once it is known how small they will be.

Rules for what a file may be:
- JPEG, PNG, WebP, GIF, BMP or TIFF; several frames (GIF, APNG, animated WebP,
  TIFF, MPO): the first.
- EXIF orientation is ignored, as by the loaders of CLIP and OpenCLIP.
- Palettes, grey and CMYK (YCCK too, by Pillow's plain formula: no profile of
  colours is applied, to any image) become RGB. Of 16 bits the upper 8 are
  kept.
- Transparency is composited on white.
- A file that ends too early, claims more than MAX_PIXELS or is no image is a
  fault of its example (faults.ExampleError).

JPEGs are decoded through simplejpeg: Pillow's pixels, to the bit, in two thirds
of its time, as they need not come out of Pillow's own memory. Where the result
is so small that it hardly makes a difference, they are at a half or a quarter
of their size (`_SCALED_MARGIN`).
"""

import contextlib
import ctypes
import functools
import io
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

from input_pipeline import faults

try:
  import cykooz_resizer
except ModuleNotFoundError:  # no wheel for this machine: Pillow does it
  cykooz_resizer = None

# A file of a few kilobytes can claim any size; 64 megapixels are 192 MB.
MAX_PIXELS = 64_000_000

# Of Pillow's 43 formats those of pictures on the web and from cameras. Others
# run programs (EPS: Ghostscript) or have seen few hostile files.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

WHITE = (255, 255, 255)

# Pillow's filters look at as many pixels as the image shrinks by, as those of
# torchvision on Pillow's images and of transformers do.
INTERPOLATIONS = {
  "bilinear": Image.Resampling.BILINEAR,
  "bicubic": Image.Resampling.BICUBIC,
}

# A JPEG is decoded at m eighths of its size if what is cut out still has this
# many times the pixels of the result on each side. Measured on photos of 300 x
# 225 to 1600 x 1200 against full decoding and Pillow's bicubic, the worst mean
# difference of a photo was 1.3 of 255 levels at 2, 2.1 at 1.5; at one eighth
# 3.3 whatever the margin. Other eighths than these have no SIMD code in
# libjpeg-turbo: slower than all 8.
_SCALED_MARGIN = 2.0
_EIGHTHS = (2, 4)

# Bytes. glibc gives freed blocks above 128 kB back to the kernel, and every
# image then pays for some hundred page faults: a third to a half of its time.
_KEPT_BLOCK = 1 << 25
_KEPT_MEMORY = 1 << 26
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h

_JPEG_START = b"\xff\xd8\xff"


class Box(NamedTuple):
  """A part of an image, in its pixels; fractions are allowed."""

  left: float
  top: float
  right: float
  bottom: float

  def scaled(self, factor: float) -> "Box":
    return Box(*(side * factor for side in self))


class Picture:
  """An image of a known size that is decoded when it is asked for.

  Attributes:
    height, width: in pixels.
  """

  def __init__(
    self, data: bytes, height: int, width: int, pixels: np.ndarray | None
  ):
    self.height = height
    self.width = width
    self._data = data
    self._pixels = pixels  # None: a JPEG that can be decoded at any scale

  def pixels(self) -> np.ndarray:
    """Return the whole image, uint8 [Y, X, 3], read-only."""
    if self._pixels is None:
      self._pixels = _decode_jpeg(self._data, self.height, self.width, 8)
    return self._pixels

  def resized(
    self,
    box: Box,
    height: int,
    width: int,
    interpolation: str = "bicubic",
  ) -> np.ndarray:
    """Return a part of the image at another size, uint8 [height, width, 3].

    With antialiasing, and as if nothing were beyond the pixels of the box.

    Args:
      box: of this image's pixels, not empty, nothing of it outside.
      height, width: of the result in pixels.
      interpolation: key of INTERPOLATIONS.
    """
    pixels = self._pixels
    if pixels is None:
      eighths = _smallest_scale(box, height, width)
      if eighths == 8:
        pixels = self.pixels()
      else:
        pixels = _decode_jpeg(self._data, self.height, self.width, eighths)
        if pixels.shape[:2] != (self.height, self.width):  # Pillow's is whole
          # Not by the sides, which are rounded up: half a pixel is too much.
          box = box.scaled(eighths / 8)
    return _resize(pixels, box, height, width, interpolation)


def open_picture(data: bytes) -> Picture:
  """Return an image, of which a JPEG's pixels are not decoded yet.

  Raises faults.ExampleError for what is no image or too large; one that is cut
  short may raise it only when it is decoded.
  """
  _keep_freed_memory()
  size = _jpeg_size(data)
  if size is not None:
    _check_size(*size)
    return Picture(data, *size, None)
  pixels = _decode(data)
  height, width, _ = pixels.shape
  return Picture(data, height, width, pixels)


def size(data: bytes) -> tuple[int, int]:
  """Return height and width, by an image's first bytes.

  Raises faults.ExampleError as `open_picture` does; one that is cut short goes
  unnoticed.
  """
  found = _jpeg_size(data)
  if found is None:
    with _opened(data) as image:
      found = image.height, image.width
  _check_size(*found)
  return found


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
  """Return height and width of a JPEG that simplejpeg reads, or None."""
  if not data.startswith(_JPEG_START):
    return None
  try:
    height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
  except ValueError:
    return None  # Pillow may know better, or say what is wrong
  # CMYK and YCCK are left to Pillow.
  is_read = colours in ("YCbCr", "RGB", "Gray")
  return (int(height), int(width)) if is_read else None


@functools.cache
def _keep_freed_memory() -> None:
  """Let this process keep what its images will need again at once."""
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
  if mallopt is not None:  # as elsewhere than with glibc
    mallopt(_M_MMAP_THRESHOLD, _KEPT_BLOCK)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_MEMORY)


def _decode_jpeg(
  data: bytes, height: int, width: int, eighths: int
) -> np.ndarray:
  try:
    pixels = simplejpeg.decode_jpeg(
      data,
      "RGB",
      min_height=-(-height * eighths // 8),
      min_width=-(-width * eighths // 8),
    )
  except ValueError:
    # Stricter than Pillow, which reads on over an error where the file has its
    # end: what it makes of that is what others train on.
    pixels = _decode(data)
  pixels.flags.writeable = False
  return pixels


def _decode(data: bytes) -> np.ndarray:
  """Decode with Pillow: any format, always at full size."""
  with _opened(data) as image:
    _check_size(image.height, image.width)
    return np.asarray(_to_rgb(image))


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
  """Yield an image of Pillow's; what it raises becomes a fault."""
  try:
    yield Image.open(io.BytesIO(data), formats=_FORMATS)
  except faults.ExampleError:
    raise
  except Image.DecompressionBombError as error:  # twice what Pillow warns of
    raise faults.ExampleError("image_too_large", str(error)) from error
  # Pillow's parsers of odd files raise more than they say, ValueError and
  # struct.error among them; whatever it is, the file is no image to us.
  except Exception as error:
    raise faults.ExampleError(
      "image_broken", f"cannot decode image of {len(data)} bytes: {error}"
    ) from error


def _check_size(height: int, width: int) -> None:
  if height * width > MAX_PIXELS:
    raise faults.ExampleError(
      "image_too_large",
      f"image of {width} x {height} = {height * width} pixels; at most "
      f"{MAX_PIXELS} are decoded",
    )


def _to_rgb(image: Image.Image) -> Image.Image:
  if image.mode.startswith("I;16"):
    # Pillow clips 16 bits to 8 instead of scaling them.
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert(
      "RGB"
    )
  if image.has_transparency_data:
    image = image.convert("RGBA")
    # Skips the slow blend for the many files with an alpha of 255 throughout.
    if np.asarray(image)[..., 3].min() < 255:
      canvas = Image.new("RGBA", image.size, (*WHITE, 255))
      image = Image.alpha_composite(canvas, image)
  return image.convert("RGB")


def _smallest_scale(box: Box, height: int, width: int) -> int:
  """Return the eighths of its size that a JPEG may be decoded at."""
  wanted = _SCALED_MARGIN * max(
    height / (box.bottom - box.top), width / (box.right - box.left)
  )
  return next((m for m in _EIGHTHS if m / 8 >= wanted), 8)


def _resize(
  pixels: np.ndarray, box: Box, height: int, width: int, interpolation: str
) -> np.ndarray:
  # Whole pixels first: what is beyond them is not to be looked at.
  left, top = math.floor(box.left), math.floor(box.top)
  right, bottom = math.ceil(box.right), math.ceil(box.bottom)
  pixels = pixels[top:bottom, left:right]
  high, wide = pixels.shape[:2]
  # Rounding may leave a box a hair outside.
  box = Box(
    max(box.left - left, 0.0),
    max(box.top - top, 0.0),
    min(box.right - left, wide),
    min(box.bottom - top, high),
  )
  if box == (0, 0, width, height):
    return pixels
  shrinks = box.right - box.left >= width and box.bottom - box.top >= height
  # Enlarging, it is up to 16 levels away from Pillow; shrinking, about 1.
  if cykooz_resizer is not None and shrinks:
    return _resize_fast(pixels, box, height, width, interpolation)
  resized = Image.fromarray(np.ascontiguousarray(pixels)).resize(
    (width, height), INTERPOLATIONS[interpolation], box=box
  )
  return np.asarray(resized)


def _resize_fast(
  pixels: np.ndarray, box: Box, height: int, width: int, interpolation: str
) -> np.ndarray:
  """Do what Pillow does (the same kernels) with SIMD instructions."""
  assert cykooz_resizer is not None
  filters = cykooz_resizer.FilterType
  # Catmull and Rom's spline is the bicubic kernel with a = -0.5, Pillow's.
  kernel = (
    filters.catmull_rom if interpolation == "bicubic" else filters.bilinear
  )
  kind = cykooz_resizer.PixelType.U8x3
  high, wide = pixels.shape[:2]
  source = cykooz_resizer.ImageData(wide, high, kind, pixels.tobytes())
  target = cykooz_resizer.ImageData(width, height, kind)
  # A resizer of its own: one that is shared cannot be used by two threads.
  cykooz_resizer.Resizer().resize(
    source,
    target,
    cykooz_resizer.ResizeOptions(
      resize_alg=cykooz_resizer.ResizeAlg.convolution(kernel),
      crop_box=cykooz_resizer.CropBox(
        box.left, box.top, box.right - box.left, box.bottom - box.top
      ),
      use_alpha=False,
    ),
  )
  return np.frombuffer(target.get_buffer(), np.uint8).reshape(height, width, 3)
