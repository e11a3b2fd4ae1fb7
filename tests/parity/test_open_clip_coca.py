"""open_clip's CoCa in whole beside open_clip: logits, sizes, what it loads."""

import json

import jax
import numpy as np
import pytest

pytest.importorskip("open_clip")

import open_clip as published_open_clip
import torch

from inference import export
from models.decoding import captioner as captioner_lib
from models.pretrained import opening
from models.pretrained.fused import open_clip_coca
from tests.inference import test_export_coca
from tests.models import towers
from tests.models.pretrained import goldens
from tests.parity.makers import golden_coca, published


def _inputs():
  images = published.images(3, golden_coca.IMAGE_SIZE, block=4)
  length = golden_coca.LENGTH
  return images, published.captions((4, length, 7), length, golden_coca.END)


@jax.jit
def _logits(modules, images_bYXC, tokens_bL):
  model, captioner = modules
  _, image_bND = model.img.embedding_and_queries(images_bYXC)
  _, text_bLD = model.txt.embedding_and_tokens(tokens_bL)
  return captioner.logits(captioner.states(text_bLD, image_bND))


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_logits_and_open_clip_loads_what_is_written(quick_gelu, tmp_path):
  safetensors = pytest.importorskip("safetensors.numpy")
  model_cfg = golden_coca.config(quick_gelu=quick_gelu)
  model = golden_coca.make(model_cfg, seed=4)
  images, tokens = _inputs()
  want = golden_coca.logits(model, images, tokens)
  coca = open_clip_coca.read(
    opening.PublishedFiles(
      goldens.FOLDER, {"model_cfg": model_cfg}, published.tensors(model)
    )
  )
  got = _logits(open_clip_coca.make(coca), images, tokens)
  # float32 sums in another order; logits of up to about 10.
  np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)
  assert np.abs(want[0] - want[1]).max() > 1
  config, tensors = open_clip_coca.write(coca)
  (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
  safetensors.save_file(tensors, tmp_path / "open_clip_model.safetensors")
  loaded = published_open_clip.create_model(f"local-dir:{tmp_path}")
  assert isinstance(loaded, published_open_clip.CoCa)
  again = golden_coca.logits(loaded.eval(), images, tokens)
  np.testing.assert_allclose(again, want, rtol=1e-6, atol=1e-6)


def test_open_clip_loads_a_run(tmp_path):
  """A run that --task=export wrote: logits of words, and the same tensors."""
  safetensors = pytest.importorskip("safetensors.numpy")
  run, out = tmp_path / "run", tmp_path / "out"
  test_export_coca.write_run(run)
  export.run(run, "open_clip", str(out))
  loaded = published_open_clip.create_model(f"local-dir:{out}").eval()
  assert isinstance(loaded, published_open_clip.CoCa)
  written = safetensors.load_file(out / "open_clip_model.safetensors")
  theirs = published.tensors(loaded)
  for name, x in written.items():
    np.testing.assert_array_equal(theirs[name], x, name)
  coca = open_clip_coca.read(opening.open_model(str(out)))
  images = published.images(3, 16, block=4)
  tokens = published.captions((4, 6, 5), 6, 263)
  want = golden_coca.logits(loaded, images, tokens)
  got = _logits(open_clip_coca.make(coca), images, tokens)
  # float32 sums in another order; logits of up to about 10.
  np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)
  assert np.abs(want[0] - want[1]).max() > 1e-2


@pytest.mark.parametrize("name", ["coca_ViT-B-32", "coca_ViT-L-14"])
def test_published_sizes(name):
  model_cfg = published_open_clip.get_model_config(name)
  fields = model_cfg["multimodal_cfg"]
  captioner = captioner_lib.CaptionerConfig(
    width=fields["width"],
    num_heads=fields["heads"],
    mlp_width=4 * fields["width"],
  )
  model_cfg.pop("custom_text")
  with torch.device("meta"):
    model = published_open_clip.CoCa(**model_cfg)
  shapes = open_clip_coca.shapes_of(towers.MODEL, captioner)
  ours = sum(x.size for x in jax.tree.leaves(shapes))
  assert ours == sum(p.numel() for p in model.text_decoder.parameters())
