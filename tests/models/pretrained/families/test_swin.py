"""Swin as transformers computed it, and UniCL."""

import dataclasses

import numpy as np
import pytest

from models.pretrained import mapping, opening, positions
from models.pretrained.families import hf_swin, unicl
from tests.models.pretrained import goldens


@pytest.mark.slow
@pytest.mark.parametrize(
  ("family", "name"),
  [(hf_swin, "hf_swin"), (hf_swin, "hf_swin_labels"), (unicl, "unicl")],
)
def test_equals_published(family, name):
  goldens.check(family, goldens.FOLDER / f"{name}.npz")


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("qkv_bias", False, "qkv_bias must be one of True; got False"),
    ("use_absolute_embeddings", True, "use_absolute_embeddings must be one"),
    ("layer_norm_eps", 1e-6, "layer_norm_eps must be one of 1e-05"),
    ("patch_size", 2, "patch_size must be one of 4; got 2"),
    ("num_channels", 1, "num_channels must be one of 3; got 1"),
    ("hidden_act", "relu", "hidden_act must be one of"),
  ],
)
def test_settings_that_are_not_known_are_refused(field, value, message):
  found, _ = goldens.read(goldens.FOLDER / "hf_swin.npz")
  found.config[field] = value
  with pytest.raises(ValueError, match=message):
    hf_swin.read_model(found)


@pytest.mark.parametrize("name", ["hf_swin", "hf_swin_labels"])
def test_a_config_comes_back(name):
  found, _ = goldens.read(goldens.FOLDER / f"{name}.npz")
  model = hf_swin.read_model(found)
  again = dataclasses.replace(found, config=hf_swin.write_config(model))
  assert hf_swin.recognises(again)
  assert hf_swin.read_model(again) == model


@pytest.mark.parametrize(
  ("field", "value"), [("windows", (4, 2)), ("widths", (8, 24))]
)
def test_transformers_has_one_window_and_doubles_widths(field, value):
  found, _ = goldens.read(goldens.FOLDER / "hf_swin.npz")
  model = hf_swin.read_model(found)
  image = dataclasses.replace(model.image, **{field: value})
  with pytest.raises(ValueError, match=f"{field} must be"):
    hf_swin.write_config(dataclasses.replace(model, image=image))


def test_unicl_is_read_from_shapes():
  found, _ = goldens.read(goldens.FOLDER / "unicl.npz")
  model = unicl.read_model(found)
  image, text = model.image, model.text
  assert (image.widths, image.depths) == ((8, 16, 32), (2, 1, 1))
  assert (image.num_heads, image.windows) == ((1, 2, 4), (4, 4, 2))
  assert (image.mlp_ratio, image.image_size) == (4.0, 224)
  assert (text.width, text.depth, text.mlp_width) == (16, 2, 64)
  assert (text.vocab_size, text.num_tokens, text.pool) == (41, 10, "argmax")
  assert model.embed_dim == 12
  given = {"image_size": "32", "text_heads": "2"}
  model = unicl.read_model(dataclasses.replace(found, options=given))
  assert (model.image.image_size, model.text.num_heads) == (32, 2)
  with pytest.raises(ValueError, match="#window must be one of .*image_size"):
    unicl.read_model(dataclasses.replace(found, options={"window": "7"}))


def test_unicl_s_other_names_and_buffers():
  found, _ = goldens.read(goldens.FOLDER / "unicl.npz")
  tensors = {
    name.replace("text_encoder.", "lang_encoder."): x
    for name, x in found.tensors.items()
  }
  block = "image_encoder.layers.0.blocks.1"
  tensors[f"{block}.attn_mask"] = np.zeros((4, 16, 16), np.float32)
  tensors[f"{block}.attn.relative_position_index"] = np.zeros((16, 16), int)
  files = opening.PublishedFiles(found.path, {}, tensors)
  _, got = goldens.load(unicl, files)
  _, want = goldens.load(unicl, found)
  assert got.keys() == want.keys()
  for path, x in want.items():
    np.testing.assert_array_equal(got[path], x, path)
  del tensors[f"{block}.norm2.bias"]
  with pytest.raises(
    mapping.MappingError, match=r"1 missing: .*1\.norm2\.bias"
  ):
    goldens.load(unicl, files)


def test_relative_positions_fit_other_windows():
  """Symmetric tables stay so, and the middle keeps the same window's."""
  y, x = np.mgrid[-2:3, -2:3].astype(np.float32)
  table = np.stack([y.ravel(), x.ravel()], axis=1)[None]  # [1, 25, 2]
  same = positions.resize_relative(table, (1, 25, 2))
  np.testing.assert_allclose(same, table, atol=1e-6)  # float32
  larger = positions.resize_relative(table, (1, 49, 2)).reshape(7, 7, 2)
  np.testing.assert_allclose(larger[3, 3], [0, 0], atol=1e-6)
  np.testing.assert_allclose(larger[::-1, :, 0], -larger[..., 0], atol=1e-5)
  assert np.all(np.diff(larger[..., 0], axis=0) > 0)
  with pytest.raises(ValueError, match="2; got 1 and 3"):
    positions.resize_relative(table, (1, 49, 3))
