"""open_clip's models beside open_clip: what it computes and loads."""

import dataclasses
import json

import jax
import numpy as np
import pytest

pytest.importorskip("open_clip")

import open_clip as published_open_clip

from models import dual_encoder
from models.pretrained import mapping, opening
from models.pretrained.families import open_clip
from tests.models.pretrained import goldens
from tests.parity.makers import golden_open_clip, published

# float32 sums in another order.
_ATOL = 2e-5


def _source(model, model_cfg):
  config = {"model_cfg": model_cfg}
  return opening.PublishedFiles(
    goldens.FOLDER, config, published.tensors(model)
  )


def _compare(model, model_cfg, images, tokens):
  """Assert equal embeddings; return our config and parameters."""
  config, params = goldens.load(open_clip, _source(model, model_cfg))
  merged = dual_encoder.merge(
    dual_encoder.make_graph(config), mapping.nested(params)
  )
  call = jax.jit(lambda model, *args: model(*args))
  want = golden_open_clip.compute(model, images, tokens)
  for name, got in zip(
    ("zimg", "ztxt"), call(merged, images, tokens), strict=True
  ):
    print(name, np.abs(got - want[name]).max())
    np.testing.assert_allclose(got, want[name], atol=_ATOL, rtol=0)
    # Inputs are told apart, so that equality says something.
    assert np.abs(want[name][0] - want[name][1]).max() > 1e-2
  return config, params


@pytest.mark.parametrize("name", [*golden_open_clip.CONFIGS, "resnet"])
def test_open_clip_loads_what_is_written(name, tmp_path):
  """CoCa's two towers too, which are then a CustomTextCLIP."""
  safetensors = pytest.importorskip("safetensors.numpy")
  model_cfg = golden_open_clip.config(name)
  model = golden_open_clip.make(model_cfg)
  size = model_cfg["vision_cfg"]["image_size"]
  _, tokens = golden_open_clip.inputs(2 if name == "eos" else 40, size)
  images = published.images(3, size, block=size // 3)
  config, params = _compare(model, model_cfg, images, tokens)
  # The learned bias becomes the initial one when read again.
  config = dataclasses.replace(config, bias_init=float(params["bias"]))
  written = json.dumps(open_clip.write_config(config))
  (tmp_path / "open_clip_config.json").write_text(written)
  safetensors.save_file(
    mapping.save(open_clip.links(config), params),
    tmp_path / "open_clip_model.safetensors",
  )
  loaded = published_open_clip.create_model(f"local-dir:{tmp_path}")
  want = golden_open_clip.compute(model, images, tokens)
  got = golden_open_clip.compute(loaded.eval(), images, tokens)
  for key, value in want.items():
    # The captioner's size changes which kernels torch takes for CoCa.
    np.testing.assert_allclose(got[key], value, atol=1e-6, err_msg=key)


@pytest.mark.parametrize(
  "name", ["ViT-B-32", "coca_ViT-B-32", "RN50", "convnext_base_w"]
)
def test_published_sizes(name):
  """Counted without CoCa's captioner (text_decoder) and our logits' bias."""
  model_cfg = published_open_clip.get_model_config(name)
  model = golden_open_clip.make(model_cfg)
  length = model_cfg["text_cfg"]["context_length"]
  _, params = _compare(
    model,
    model_cfg,
    published.images(2, model_cfg["vision_cfg"]["image_size"], block=100),
    published.captions((length, 9), length, 49_407),
  )
  theirs = sum(
    p.numel()
    for k, p in model.named_parameters()
    if not k.startswith("text_decoder.")
  )
  ours = sum(x.size for path, x in params.items() if "/running_" not in path)
  assert ours - 1 == theirs
