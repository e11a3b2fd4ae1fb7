"""A PNG of dense predictions: image, true map and predicted map in a row."""

import io
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from evaluators.dense import dense_set, maps, probe
from evaluators.metrics import dense as dense_metrics
from inference import contact_sheet
from input_pipeline.images import image_ops
from input_pipeline.storage import files
from runtime.storage import whole_files

# Pixels.
_PICTURE, _GAP, _MARGIN = 192, 12, 36
_ROW = _PICTURE + 30
_TITLE_SIZE, _SMALL_SIZE, _LINE, _SWATCH = 24, 14, 22, 14
_TITLE_LINE = 36

_PAGE, _INK, _FAINT = "#f3f2ee", "#1d1c1a", "#77746c"
# Colour of pixels of no class, and without a measurement.
_NONE = (222, 220, 212)
_HEADS = ("image", "true", "predicted")
# Classes that the legend names, those of the most pixels first.
_NUM_NAMED = 12
# Colour map of depths: near is light.
_DEPTH_COLOURS = "viridis_r"


def write(
  path: str | os.PathLike,
  opened: dense_set.DenseSet,
  record: Mapping[str, Any],
  shown: Sequence[probe.Prediction],
) -> None:
  """Write a PNG whole or not at all.

  Args:
    path: file to write.
    opened: the set.
    record: its figures, for the title.
    shown: test images, two in a row.
  """
  buffer = io.BytesIO()
  draw(opened, record, shown).save(buffer, format="PNG", optimize=True)
  whole_files.write(path, buffer.getvalue())


def draw(
  opened: dense_set.DenseSet,
  record: Mapping[str, Any],
  shown: Sequence[probe.Prediction],
) -> Image.Image:
  """Draw the sheet: title, legend, then two test images a row."""
  num_columns = min(2, len(shown))
  cell = len(_HEADS) * (_PICTURE + _GAP) + _GAP
  width = max(num_columns, 1) * cell + 2 * _MARGIN
  legend = _legend(opened, shown)
  names = [name for name, _ in legend]
  lines = _placed_names(names, width - 2 * _MARGIN)
  top = (
    _MARGIN + _TITLE_LINE + (lines[-1][1] + 1 if lines else 0) * _LINE + _LINE
  )
  num_rows = -(-len(shown) // num_columns) if shown else 0
  sheet = Image.new("RGB", (width, top + num_rows * _ROW + _MARGIN), _PAGE)
  pen = ImageDraw.Draw(sheet)
  small = contact_sheet.font_of(_SMALL_SIZE)
  title = f"{opened.name}: {_figures(record)}"
  font = contact_sheet.font_of(_TITLE_SIZE, title)
  (line,) = contact_sheet.wrap(title, font, width - 2 * _MARGIN, 1)
  pen.text((_MARGIN, _MARGIN), line, fill=_INK, font=font)
  for (name, colour), (x, row) in zip(legend, lines, strict=True):
    corner = _MARGIN + x, _MARGIN + _TITLE_LINE + row * _LINE
    box = (*corner, corner[0] + _SWATCH, corner[1] + _SWATCH)
    pen.rectangle(box, fill=colour, outline=_FAINT)
    pen.text(
      (corner[0] + _SWATCH + 6, corner[1] - 2),
      name,
      fill=_INK,
      font=contact_sheet.font_of(_SMALL_SIZE, name),
    )
  for i, one in enumerate(shown):
    row, column = divmod(i, num_columns)
    x, y = _MARGIN + column * cell, top + row * _ROW
    for part, (head, picture) in enumerate(
      zip(_HEADS, _pictures(opened, one), strict=True)
    ):
      left = x + part * (_PICTURE + _GAP)
      sheet.paste(picture, (left, y))
      words = (
        f"{head} {_range(one, part)}"
        if opened.kind == dense_set.DEPTH
        else head
      )
      if part == 0:
        words = pathlib.PurePosixPath(one.item.image).name
        (words,) = contact_sheet.wrap(words, small, _PICTURE, 1)
      pen.text((left, y + _PICTURE + 4), words, fill=_FAINT, font=small)
  return sheet


def _figures(record: Mapping[str, Any]) -> str:
  """Return the main figure with its interval and its baseline."""
  is_depth = record["kind"] == dense_metrics.DEPTH
  name = dense_metrics.RMSE if is_depth else dense_metrics.MIOU
  low, high = record["intervals"][name]
  unit = " m" if is_depth else ""
  return (
    f"{name} {record[name]:.3f}{unit} ({low:.3f} to {high:.3f}), baseline"
    f" {record['chance'][name]:.3f}, {record['num_images']:,} test images"
  )


def _legend(
  opened: dense_set.DenseSet, shown: Sequence[probe.Prediction]
) -> list[tuple[str, tuple[int, int, int]]]:
  """Return names and colours of the classes of the most pixels shown."""
  if not isinstance(opened.rule, dense_set.Classes):
    return []
  names = opened.rule.names
  total_A = np.zeros(len(names), np.int64)
  for one in shown:
    for map_YX in (one.truth_YX, one.predicted_YX):
      in_P = map_YX[map_YX != maps.VOID]
      total_A += np.bincount(in_P, minlength=len(names))
  order = np.argsort(-total_A, kind="stable")[:_NUM_NAMED]
  listed = [(names[i], colour_of(i)) for i in order.tolist() if total_A[i]]
  num_more = int((total_A > 0).sum()) - len(listed)
  listed.append(("void", _NONE))
  return [*listed, (f"{num_more} more classes", _NONE)] if num_more else listed


def _placed_names(names: Sequence[str], width: int) -> list[tuple[int, int]]:
  """Return the place in pixels and the line of each name of the legend."""
  placed, x, row = [], 0, 0
  for name in names:
    font = contact_sheet.font_of(_SMALL_SIZE, name)
    needed = int(font.getlength(name)) + _SWATCH + 24
    if x and x + needed > width:
      x, row = 0, row + 1
    placed.append((x, row))
    x += needed
  return placed


def colour_of(label: int) -> tuple[int, int, int]:
  """Return the colour of a class in VOC's palette.

  Its bits are those of the class's number, from the highest of each channel on
  (the PASCAL challenge's development kit).

  >>> colour_of(1), colour_of(15)
  ((128, 0, 0), (192, 128, 128))
  """
  channels = [0, 0, 0]
  for place in range(8):
    for channel in range(3):
      bit = label >> (3 * place + channel) & 1
      channels[channel] |= bit << (7 - place)
  return channels[0], channels[1], channels[2]


def _pictures(
  opened: dense_set.DenseSet, one: probe.Prediction
) -> list[Image.Image]:
  image = image_ops.decode(files.read(one.item.image))
  truth_YX, predicted_YX = one.truth_YX, one.predicted_YX
  if isinstance(opened.rule, dense_set.Classes):
    palette = np.array([colour_of(i) for i in range(len(opened.rule.names))])
    coloured = [
      np.where((x == maps.VOID)[..., None], _NONE, palette[x])
      for x in (truth_YX, predicted_YX)
    ]
  else:
    low, high = _bounds(truth_YX, predicted_YX)
    colours = matplotlib.colormaps[_DEPTH_COLOURS]
    coloured = [
      np.where(
        (x <= 0)[..., None],
        _NONE,
        255 * colours((x - low) / max(high - low, 1e-6))[..., :3],
      )
      for x in (truth_YX, predicted_YX)
    ]
  return [
    _squared(image, Image.Resampling.LANCZOS),
    *(_squared(x.astype(np.uint8), Image.Resampling.NEAREST) for x in coloured),
  ]


def _squared(pixels_YXC: np.ndarray, how: Image.Resampling) -> Image.Image:
  """Return a picture in the middle of a square, its shape kept."""
  height, width = pixels_YXC.shape[:2]
  factor = _PICTURE / max(height, width)
  size = max(1, round(width * factor)), max(1, round(height * factor))
  made = Image.new("RGB", (_PICTURE, _PICTURE), _PAGE)
  resized = Image.fromarray(np.ascontiguousarray(pixels_YXC)).resize(size, how)
  made.paste(resized, ((_PICTURE - size[0]) // 2, (_PICTURE - size[1]) // 2))
  return made


def _bounds(
  truth_YX: np.ndarray, predicted_YX: np.ndarray
) -> tuple[float, float]:
  """Return the depths of the first and the last colour, the same for both."""
  in_P = np.concatenate([truth_YX[truth_YX > 0], predicted_YX.ravel()])
  return float(in_P.min()), float(in_P.max())


def _range(one: probe.Prediction, part: int) -> str:
  """Return the least and the greatest depth of a map, in metres."""
  map_YX = (one.truth_YX, one.truth_YX, one.predicted_YX)[part]
  in_P = map_YX[map_YX > 0]
  return f"{in_P.min():.2f}-{in_P.max():.2f} m" if in_P.size else "none"
