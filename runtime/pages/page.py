"""Templates and images of HTML pages, each one file that loads no other."""

import base64
import functools
import io
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jinja2
import numpy as np
from PIL import Image

# Folder of page.css, the style of all pages.
_FOLDER = pathlib.Path(__file__).parent
# Longest side of a picture in pixels, and quality of its JPEG.
_SIDE, _QUALITY = 128, 78
# Characters of a text that a page shows.
_NUM_CHARACTERS = 300


def template(
  path: pathlib.Path,
  filters: Mapping[str, Callable[..., Any]],
  *,
  side: int = _SIDE,
) -> jinja2.Template:
  """Return the template in a file, which may use those of this folder.

  Args:
    path: file of the template.
    filters: filters by name, beside those of gallery.html.jinja.
    side: longest side of a picture in pixels; larger ones are resized to it.
  """
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader([path.parent, _FOLDER]),
    autoescape=True,  # captions are untrusted text
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  environment.filters |= {
    "picture": functools.partial(picture, side=side),
    "shortened": shortened,
    "named": _named,
    "rank": lambda rank: f"{rank:,.1f}".removesuffix(".0"),
    **filters,
  }
  return environment.get_template(path.name)


def picture(image_YXC: np.ndarray, side: int) -> str:
  """Return a small picture as a data: URL.

  It is lossless, as drawings ask for, unless a JPEG has less than half of the
  size, as of a photo.
  """
  image = Image.fromarray(image_YXC)
  image.thumbnail((side, side))
  lossless, lossy = _encoded(image, "PNG"), _encoded(image, "JPEG")
  if 2 * len(lossy) < len(lossless):
    return _url(lossy, "jpeg")
  return _url(lossless, "png")


def data_url(image: Image.Image) -> str:
  """Return a picture as a lossless data: URL."""
  return _url(_encoded(image, "PNG"), "png")


def shortened(text: str) -> str:
  """Return the first characters of a text, and an ellipsis for the others.

  >>> shortened("word " * 1000)[-6:]
  'word …'
  """
  if len(text) <= _NUM_CHARACTERS:
    return text
  return text[:_NUM_CHARACTERS].rstrip() + " …"


def _named(name: str) -> str:
  return (name[:1].upper() + name[1:]).replace("_", " ")


def _encoded(image: Image.Image, form: str) -> bytes:
  buffer = io.BytesIO()
  image.save(buffer, format=form, optimize=True, quality=_QUALITY)
  return buffer.getvalue()


def _url(data: bytes, form: str) -> str:
  return f"data:image/{form};base64,{base64.b64encode(data).decode()}"
