"""Views of an image: their shapes, draws and checks."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from configs import base
from input_pipeline.images import views
from runtime import sections


def _config(**fields) -> views.ViewsConfig:
  section = base.get_config().data.views
  section.update({"has_global": True, "num_local": 3, "local_size": 8} | fields)
  return sections.make(
    views.ViewsConfig, section.to_dict(), prefix="data.views.", see="base.py"
  )


def _image() -> bytes:
  pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "PNG")
  return file.getvalue()


def test_arrays_are_those_of_shapes():
  config = _config()
  made = config.arrays(_image(), 16, np.random.default_rng(1))
  shapes = config.shapes(16)
  assert {name: (x.shape, x.dtype.type) for name, x in made.items()} == shapes
  assert shapes["local_views"][0] == (3, 8, 8, 3)
  local = made["local_views"]
  assert (local[0] != local[1]).any()


def test_views_depend_on_their_generator_alone():
  """More local views do not change the global one, nor the first ones."""
  few, many = _config(num_local=1), _config(num_local=3)
  one, other = (
    x.arrays(_image(), 16, np.random.default_rng(1)) for x in (few, many)
  )
  np.testing.assert_array_equal(one["global_views"], other["global_views"])
  np.testing.assert_array_equal(one["local_views"], other["local_views"][:1])
  again = many.arrays(_image(), 16, np.random.default_rng(2))
  assert (again["global_views"] != other["global_views"]).any()


def test_without_views_nothing_is_drawn():
  rng = np.random.default_rng(1)
  off = _config(has_global=False, num_local=0)
  assert off.arrays(b"no image", 16, rng) == {}
  assert rng.random() == np.random.default_rng(1).random()


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"has_global": False}, "data.views.has_global"),
    ({"num_local": -1}, "data.views.num_local"),
    ({"local_size": 0}, "data.views.local_size"),
  ],
)
def test_wrong_fields(fields, message):
  with pytest.raises(ValueError, match=message):
    _config(**fields).check(16)


def test_a_wrong_augmentation_is_named():
  config = _config()
  assert config.local is not None
  wrong = dataclasses.replace(config.local, flip_probability=2.0)
  with pytest.raises(ValueError, match=r"data\.views\.local: .*flip_prob"):
    dataclasses.replace(config, local=wrong).check(16)
