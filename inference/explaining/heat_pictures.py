"""Pictures of heat maps: colour over a grey picture, and a legend of the scale.

Colours are those of "inferno" (Smith and van der Walt, 2015), whose lightness
rises evenly with the value. They cover a grey copy of the picture, its contrast
halved, by the same share everywhere, in the legend too.
"""

import dataclasses
import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw

from inference import contact_sheet

COLOURS = "inferno"
# Share of the colour in a pixel; the rest is the grey picture.
SHARE = 0.65
# Luma of ITU-R BT.601, as Pillow's "L" has it.
_LUMA = np.array([0.299, 0.587, 0.114])
# Grey of black and of white.
_DARK, _LIGHT = 64, 192
# Digits behind the point in a legend; smaller values have an exponent.
_MOST_DIGITS = 7

# Pixels.
_LEAST_SIDE = 256
_MARGIN = 24
_GAP = 16
_LEGEND = 18
_LEGEND_TEXT = 96
_TITLE_SIZE = 20
_SMALL_SIZE = 14
_LINE = 26
_PAGE = "#f3f2ee"
_INK = "#1d1c1a"
_FAINT = "#77746c"


@dataclasses.dataclass(frozen=True)
class Scale:
  """Values of the first and the last colour of a map.

  Attributes:
    low: value of the first colour, and of all below it.
    high: value of the last colour; `low` where there is none above it.
  """

  low: float
  high: float

  def shares(self, map_YX: np.ndarray) -> np.ndarray:
    """Return the position of each value between low and high, 0 to 1."""
    if not self.high > self.low:
      return np.zeros(map_YX.shape)
    return np.clip((map_YX - self.low) / (self.high - self.low), 0, 1)

  def marks(self) -> list[tuple[float, str]]:
    """List positions from 0 to 1 on the legend, and the values there."""
    if not self.high > self.low:
      return [(0.0, f"{self.low:.3g} everywhere")]
    span = self.high - self.low
    # As many digits as tell the ends apart, whatever their size.
    digits = 2 - math.floor(math.log10(span))
    form = f".{max(digits, 0)}f" if digits <= _MOST_DIGITS else ".3e"
    return [(at, f"{self.low + at * span:{form}}") for at in (0.0, 0.5, 1.0)]


def scale_of(map_YX: np.ndarray, *, from_zero: bool) -> Scale:
  """Return the scale of a map: from 0, or its lowest value, to its highest."""
  low = 0.0 if from_zero else float(map_YX.min())
  return Scale(low, max(float(map_YX.max()), low))


def overlay(
  image_YXC: np.ndarray, map_YX: np.ndarray, scale: Scale
) -> np.ndarray:
  """Return a picture with its map over it: uint8 [H, W, 3].

  Args:
    image_YXC: uint8 [H, W, 3].
    map_YX: values of its pixels.
    scale: values of the colours.
  """
  luma_YX1 = (image_YXC @ _LUMA)[..., None] / 255
  grey_YX1 = _DARK + (_LIGHT - _DARK) * luma_YX1
  return _blended(scale.shares(map_YX), grey_YX1)


def legend(num: int) -> np.ndarray:
  """Return the colours from low to high over a middle grey: uint8 [num, 3]."""
  return _blended(
    np.linspace(0, 1, num), np.full((num, 1), (_DARK + _LIGHT) / 2)
  )


def _blended(share: np.ndarray, grey: np.ndarray) -> np.ndarray:
  colour = 255 * mpl.colormaps[COLOURS](share)[..., :3]
  mixed = SHARE * colour + (1 - SHARE) * grey
  return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def pair(
  image_YXC: np.ndarray, map_YX: np.ndarray, scale: Scale
) -> tuple[Image.Image, Image.Image]:
  """Return the picture and the picture with its map, large enough to look at.

  Args:
    image_YXC: uint8 [H, W, 3], as the model takes it.
    map_YX: values of its pixels.
    scale: values of the colours.
  """
  factor = max(1, math.ceil(_LEAST_SIDE / min(map_YX.shape)))
  size = map_YX.shape[1] * factor, map_YX.shape[0] * factor
  plain = Image.fromarray(image_YXC).resize(size, Image.Resampling.LANCZOS)
  heat = Image.fromarray(np.asarray(map_YX, np.float32))
  large_YX = np.asarray(heat.resize(size, Image.Resampling.BILINEAR))
  heated = Image.fromarray(overlay(np.asarray(plain), large_YX, scale))
  return plain, heated


def sheet(
  image_YXC: np.ndarray,
  map_YX: np.ndarray,
  scale: Scale,
  *,
  title: str,
  lines: Sequence[str],
) -> Image.Image:
  """Draw the picture, the picture with its map, and the legend, in a row.

  Args:
    image_YXC: uint8 [H, W, 3], as the model takes it.
    map_YX: values of its pixels.
    scale: values of the colours.
    title: text that is explained.
    lines: facts below it.
  """
  plain, heated = pair(image_YXC, map_YX, scale)
  size = plain.size
  width = 2 * _MARGIN + 2 * (size[0] + _GAP) + _LEGEND + _LEGEND_TEXT
  font = contact_sheet.font_of(_TITLE_SIZE, title)
  titles = contact_sheet.wrap(title, font, width - 2 * _MARGIN, 2)
  small = contact_sheet.font_of(_SMALL_SIZE, "".join(lines))
  wrapped = [
    part
    for line in lines
    for part in contact_sheet.wrap(line, small, width - 2 * _MARGIN, 3)
  ]
  top = _MARGIN + _LINE * len(titles) + 20 * len(wrapped) + _GAP
  page = Image.new("RGB", (width, top + size[1] + _MARGIN), _PAGE)
  pen = ImageDraw.Draw(page)
  y = _MARGIN
  for line in titles:
    pen.text((_MARGIN, y), line, fill=_INK, font=font)
    y += _LINE
  for line in wrapped:
    pen.text((_MARGIN, y), line, fill=_FAINT, font=small)
    y += 20
  page.paste(plain, (_MARGIN, top))
  x = _MARGIN + size[0] + _GAP
  page.paste(heated, (x, top))
  x += size[0] + _GAP
  column_YXC = np.repeat(legend(size[1])[::-1, None], _LEGEND, axis=1)
  page.paste(Image.fromarray(column_YXC), (x, top))
  number = contact_sheet.font_of(_SMALL_SIZE)
  for at, text in scale.marks():
    y = top + round((1 - at) * (size[1] - 1))
    anchor = {0.0: "ls", 1.0: "la"}.get(at, "lm")
    pen.line((x + _LEGEND, y, x + _LEGEND + 4, y), fill=_FAINT)
    pen.text((x + _LEGEND + 8, y), text, fill=_INK, font=number, anchor=anchor)
  return page
