"""Encoded images, decoded as soon as the size of the result is known.

formats.py has the formats, and the frame of several; levels.py the rules for
colours, transparency and numbers other than 8 bits. Orientation is what Pillow
leaves of it, as in the loaders of CLIP and OpenCLIP: EXIF's is ignored, and so
is AVIF's; TIFF's tag and HEIC's rotation are obeyed in decoding. A file that
ends too early, claims more than MAX_PIXELS or is no image is a fault of its
example (faults.ExampleError).

JPEGs are decoded by simplejpeg: Pillow's pixels, to the bit, in two thirds of
its time, as they are not copied out of Pillow's own memory. For a result so
small that the difference is slight, they are decoded at a half or a quarter of
their size (`_SCALED_MARGIN`).
"""

import ctypes
import functools
import math
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

from input_pipeline import faults
from input_pipeline.images import formats, levels

try:
  import cykooz_resizer
except ModuleNotFoundError:  # no wheel for this machine: Pillow resizes
  cykooz_resizer = None

# A file of a few kilobytes can claim any size; 64 megapixels are 192 MB.
MAX_PIXELS = 64_000_000

# Pillow's filters are antialiased: their support grows with the shrinking
# factor, as in torchvision on Pillow's images and in transformers.
INTERPOLATIONS = {
  "bilinear": Image.Resampling.BILINEAR,
  "bicubic": Image.Resampling.BICUBIC,
}
# All of Pillow's, which image protocols of published models may name.
FILTERS = {choice.name.lower(): choice for choice in Image.Resampling}

# A JPEG is decoded at m eighths of its size if the crop then still has this
# many times the pixels of the result on each side. Measured on photos of 300 x
# 225 to 1600 x 1200 against full decoding and Pillow's bicubic, the worst mean
# difference of a photo was 1.3 of 255 levels at 2, 2.1 at 1.5; at one eighth it
# was 3.3 for any margin. Eighths other than these have no SIMD code in
# libjpeg-turbo and are slower than all 8.
_SCALED_MARGIN = 2.0
_EIGHTHS = (2, 4)

# Thresholds of glibc's malloc in bytes. By default it returns freed blocks
# above 128 kB to the kernel, and every image then pays for a hundred or so page
# faults: a third to a half of its time.
_KEPT_BLOCK = 1 << 25
_KEPT_MEMORY = 1 << 26
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # constants of glibc's malloc.h

_JPEG_START = b"\xff\xd8\xff"


class Box(NamedTuple):
  """Part of an image, in its pixels; fractions are allowed."""

  left: float
  top: float
  right: float
  bottom: float

  def scaled(self, factor: float) -> "Box":
    return Box(*(side * factor for side in self))


def part_of_resized(
  shape: tuple[int, int],
  sides: tuple[int, int],
  corner: tuple[int, int],
  size: int,
) -> Box:
  """Return the part of an image that a square of its resized form shows.

  Args:
    shape: height and width of the image.
    sides: height and width of its resized form.
    corner: top and left of the square.
    size: side of the square.
  """
  down, across = shape[0] / sides[0], shape[1] / sides[1]
  top, left = corner
  return Box(
    *(left * across, top * down),
    *((left + size) * across, (top + size) * down),
  )


class Picture:
  """Image of a known size that is decoded when its pixels are read.

  Attributes:
    height, width: size in pixels.
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

    It is antialiased and does not depend on pixels outside the box.

    Args:
      box: part of this image in its pixels, not empty, wholly inside.
      height, width: size of the result in pixels.
      interpolation: key of INTERPOLATIONS.
    """
    pixels = self._pixels
    if pixels is None:
      eighths = _smallest_scale(box, height, width)
      if eighths == 8:
        pixels = self.pixels()
      else:
        pixels = _decode_jpeg(self._data, self.height, self.width, eighths)
        # Pillow, the fallback for broken JPEGs, decodes at full size.
        if pixels.shape[:2] != (self.height, self.width):
          # Not the ratio of sides: they are rounded up, by up to half a pixel.
          box = box.scaled(eighths / 8)
    return _resize(pixels, box, height, width, interpolation)


def open_picture(data: bytes) -> Picture:
  """Return an image; the pixels of a JPEG are not decoded yet.

  Raises faults.ExampleError for data that is no image or too large; an image
  that is cut short may raise it only when it is decoded.
  """
  _keep_freed_memory()
  size = _jpeg_size(data)
  if size is not None:
    _check_size(*size)
    return Picture(data, *size, None)
  return of_pixels(_decode(data))


def of_pixels(pixels: np.ndarray) -> Picture:
  """Return the picture of an image that is decoded, uint8 [Y, X, 3]."""
  height, width, _ = pixels.shape
  return Picture(b"", height, width, pixels)


def size(data: bytes) -> tuple[int, int]:
  """Return height and width, by an image's first bytes.

  Raises faults.ExampleError as `open_picture` does; an image that is cut short
  goes unnoticed.
  """
  sides = _jpeg_size(data)
  if sides is None:
    with formats.opened(data) as image:
      sides = image.height, image.width
  _check_size(*sides)
  return sides


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
  """Return height and width of a JPEG that simplejpeg reads, or None."""
  if not data.startswith(_JPEG_START):
    return None
  try:
    height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
  except ValueError:
    return None  # Pillow may read it, or raises the error to report
  # CMYK and YCCK are left to Pillow.
  is_read = colours in ("YCbCr", "RGB", "Gray")
  return (int(height), int(width)) if is_read else None


@functools.cache
def _keep_freed_memory() -> None:
  """Let this process keep freed memory, which the next image will reuse."""
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
  if mallopt is not None:  # only glibc has it
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
    # simplejpeg is stricter than Pillow, which reads past an error if the file
    # has its end marker. Other projects train on Pillow's result.
    pixels = _decode(data)
  pixels.flags.writeable = False
  return pixels


def _decode(data: bytes) -> np.ndarray:
  """Decode with Pillow: any format, always at full size."""
  with formats.opened(data) as image:
    _check_size(image.height, image.width)
    return np.asarray(levels.to_rgb(image))


def _check_size(height: int, width: int) -> None:
  if height * width > MAX_PIXELS:
    raise faults.ExampleError(
      "image_too_large",
      f"image of {width} x {height} = {height * width} pixels; at most "
      f"{MAX_PIXELS} are decoded",
    )


def _smallest_scale(box: Box, height: int, width: int) -> int:
  """Return the eighths of its size that a JPEG may be decoded at."""
  wanted = _SCALED_MARGIN * max(
    height / (box.bottom - box.top), width / (box.right - box.left)
  )
  return next((m for m in _EIGHTHS if m / 8 >= wanted), 8)


def _resize(
  pixels: np.ndarray, box: Box, height: int, width: int, interpolation: str
) -> np.ndarray:
  # Cut to whole pixels first, so that the filter reads none beyond them.
  left, top = math.floor(box.left), math.floor(box.top)
  right, bottom = math.ceil(box.right), math.ceil(box.bottom)
  pixels = pixels[top:bottom, left:right]
  high, wide = pixels.shape[:2]
  # Rounding may move the box's edge just outside.
  box = Box(
    max(box.left - left, 0.0),
    max(box.top - top, 0.0),
    min(box.right - left, wide),
    min(box.bottom - top, high),
  )
  if box == (0, 0, width, height):
    return pixels
  shrinks = box.right - box.left >= width and box.bottom - box.top >= height
  # cykooz_resizer differs from Pillow by up to 16 levels when it enlarges, by
  # about 1 when it shrinks.
  if cykooz_resizer is not None and shrinks:
    return _resize_fast(pixels, box, height, width, interpolation)
  resized = Image.fromarray(np.ascontiguousarray(pixels)).resize(
    (width, height), INTERPOLATIONS[interpolation], box=box
  )
  return np.asarray(resized)


def _resize_fast(
  pixels: np.ndarray, box: Box, height: int, width: int, interpolation: str
) -> np.ndarray:
  """Resize with Pillow's kernels, by SIMD instructions."""
  assert cykooz_resizer is not None
  filters = cykooz_resizer.FilterType
  # Catmull and Rom's spline is Pillow's bicubic kernel, with a = -0.5.
  kernel = (
    filters.catmull_rom if interpolation == "bicubic" else filters.bilinear
  )
  kind = cykooz_resizer.PixelType.U8x3
  high, wide = pixels.shape[:2]
  source = cykooz_resizer.ImageData(wide, high, kind, pixels.tobytes())
  target = cykooz_resizer.ImageData(width, height, kind)
  # One resizer for each call: two threads cannot share one.
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
