import os

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from inference import contact_sheet

FONT = ImageFont.load_default(17)


def make_matches(num, name="cat", size=64):
  color = np.array([200, 30, 60], np.uint8)
  image = np.broadcast_to(color, (size, size, 3))
  return [
    contact_sheet.Match(i + 1, 0.9 - i / 100, name, f"k{i}", "train", image)
    for i in range(num)
  ]


@pytest.mark.parametrize(
  ("num", "size", "columns", "rows"),
  [(1, 64, 1, 1), (3, 64, 3, 1), (12, 64, 4, 3), (5, 300, 4, 2)],
)
def test_every_picture_is_in_its_place(tmp_path, num, size, columns, rows):
  path = tmp_path / "sheet.png"
  contact_sheet.write_contact_sheet(path, "cat", make_matches(num, size=size))
  assert os.listdir(tmp_path) == ["sheet.png"]
  with Image.open(path) as image:
    pixels = np.asarray(image.convert("RGB"))
  red = (pixels == [200, 30, 60]).all(axis=-1)
  # Each picture is a filled square of 192 pixels.
  assert red.sum() == num * 192 * 192
  assert len(runs(red.any(axis=0))) == columns
  assert len(runs(red.any(axis=1))) == rows
  assert {end - start for start, end in runs(red.any(axis=0))} == {192}


def runs(flags):
  edges = np.flatnonzero(np.diff(np.pad(flags.astype(int), 1)))
  return list(zip(edges[::2], edges[1::2], strict=True))


@pytest.mark.parametrize(
  "name",
  [
    "",
    "a" * 500,
    "<script>alert(1)</script>",
    "пожарный со средним тоном кожи",
    "\N{CAT FACE} \n\t two lines",
    "消防士",
  ],
)
def test_any_name_can_be_drawn(tmp_path, name):
  path = tmp_path / "sheet.png"
  matches = make_matches(2, name=name)
  contact_sheet.write_contact_sheet(path, name or "x", matches)
  with Image.open(path) as image:
    assert np.asarray(image).std() > 0


def test_letters_beyond_latin_are_not_boxes():
  def drawn(text):
    image = Image.new("L", (40, 40))
    font = contact_sheet.font_of(17, text)
    ImageDraw.Draw(image).text((5, 5), text, fill=255, font=font)
    return image.tobytes()

  # A missing glyph is the same box for every letter.
  assert drawn("п") != drawn("ж")


def test_no_matches_is_an_error(tmp_path):
  with pytest.raises(ValueError, match="no matches"):
    contact_sheet.write_contact_sheet(tmp_path / "sheet.png", "cat", [])
  assert not os.listdir(tmp_path)


def test_wrap():
  assert contact_sheet.wrap("red cat", FONT, 500, 2) == ["red cat"]
  assert contact_sheet.wrap("red cat", FONT, 50, 2) == ["red", "cat"]
  lines = contact_sheet.wrap("red cat sitting on a mat", FONT, 70, 2)
  assert lines[0] == "red cat"
  assert lines[1].endswith("…")


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(st.text(alphabet="abc WM", max_size=60), st.integers(40, 300))
def test_wrapped_lines_fit_and_lose_nothing_silently(text, width):
  lines = contact_sheet.wrap(text, FONT, width, 2)
  assert 1 <= len(lines) <= 2
  assert all(FONT.getlength(line) <= width for line in lines)
  shown = "".join(lines).replace(" ", "")
  letters = "".join(text.split())
  assert shown == letters or (
    shown.endswith("…") and letters.startswith(shown[:-1])
  )
