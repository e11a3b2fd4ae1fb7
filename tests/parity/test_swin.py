"""Swin and UniCL beside transformers and PyTorch, with random weights.

The bound is on the largest difference of an embedding's value, in float32.
"""

import json

import jax
import numpy as np
import pytest

from models import dual_encoder
from models.pretrained import mapping
from models.pretrained.families import hf_swin
from tests.models.pretrained import goldens

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
golden = pytest.importorskip("tests.parity.makers.golden_swin")
published_hf = pytest.importorskip("tests.parity.makers.published_hf")

BOUND = 2e-5


def _embed(found, images):
  """Return our embeddings."""
  config, params = goldens.load(hf_swin, found)
  model = dual_encoder.merge(
    dual_encoder.make_graph(config), mapping.nested(params)
  )
  return jax.jit(lambda m, x: m.embed_images(x))(model, images)


def _close(got, expected):
  """Assert that embeddings agree, and differ from row to row."""
  difference = np.abs(got - expected).max()
  print("largest difference", difference)
  assert difference <= BOUND
  assert expected[0] @ expected[1] < 0.9999


# A grid as large as a window, one that windows divide, odd sides, other sizes.
@pytest.mark.parametrize(
  "fields",
  [
    {"image_size": 16, "depths": [2], "num_heads": [4]},
    {"image_size": 32, "mlp_ratio": 3.0},
    {"image_size": 41, "window_size": 3, "hidden_act": "gelu_new"},
  ],
)
def test_variants(fields, tmp_path):
  config = transformers.SwinConfig(**{**golden.SWIN, **fields})
  model = golden.randomise(transformers.SwinModel(config))
  images = published_hf.make_images(2, config.image_size)
  expected = published_hf.l2(golden.embed(model, images))
  _close(_embed(published_hf.found(model, tmp_path), images), expected)


@pytest.mark.long
@pytest.mark.parametrize("name", ["tiny", "base"])
def test_in_full(name, tmp_path):
  sizes = {
    "tiny": {},
    "base": {
      "embed_dim": 128,
      "depths": [2, 2, 18, 2],
      "num_heads": [4, 8, 16, 32],
    },
  }
  config = transformers.SwinConfig(**sizes[name])
  model = golden.randomise(transformers.SwinModel(config))
  images = published_hf.make_images(2, 224)
  expected = published_hf.l2(golden.embed(model, images))
  _close(_embed(published_hf.found(model, tmp_path), images), expected)


@pytest.mark.parametrize("name", ["hf_swin", "hf_swin_labels"])
def test_transformers_loads_what_is_written(name, tmp_path):
  safetensors = pytest.importorskip("safetensors.numpy")
  found, expected = goldens.read(goldens.FOLDER / f"{name}.npz")
  config, params = goldens.load(hf_swin, found)
  params = {path: x for path, x in params.items() if "/" in path}
  tensors = mapping.save(hf_swin.links(config), params)
  written = hf_swin.write_config(config)
  (model_class,) = written["architectures"]
  tmp_path.joinpath("config.json").write_text(json.dumps(written))
  safetensors.save_file(
    tensors, tmp_path / "model.safetensors", metadata={"format": "pt"}
  )
  model, report = getattr(transformers, model_class).from_pretrained(
    tmp_path, output_loading_info=True
  )
  # The table of indices is a buffer.
  missing = {x for x in report["missing_keys"] if "_index" not in x}
  assert not missing
  assert not report["unexpected_keys"]
  _close(
    published_hf.l2(golden.embed(model, expected["images"])), expected["zimg"]
  )


def test_the_golden_unicl_is_made_again():
  tensors, arrays = golden.make_unicl()
  found, expected = goldens.read(goldens.FOLDER / "unicl.npz")
  assert tensors.keys() == found.tensors.keys()
  for name in ("zimg", "ztxt"):
    np.testing.assert_allclose(arrays[name], expected[name], atol=BOUND)
