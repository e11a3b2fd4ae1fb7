"""Templates and images of HTML pages, each one file that loads no other."""

import base64
import io
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jinja2
from PIL import Image

# Folder of page.css, the style of all pages.
_FOLDER = pathlib.Path(__file__).parent


def template(
  path: pathlib.Path, filters: Mapping[str, Callable[..., Any]]
) -> jinja2.Template:
  """Return the template in a file, which may include page.css."""
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader([path.parent, _FOLDER]),
    autoescape=True,  # captions are untrusted text
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  environment.filters |= dict(filters)
  return environment.get_template(path.name)


def data_url(image: Image.Image) -> str:
  """Return a picture as a lossless data: URL."""
  buffer = io.BytesIO()
  image.save(buffer, format="PNG", optimize=True)
  data = base64.b64encode(buffer.getvalue()).decode()
  return f"data:image/png;base64,{data}"
