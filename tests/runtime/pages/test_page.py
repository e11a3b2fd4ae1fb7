import base64
import io

import numpy as np
import pytest
from PIL import Image

from runtime.pages import page


def _decoded(url):
  head, _, data = url.partition(",")
  image = Image.open(io.BytesIO(base64.b64decode(data)))
  assert head == f"data:image/{image.format.lower()};base64"
  return image


def test_drawings_stay_as_they_are():
  drawing = np.full((64, 48, 3), 255, np.uint8)
  drawing[20:30, 10:40] = [255, 0, 0]
  image = _decoded(page.picture(drawing, 96))
  assert image.format == "PNG"
  np.testing.assert_array_equal(np.asarray(image), drawing)


def test_photos_are_small():
  y, x = np.mgrid[:400, :600]
  rng = np.random.default_rng(0)
  waves = 128 + 60 * np.sin(x / 40) + 40 * np.cos(y / 30)
  photo = (waves[..., None] + rng.normal(0, 4, (400, 600, 3))).clip(0, 255)
  url = page.picture(photo.astype(np.uint8), 96)
  image = _decoded(url)
  assert (image.format, image.size) == ("JPEG", (96, 64))
  assert len(url) < 6000


@pytest.mark.parametrize("num", [299, 300])
def test_short_texts_stay_whole(num):
  assert page.shortened("x" * num) == "x" * num
  assert len(page.shortened("x" * 10**6)) < 310
