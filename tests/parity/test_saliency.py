"""Gradient-weighted attention beside Chefer et al.'s rule in PyTorch."""

import jax
import numpy as np
import pytest

pytest.importorskip("transformers")

import torch

from evaluators import saliency
from models import dual_encoder
from models.pretrained import mapping
from models.pretrained.families import hf_clip
from tests.models.pretrained import goldens
from tests.parity import test_hf_clip
from tests.parity.makers import golden_hf_clip, published


def _relevance(model, images, tokens, num_layers):
  """Return relevance [b, N] of each image for its own caption."""
  model.vision_model.config._attn_implementation = "eager"
  out = model(
    input_ids=torch.from_numpy(tokens).long(),
    pixel_values=published.pixels(images),
    output_attentions=True,
  )
  weights = out.vision_model_output.attentions[-num_layers:]
  score = out.logits_per_image.diagonal().sum()
  relevance = torch.eye(weights[0].shape[-1]).expand(len(images), -1, -1)
  for weight, slope in zip(
    weights, torch.autograd.grad(score, weights), strict=True
  ):
    mean = (slope * weight).clamp(min=0).mean(dim=1)
    relevance = relevance + mean @ relevance
  return relevance[:, 0, 1:].detach().numpy()


@pytest.mark.parametrize("num_layers", [1, 2])
def test_clip(num_layers):
  published_model = golden_hf_clip.tiny("clip")
  images, tokens = golden_hf_clip.inputs(published_model)
  want = _relevance(published_model, images, tokens, num_layers)
  source = test_hf_clip._source(published_model)
  config, params = goldens.load(hf_clip, source)
  model = dual_encoder.merge(
    dual_encoder.make_graph(config), mapping.nested(params)
  )
  ztxt = jax.jit(lambda model, tokens: model.embed_texts(tokens))(model, tokens)
  got = saliency.attention(model, images, ztxt, num_layers=num_layers)
  assert want.max() > 1e-3
  np.testing.assert_allclose(
    np.reshape(got, want.shape), want, atol=2e-5 * want.max(), rtol=1e-4
  )
