"""HTML page of heat maps: each image beside its maps, with their scales."""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from inference.explaining import heat_pictures, regions
from input_pipeline import model_inputs
from runtime.pages import page

# Images, and maps of one, on the page; the folder has all.
NUM_SHOWN = 24
_NUM_MAPS = 12
# Shorter side of a picture on the page, at least, in pixels.
_LEAST_SIDE = 224
_NUM_STOPS = 11


@dataclasses.dataclass(frozen=True)
class Shown:
  """An image on the page.

  Attributes:
    record: its record in explain.json.
    image_YXC: uint8 [H, W, 3], as the model takes it.
    map_TYX: the map of each text.
    scales: values of the colours of each.
  """

  record: Mapping[str, Any]
  image_YXC: np.ndarray
  map_TYX: np.ndarray
  scales: Sequence[heat_pictures.Scale]


def render(title: str, facts: Mapping[str, Any], shown: Sequence[Shown]) -> str:
  """Return the page.

  Args:
    title: heading.
    facts: content of explain.json.
    shown: its first images.
  """
  model, method = facts["model"], facts["method"]
  protocol = model_inputs.protocol_of(model["image_protocol"])
  return _template().render(
    title=title,
    facts={
      "model": model["path"],
      "weights": model["digest"],
      "arithmetic": model["dtype"],
      "image protocol": model_inputs.in_words(protocol),
    },
    method=method,
    images=[_image(one) for one in shown],
    num_images=len(facts["images"]),
    left_out=facts["left_out"],
    localised=regions.line(facts["localisation"])
    if "localisation" in facts
    else "",
    stops=", ".join(
      f"rgb({r} {g} {b})" for r, g, b in heat_pictures.legend(_NUM_STOPS)
    ),
  )


def _image(one: Shown) -> dict[str, Any]:
  height, width = one.image_YXC.shape[:2]
  factor = max(1, -(-_LEAST_SIDE // min(height, width)))
  size = width * factor, height * factor
  plain = Image.fromarray(one.image_YXC).resize(size, Image.Resampling.LANCZOS)
  maps = []
  listed = zip(one.record["maps"], one.map_TYX, one.scales, strict=True)
  for record, map_YX, scale in itertools.islice(listed, _NUM_MAPS):
    heat = Image.fromarray(np.asarray(map_YX, np.float32))
    large_YX = np.asarray(heat.resize(size, Image.Resampling.BILINEAR))
    heated = heat_pictures.overlay(np.asarray(plain), large_YX, scale)
    maps.append(
      {
        "record": record,
        "picture": page.data_url(Image.fromarray(heated)),
        "marks": [text for _, text in scale.marks()],
      }
    )
  return {
    "path": one.record["path"],
    "size": one.record["size"],
    "constants": one.record["constants"],
    "picture": page.data_url(plain),
    "maps": maps,
    "num_more": len(one.scales) - len(maps),
  }


@functools.cache
def _template() -> jinja2.Template:
  return page.template(
    pathlib.Path(__file__).with_name("explain.html.jinja"),
    {"number": lambda value: f"{value:.4g}", "words": _words},
  )


def _words(values: Mapping[str, Any]) -> str:
  return ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in values.items())
