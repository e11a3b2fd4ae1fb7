"""EfficientNet and ALIGN beside transformers, with random weights.

The bound is on the largest difference of an embedding's value, in float32.
"""

import json

import jax
import numpy as np
import pytest

from models import dual_encoder
from models.pretrained import mapping
from models.pretrained.families import hf_align, hf_efficientnet
from tests.models.pretrained import goldens

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
golden = pytest.importorskip("tests.parity.makers.golden_efficientnet")
published_hf = pytest.importorskip("tests.parity.makers.published_hf")

BOUND = 2e-5
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def embed(family, found, images, tokens=None):
  """Return our embeddings, scale and bias."""
  config, params = goldens.load(family, found)
  model = dual_encoder.merge(
    dual_encoder.make_graph(config), mapping.nested(params)
  )
  zimg, ztxt = jax.jit(lambda m, *args: m(*args))(model, images, tokens)
  return zimg, ztxt, params


def close(got, expected):
  """Assert that embeddings agree, and differ from row to row."""
  difference = np.abs(got - expected).max()
  print("largest difference", difference)
  assert difference <= BOUND
  assert expected[0] @ expected[1] < 0.9999


@pytest.mark.parametrize(
  "fields",
  [
    {},
    {"squeeze_expansion_ratio": 0.5},
    {"depthwise_padding": [0, 2]},
    {"batch_norm_eps": 0.1},
    {"width_coefficient": 0.5, "hidden_dim": 640},
    {"depth_coefficient": 2.1, "depthwise_padding": []},
    {"image_size": 33},
  ],
)
def test_variants(fields, tmp_path):
  config = transformers.EfficientNetConfig(
    **{**golden.VISION, "hidden_dim": golden.HEAD_WIDTH, **fields}
  )
  images = published_hf.make_images(2, config.image_size)
  model = golden.randomise(
    transformers.EfficientNetModel(config), golden.pixels(images, MEAN, STD)
  )
  expected = published_hf.l2(golden.embed(model, images))
  found = published_hf.found(model, tmp_path)
  close(embed(hf_efficientnet, found, images)[0], expected)


def test_b0_in_full(tmp_path):
  config = transformers.EfficientNetConfig(
    width_coefficient=1.0,
    depth_coefficient=1.0,
    hidden_dim=1280,
    image_size=224,
    num_labels=1000,
  )
  images = published_hf.make_images(2, 224)
  model = golden.randomise(
    transformers.EfficientNetForImageClassification(config),
    golden.pixels(images, MEAN, STD),
  )
  expected = published_hf.l2(golden.embed(model, images))
  found = published_hf.found(model, tmp_path)
  close(embed(hf_efficientnet, found, images)[0], expected)


def test_align_base_in_full(tmp_path):
  # transformers, convert_align_tf_to_hf.py: EfficientNet-B7 and BERT base.
  config = transformers.AlignConfig(
    vision_config={"image_size": 289, "hidden_dim": 640},
    text_config={},
    projection_dim=640,
    temperature_init_value=0.07,
  )
  images = published_hf.make_images(2, 289)
  tokens = published_hf.make_tokens(30_522, 64, (9, 64))
  half = (0.5,) * 3
  model = golden.randomise(
    transformers.AlignModel(config), golden.pixels(images, half, half)
  )
  with torch.no_grad():
    model.temperature.fill_(0.07)
  output = golden.align_embed(model, images, tokens)
  found = published_hf.found(model, tmp_path)
  zimg, ztxt, params = embed(hf_align, found, images, tokens)
  close(zimg, output.image_embeds.numpy())
  close(ztxt, output.text_embeds.numpy())
  logits = np.exp(params["log_scale"]) * zimg @ ztxt.T + params["bias"]
  # Logits are embeddings' products times 14.
  np.testing.assert_allclose(
    logits, output.logits_per_image.numpy(), atol=15 * BOUND
  )


@pytest.mark.parametrize("name", ["hf_align", "hf_efficientnet_labels"])
def test_transformers_loads_what_is_written(name, tmp_path):
  safetensors = pytest.importorskip("safetensors.numpy")
  family = {"hf_align": hf_align}.get(name, hf_efficientnet)
  found, expected = goldens.read(goldens.FOLDER / f"{name}.npz")
  config, params = goldens.load(family, found)
  if name != "hf_align":
    params = {path: x for path, x in params.items() if "/" in path}
  tensors = mapping.save(family.links(config), params)
  written = family.write_config(config)
  (model_class,) = written["architectures"]
  tmp_path.joinpath("config.json").write_text(json.dumps(written))
  safetensors.save_file(
    tensors, tmp_path / "model.safetensors", metadata={"format": "pt"}
  )
  model, report = getattr(transformers, model_class).from_pretrained(
    tmp_path, output_loading_info=True
  )
  # BERT's pooler, which no embedding depends on; counts of batches are buffers.
  missing = {key for key in report["missing_keys"] if "num_batches" not in key}
  assert all("text_model.pooler" in key for key in missing), missing
  assert not report["unexpected_keys"]
  if name == "hf_align":
    output = golden.align_embed(model, expected["images"], expected["tokens"])
    close(output.text_embeds.numpy(), expected["ztxt"])
    zimg = output.image_embeds.numpy()
  else:
    zimg = published_hf.l2(golden.embed(model, expected["images"]))
  close(zimg, expected["zimg"])
