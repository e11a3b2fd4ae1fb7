"""Levels of any image that Pillow opens, as 8 bits of red, green and blue.

- Palettes, grey, YCbCr and CMYK (YCCK too, by Pillow's plain formula) become
  RGB: colour profiles are never applied.
- Transparency is composited on white.
- 16-bit values keep their upper 8 bits, and 12-bit ones theirs.
- Floats are levels from 0 (black) to 1 (white), times 255 and rounded.
- No other number says which value is white: an image of other floats, NaN,
  integers of 32 bits or with signs is an error, never clipped.
- A TIFF in planes is an error where Pillow 12 reads it wrongly: as chunks of 8
  bits, without its inversion, or without its alpha.
"""

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin

WHITE = (255, 255, 255)

# Tags of TIFF, and those of their values that are not the default.
_BITS, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 258, 262, 284, 339
_WHITE_IS_ZERO = 0
_PLANES = 2
_SIGNED = 2
# Encoding of a PNG's levels -> factor to the levels that Pillow returns, which
# leaves the transparent level as it is stored.
_PNG_FACTORS = {"L;2": 85, "L;4": 17, "RGB;16B": 1 / 256}


def to_rgb(image: Image.Image) -> Image.Image:
  """Return an image in mode RGB; raises ValueError as the module says."""
  if isinstance(image, TiffImagePlugin.TiffImageFile):
    _check_planes(image)
    _mend_byte_order(image)
  if image.mode in ("I", "F") or image.mode.startswith("I;"):
    return Image.fromarray(_grey(image)).convert("RGB")
  if _tag(image, _SAMPLE_FORMAT, 1) == _SIGNED:
    raise ValueError(_unscaled("of integers with signs"))
  if image.has_transparency_data:
    _scale_transparent_level(image)
    image = image.convert("RGBA")
    # The slow blend is skipped for the many files whose alpha is 255
    # throughout.
    if np.asarray(image)[..., 3].min() < 255:
      canvas = Image.new("RGBA", image.size, (*WHITE, 255))
      image = Image.alpha_composite(canvas, image)
  return image.convert("RGB")


def _grey(image: Image.Image) -> np.ndarray:
  """Return uint8 [Y, X] of an image with one number a pixel."""
  values_YX = np.asarray(image)
  if image.mode == "F":
    if not np.isfinite(values_YX).all():
      raise ValueError("it has pixels that are NaN or infinite")
    low, high = float(values_YX.min()), float(values_YX.max())
    if low < 0 or high > 1:
      raise ValueError(_unscaled(f"of floats from {low:g} to {high:g}"))
    levels_YX = np.rint(values_YX * 255)
  else:
    # Pillow extends PGM's numbers to 16 bits, in the mode of 32.
    if image.mode == "I" and image.format != "PPM":
      is_signed = _tag(image, _SAMPLE_FORMAT, 1) == _SIGNED
      kind = "integers with signs" if is_signed else "32-bit integers"
      raise ValueError(_unscaled(f"of {kind}"))
    # Pillow itself clips 16 bits to 8 instead of scaling them.
    levels_YX = values_YX >> (_tag(image, _BITS, 16) - 8)
  levels_YX = levels_YX.astype(np.uint8)
  if _tag(image, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO:
    levels_YX = 255 - levels_YX
  if "transparency" in image.info:
    levels_YX[values_YX == image.info["transparency"]] = 255
  return levels_YX


def _unscaled(numbers: str) -> str:
  return (
    f"it is {numbers}, which do not say what is white; expected 8 or 16 bits,"
    " or floats from 0 to 1"
  )


def _tag(image: Image.Image, number: int, default: int) -> int:
  """Return the first value of a TIFF's tag; the default for other formats."""
  if not isinstance(image, TiffImagePlugin.TiffImageFile):
    return default
  value = image.tag_v2.get(number, default)
  return value[0] if isinstance(value, tuple) else value


def _check_planes(image: TiffImagePlugin.TiffImageFile) -> None:
  """Raise ValueError for planes that Pillow reads as other pixels."""
  if _tag(image, _PLANAR, 1) != _PLANES:
    return
  if image.tile[0].codec_name == "libtiff":
    is_read = image.mode not in ("LA", "La", "LAB")
  else:  # Pillow's own decoder takes the first letters of a raw mode
    is_plain = image.mode == "L" and _tag(image, _PHOTOMETRIC, 1) != 0
    is_read = is_plain or image.mode in ("RGB", "RGBA", "CMYK")
    is_read = is_read and _tag(image, _BITS, 1) == 8
  if not is_read:
    bits = _tag(image, _BITS, 1)
    raise ValueError(
      f"planes of {bits} bits, in mode {image.mode}, are not read; expected "
      "each pixel's numbers together, as `tiffcp -p contig` stores them"
    )


def _mend_byte_order(image: TiffImagePlugin.TiffImageFile) -> None:
  """Tell Pillow that libtiff has put floats in this machine's byte order."""
  if image.mode == "F" and image.tile[0].codec_name == "libtiff":
    image.tile = [
      tile._replace(args=("F;32NF", *(tile.args or ())[1:]))
      for tile in image.tile
    ]


def _scale_transparent_level(image: Image.Image) -> None:
  """Put a PNG's transparent level on the scale of Pillow's pixels."""
  level = image.info.get("transparency")
  if not isinstance(image, PngImagePlugin.PngImageFile) or level is None:
    return
  factor = _PNG_FACTORS.get(str(image.tile[0].args), 1)
  if isinstance(level, tuple):
    image.info["transparency"] = tuple(int(x * factor) for x in level)
  elif isinstance(level, int):
    image.info["transparency"] = int(level * factor)
