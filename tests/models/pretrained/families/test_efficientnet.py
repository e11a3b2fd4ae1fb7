"""EfficientNet and ALIGN as transformers computed them."""

import dataclasses

import numpy as np
import pytest

from models.pretrained import mapping
from models.pretrained.families import hf_align, hf_efficientnet
from tests.models.pretrained import goldens


@pytest.mark.slow
@pytest.mark.parametrize(
  ("family", "name"),
  [
    (hf_efficientnet, "hf_efficientnet"),
    (hf_efficientnet, "hf_efficientnet_labels"),
    (hf_align, "hf_align"),
  ],
)
def test_equals_transformers(family, name):
  goldens.check(family, goldens.FOLDER / f"{name}.npz")


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("pooling_type", "max", "pooling_type must be one of 'mean'"),
    ("depth_divisor", 16, "depth_divisor must be one of 8"),
    ("hidden_act", "relu", "hidden_act must be one of"),
    ("hidden_dim", 1280, "hidden_dim must be one of 384; got 1280"),
    ("in_channels", [32, 16, 16], "in_channels must be 32 followed by"),
    ("strides", [1, 2], "must be of the same length; got 3, 3, 2, 3, 3"),
  ],
)
def test_settings_that_are_not_known_are_refused(field, value, message):
  found, _ = goldens.read(goldens.FOLDER / "hf_efficientnet.npz")
  found.config[field] = value
  with pytest.raises(ValueError, match=message):
    hf_efficientnet.read_model(found)


def test_align_has_no_bias_to_write():
  found, _ = goldens.read(goldens.FOLDER / "hf_align.npz")
  model, params = goldens.load(hf_align, found)
  params["bias"] = np.float32(-10)
  with pytest.raises(ValueError, match="bias must be 0.* got -10"):
    mapping.save(hf_align.links(model), params)


def test_log_scale_comes_back():
  found, _ = goldens.read(goldens.FOLDER / "hf_align.npz")
  model, params = goldens.load(hf_align, found)
  for value in np.linspace(2, 8, 50, dtype=np.float32):
    written = mapping.save(hf_align.links(model), params | {"log_scale": value})
    assert written["temperature"].shape == ()
    again = hf_align.links(model)[0].form.load([written["temperature"]])
    assert again[0] == value


@pytest.mark.parametrize("family", [hf_align, hf_efficientnet])
def test_a_config_comes_back(family):
  name = family.__name__.rsplit(".", 1)[-1]
  found, _ = goldens.read(goldens.FOLDER / f"{name}.npz")
  model = family.read_model(found)
  again = dataclasses.replace(found, config=family.write_config(model))
  assert family.recognises(again)
  assert family.read_model(again) == model
