"""A PNG of search results: a grid of pictures with rank, name and score."""

import bisect
import dataclasses
import io
import os
import pathlib
from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from runtime.storage import whole_files

# Pixels.
_PICTURE = 192
_PADDING = 14  # inside a card's edge
_GAP = 18  # between cards
_MARGIN = 36
_NAME_SIZE = 17
_SMALL_SIZE = 14
_TITLE_SIZE = 30
_TITLE_LINE = 42
_LINE = 22
_NAME_LINES = 2

_PAGE = "#f3f2ee"
_CARD = "#ffffff"
_EDGE = "#dedcd4"
_INK = "#1d1c1a"
_FAINT = "#77746c"
_ACCENT = "#2f6f4f"

_CARD_WIDTH = _PICTURE + 2 * _PADDING
_CARD_HEIGHT = _PICTURE + 3 * _PADDING + (_NAME_LINES + 1) * _LINE


@dataclasses.dataclass(frozen=True)
class Match:
  """A picture that a search returned."""

  rank: int  # 1 is best
  score: float  # cosine similarity with the query
  name: str
  key: str
  split: str
  image_YXC: np.ndarray  # uint8


def write_contact_sheet(
  path: str | os.PathLike,
  query: str,
  matches: Sequence[Match],
  num_columns: int = 4,
) -> None:
  """Write a PNG whole or not at all."""
  if not matches:
    raise ValueError("no matches to draw")
  buffer = io.BytesIO()
  draw(query, matches, num_columns).save(buffer, format="PNG", optimize=True)
  whole_files.write(path, buffer.getvalue())


def draw(query: str, matches: Sequence[Match], num_columns: int) -> Image.Image:
  """Draw the sheet: the query as title, then one card a match, row by row."""
  num_columns = min(num_columns, len(matches))
  num_rows = -(-len(matches) // num_columns)
  # A title of a few words fits over two cards.
  width = max(2, num_columns) * (_CARD_WIDTH + _GAP) - _GAP + 2 * _MARGIN
  title_font = font_of(_TITLE_SIZE, query)
  title = wrap(query, title_font, width - 2 * _MARGIN, 2)
  top = _MARGIN + len(title) * _TITLE_LINE + _LINE + _GAP
  height = top + num_rows * (_CARD_HEIGHT + _GAP) - _GAP + _MARGIN

  sheet = Image.new("RGB", (width, height), _PAGE)
  pen = ImageDraw.Draw(sheet)
  for i, line in enumerate(title):
    corner = (_MARGIN, _MARGIN + i * _TITLE_LINE)
    pen.text(corner, line, fill=_INK, font=title_font)
  noun = "match" if len(matches) == 1 else "matches"
  pen.text(
    (_MARGIN, top - _LINE - _GAP),
    f"Best {len(matches)} {noun}, score is cosine similarity",
    fill=_FAINT,
    font=font_of(_SMALL_SIZE),
  )
  for i, match in enumerate(matches):
    row, column = divmod(i, num_columns)
    x = _MARGIN + column * (_CARD_WIDTH + _GAP)
    y = top + row * (_CARD_HEIGHT + _GAP)
    _draw_card(sheet, pen, x, y, match)
  return sheet


def wrap(
  text: str,
  font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
  width: float,
  num_lines: int,
) -> list[str]:
  """Break text at spaces into lines of `width` pixels; the rest becomes "…"."""
  lines: list[str] = []
  rest = " ".join(text.split())
  while rest and len(lines) < num_lines:
    is_last = len(lines) == num_lines - 1

    def is_too_wide(end: int, rest=rest, is_last=is_last) -> bool:
      return font.getlength(_line(rest, end, is_last)) > width

    # The first letter always goes in, or the loop would not end.
    longest = min(len(rest), int(width))
    end = longest
    if is_too_wide(longest) or longest < len(rest):
      end = bisect.bisect_left(range(2, longest + 1), True, key=is_too_wide) + 1
    if end < len(rest) and not is_last:
      # Break between words, or else between letters (long words, and
      # languages written without spaces).
      space = rest.rfind(" ", 0, end + 1)
      end = space if space > 0 else end
    lines.append(_line(rest, end, is_last))
    rest = rest[end:].lstrip()
  return lines or [""]


def _line(text: str, end: int, is_last: bool) -> str:
  return text[:end].rstrip() + ("…" if is_last and end < len(text) else "")


def _draw_card(
  sheet: Image.Image,
  pen: ImageDraw.ImageDraw,
  x: int,
  y: int,
  match: Match,
) -> None:
  box = (x, y, x + _CARD_WIDTH, y + _CARD_HEIGHT)
  pen.rounded_rectangle(box, radius=10, fill=_CARD, outline=_EDGE)
  picture = Image.fromarray(match.image_YXC)
  # Smooth: a 64-pixel drawing enlarged without filter shows stairs.
  picture = picture.resize((_PICTURE, _PICTURE), Image.Resampling.LANCZOS)
  sheet.paste(picture, (x + _PADDING, y + _PADDING))

  x += _PADDING
  y += _PICTURE + 2 * _PADDING
  small = font_of(_SMALL_SIZE)
  font = font_of(_NAME_SIZE, match.name)
  for i, line in enumerate(wrap(match.name, font, _PICTURE, _NAME_LINES)):
    pen.text((x, y + i * _LINE), line, fill=_INK, font=font)
  y += _NAME_LINES * _LINE + 4
  pen.text((x, y), f"#{match.rank}", fill=_ACCENT, font=small)
  pen.text((x + 36, y), match.split.replace("_", " "), fill=_FAINT, font=small)
  score = f"{match.score:.3f}"
  pen.text((x + _PICTURE, y), score, fill=_INK, font=small, anchor="ra")


def font_of(
  size: int, text: str = ""
) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
  """Return a font that has the letters of a text, but for CJK."""
  # Pillow's own font is the nicer one but has only Latin letters; the one that
  # comes with matplotlib also has Cyrillic, Greek, Arabic and more (no CJK).
  if all(ord(letter) < 0x180 or letter in "‘’“”–—…" for letter in text):
    return ImageFont.load_default(size)
  fonts = pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf")
  return ImageFont.truetype(fonts / "DejaVuSans.ttf", size)
