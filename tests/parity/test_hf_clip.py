"""CLIP and MetaCLIP 2 beside transformers: what it computes and loads."""

import json

import jax
import numpy as np
import pytest

pytest.importorskip("transformers")

import transformers

from models import dual_encoder
from models.pretrained import mapping, opening
from models.pretrained.families import hf_clip
from tests.models.pretrained import goldens
from tests.parity.makers import golden_hf_clip, published

# float32 sums in another order.
_ATOL = 2e-5


def _source(model):
  config = json.loads(model.config.to_json_string())
  return opening.PublishedFiles(
    goldens.FOLDER, config, published.tensors(model)
  )


def _embed(found, images, tokens):
  """Return ours: config, parameters, zimg, ztxt."""
  config, params = goldens.load(hf_clip, found)
  model = dual_encoder.merge(
    dual_encoder.make_graph(config), mapping.nested(params)
  )
  call = jax.jit(lambda model, *args: model(*args))
  return config, params, *call(model, images, tokens)


@pytest.mark.parametrize("name", golden_hf_clip.VARIANTS)
def test_small_models(name):
  model = golden_hf_clip.tiny(name)
  images, tokens = golden_hf_clip.inputs(model)
  want = golden_hf_clip.compute(model, images, tokens)
  _, _, zimg, ztxt = _embed(_source(model), images, tokens)
  np.testing.assert_allclose(zimg, want["zimg"], atol=_ATOL, rtol=0)
  np.testing.assert_allclose(ztxt, want["ztxt"], atol=_ATOL, rtol=0)


@pytest.mark.parametrize("name", golden_hf_clip.VARIANTS)
def test_transformers_loads_what_is_written(name, tmp_path):
  safetensors = pytest.importorskip("safetensors.numpy")
  model = golden_hf_clip.tiny(name)
  images, tokens = golden_hf_clip.inputs(model)
  want = golden_hf_clip.compute(model, images, tokens)
  config, params = goldens.load(hf_clip, _source(model))
  written = json.dumps(hf_clip.write_config(config))
  (tmp_path / "config.json").write_text(written)
  tensors = mapping.save(hf_clip.links(config), params)
  safetensors.save_file(
    tensors, tmp_path / "model.safetensors", {"format": "pt"}
  )
  loaded, report = transformers.AutoModel.from_pretrained(
    tmp_path, output_loading_info=True
  )
  assert not any(report.values()), report
  got = golden_hf_clip.compute(loaded.eval(), images, tokens)
  for key, value in want.items():
    np.testing.assert_array_equal(got[key], value, key)


@pytest.mark.parametrize(
  "kind",
  [
    transformers.CLIPTextModel,
    transformers.CLIPTextModelWithProjection,
    transformers.CLIPVisionModel,
    transformers.CLIPVisionModelWithProjection,
  ],
)
def test_models_of_one_tower(kind):
  whole = golden_hf_clip.tiny("clip")
  is_text = "Text" in kind.__name__
  section = whole.config.text_config if is_text else whole.config.vision_config
  model = published.randomise(kind(section))
  images, tokens = golden_hf_clip.inputs(whole)
  want = golden_hf_clip.compute_one(model, images, tokens)
  given = (None, tokens) if is_text else (images, None)
  _, _, *got = _embed(_source(model), *given)
  np.testing.assert_allclose(got[is_text], want, atol=_ATOL, rtol=0)


def test_clip_vit_b_32():
  """The published size, 151,277,313 parameters; ours has a bias beside."""
  model = golden_hf_clip.make("clip", {}, {})
  images = published.images(2, 224)
  tokens = published.captions((77, 9), 77, 49_407)
  want = golden_hf_clip.compute(model, images, tokens)
  _, params, zimg, ztxt = _embed(_source(model), images, tokens)
  assert sum(x.size for x in params.values()) - 1 == 151_277_313
  assert sum(p.numel() for p in model.parameters()) == 151_277_313
  for name, got in (("zimg", zimg), ("ztxt", ztxt)):
    print(name, np.abs(got - want[name]).max())
    np.testing.assert_allclose(got, want[name], atol=_ATOL, rtol=0)
