"""Folders of --task=export, loaded by open_clip, give equal embeddings.

Differences are float32 sums in another order.
"""

import json

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from safetensors import numpy as safetensors_numpy

from inference import export
from inference import model as model_lib
from models.pretrained import opening
from models.pretrained.parts import timm_convnext, timm_siglip, timm_trunk
from tests import runs
from tests.inference import fresh_run
from tests.models.pretrained.families import mirror
from tests.parity import test_export
from tests.parity.makers import golden_open_clip, published

# With the bias of the logits, which only SigLIP's have.
CASES = {"clip": 0.0, "siglip": -9.5}


def _load(folder):
  model, _, transform = open_clip.create_model_and_transforms(
    f"local-dir:{folder}"
  )
  return model.eval(), transform


def _embed(ours, images, tokens):
  embedder = ours.make_embedder(4)
  zimg = embedder.images(ours.params, images)
  return zimg, embedder.texts(ours.params, tokens), ours.scale


def _compare(embedded, model, transform, images, tokens):
  """Assert equal embeddings; return the bias of the other's logits."""
  with torch.no_grad():
    pixels = torch.stack([transform(Image.fromarray(x)) for x in images])
    zimg, ztxt, scale, *bias = (
      x.numpy() for x in model(pixels, torch.from_numpy(tokens).long())
    )
  our_zimg, our_ztxt, our_scale = embedded
  for name, got, want in (
    ("images", our_zimg, zimg),
    ("texts", our_ztxt, ztxt),
    ("scale", np.float32(1.0), scale / our_scale),
  ):
    difference = np.abs(got - want).max()
    print(name, difference)
    assert difference < 2e-5, name
  # Inputs are told apart, so that equality says something.
  for z in (zimg, ztxt):
    assert np.abs(z[0] - z[1]).max() > 1e-2
  return [x.item() for x in bias]


@pytest.mark.parametrize("case", CASES)
def test_open_clip_loads_a_run(case, tmp_path):
  config = runs.make_config(test_export.CASES[f"hf_{case}"])
  fresh_run.write(tmp_path / "run", config, bias=CASES[case])
  out = tmp_path / "out"
  export.run(tmp_path / "run", "open_clip", str(out))
  ours = model_lib.load(tmp_path / "run")
  tokens = ours.make_tokenizer()(test_export.TEXTS)
  theirs = open_clip.get_tokenizer(f"local-dir:{out}")(test_export.TEXTS)
  np.testing.assert_array_equal(theirs.numpy(), tokens)
  images = published.images(3, 16, block=4)
  embedded = _embed(ours, images, tokens)
  bias = _compare(embedded, *_load(out), images, tokens)
  assert bias == ([CASES[case]] if CASES[case] else [])


def test_open_clip_loads_a_convnext(tmp_path):
  """A model of its own, and what is written of it: each tensor to the bit."""
  described = timm_trunk.describe(
    "convnext_base", depths=[1, 2, 1, 2], dims=[8, 12, 16, 20], norm_eps=1e-5
  )
  vision_cfg = {
    "image_size": 70,
    "timm_model_name": "",
    "timm_pool": "",
    "timm_proj": "mlp",
    "timm_proj_bias": True,
  }
  model_cfg = golden_open_clip.config("vit") | {"vision_cfg": vision_cfg}
  folder, out = tmp_path / "model", tmp_path / "out"
  (folder / "timm").mkdir(parents=True)
  (folder / "timm/config.json").write_text(json.dumps(described))
  config = timm_trunk.place(
    {"model_cfg": model_cfg, timm_trunk.KEY: described}, folder
  )
  model = golden_open_clip.make(config["model_cfg"])
  found = opening.PublishedFiles(folder, config, published.tensors(model))
  mirror.write_source(folder, found)
  export.run(folder, "open_clip", str(out))
  written = safetensors_numpy.load_file(out / "open_clip_model.safetensors")
  for name, array in written.items():
    assert array.tobytes() == found.tensors[name].tobytes(), name
  images = published.images(3, 70, block=14)
  _, tokens = golden_open_clip.inputs(40, 70)
  embedded = _embed(model_lib.load(folder), images, tokens)
  for place in (folder, out):
    assert not _compare(embedded, *_load(place), images, tokens)


@pytest.mark.parametrize("name", timm_siglip._MODELS)
def test_timm_has_the_named_siglip(name):
  want = timm_siglip._MODELS[name]
  with torch.device("meta"):
    trunk = timm.create_model(name, num_classes=0)
  block, pool = trunk.blocks[0], trunk.attn_pool
  assert trunk.patch_embed.img_size == (want.image_size,) * 2
  assert trunk.patch_embed.patch_size == (want.patch_size,) * 2
  assert (trunk.embed_dim, len(trunk.blocks)) == (want.width, want.depth)
  assert block.attn.num_heads == pool.num_heads == want.num_heads
  for mlp in (block.mlp, pool.mlp):
    assert mlp.fc1.out_features == want.mlp_width
    assert ("Tanh" in type(mlp.act).__name__) == (
      want.activation == "gelu_tanh"
    )
  norms = {block.norm1.eps, block.norm2.eps, pool.norm.eps, trunk.norm.eps}
  assert norms == {want.norm_epsilon}


@pytest.mark.parametrize("name", timm_convnext._MODELS)
def test_timm_has_the_named_convnext(name):
  with torch.device("meta"):
    trunk = timm.create_model(name, num_classes=0)
  norms = {x.eps for x in trunk.modules() if hasattr(x, "eps")}
  got = (
    tuple(len(stage.blocks) for stage in trunk.stages),
    tuple(stage.blocks[0].norm.weight.shape[0] for stage in trunk.stages),
    *norms,
  )
  assert got == timm_convnext._MODELS[name]
