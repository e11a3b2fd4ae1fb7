"""SigLIP, SigLIP 2, NaFlex, BERT and ViT beside transformers, live.

Tiny ones in all variants, and the full published size of some. Differences are
between embeddings of L2 norm 1, in float32; those of a full-size tower are sums
of about a thousand terms in another order, layer after layer.
"""

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from input_pipeline.images import naflex as naflex_input  # noqa: E402
from models import dual_encoder, naflex  # noqa: E402
from models.pretrained import mapping  # noqa: E402
from models.pretrained.families import hf_bert, hf_siglip, hf_siglip2, hf_vit  # noqa: E402
from tests.models.pretrained import goldens  # noqa: E402
from tests.parity.makers import golden_siglip  # noqa: E402
from tests.parity.makers import published_hf as published  # noqa: E402

_TINY = golden_siglip.TOWER
_TOLERANCE = 2e-5


def _ours(family, model, folder, images=None, tokens=None):
  """Return the config read, parameters and embeddings."""
  found = published.found(published.randomise(model), folder)
  config, params = goldens.load(family, found)
  merged = dual_encoder.merge(
    dual_encoder.make_graph(config), mapping.nested(params)
  )
  zimg, ztxt = jax.jit(lambda model, *args: model(*args))(
    merged, images, tokens
  )
  return config, params, zimg, ztxt


def _check(got, want, record_property, name):
  largest = np.abs(np.asarray(got) - np.asarray(want)).max()
  record_property(name, float(largest))
  print(f"{name}: max abs difference {largest:.1e}")
  assert largest <= _TOLERANCE
  # Examples differ much more than ours and theirs.
  assert np.abs(got[0] - got[1]).max() > 100 * _TOLERANCE


def _check_siglip(config, folder, record_property, num_images=3):
  model = transformers.SiglipModel(config)
  images = published.make_images(num_images, config.vision_config.image_size)
  text = config.text_config
  tokens = published.make_tokens(
    text.vocab_size, text.max_position_embeddings, (3, 8, 5)
  )
  read, params, zimg, ztxt = _ours(hf_siglip, model, folder, images, tokens)
  with torch.no_grad():
    want = model(
      input_ids=torch.from_numpy(tokens).long(),
      pixel_values=published.pixels(images),
    )
  _check(zimg, want.image_embeds, record_property, "images")
  _check(ztxt, want.text_embeds, record_property, "texts")
  logits = zimg @ ztxt.T * np.exp(params["log_scale"]) + params["bias"]
  np.testing.assert_allclose(
    logits,
    want.logits_per_image,
    # Cosines to the tolerance above, times the scale.
    atol=_TOLERANCE * float(np.exp(params["log_scale"])),
  )
  return read, model


@pytest.mark.parametrize(
  ("vision", "text"),
  [
    ({}, {}),
    ({"image_size": 22}, {"hidden_act": "gelu"}),
    # g-opt: another width for text. So400m: no multiple of 4, 16 tokens.
    ({}, {"hidden_size": 12, "projection_size": 16}),
    ({"intermediate_size": 27}, {"max_position_embeddings": 16}),
  ],
)
def test_siglip(tmp_path, record_property, vision, text):
  config = transformers.SiglipConfig(
    text_config=_TINY | {"vocab_size": 40, "max_position_embeddings": 8} | text,
    vision_config=_TINY | {"image_size": 16, "patch_size": 8} | vision,
  )
  read, _ = _check_siglip(config, tmp_path, record_property)
  written = hf_siglip.write_config(read)
  again = transformers.SiglipConfig.from_dict(written)
  for section in ("vision_config", "text_config"):
    got = getattr(again, section).to_dict()
    want = getattr(config, section).to_dict()
    # Fields of a tokenizer, not of the model.
    for field in ("bos_token_id", "eos_token_id"):
      got.pop(field, None)
      want.pop(field, None)
    assert got == want


def test_siglip_base_patch16_224(tmp_path, record_property):
  """google/siglip-base-patch16-224: all settings are the defaults."""
  read, model = _check_siglip(
    transformers.SiglipConfig(text_config={}, vision_config={}),
    tmp_path,
    record_property,
    num_images=2,
  )
  shapes = jax.eval_shape(
    lambda key: dual_encoder.init_params(read, key), jax.random.key(0)
  )
  count = sum(x.size for x in jax.tree.leaves(shapes))
  assert count == sum(x.numel() for x in model.parameters()) == 203_155_970


@pytest.mark.parametrize("tower", ["vision", "text"])
def test_one_tower(tmp_path, record_property, tower):
  images = tokens = None
  if tower == "vision":
    config = transformers.SiglipVisionConfig(
      **_TINY, image_size=16, patch_size=8
    )
    model = transformers.SiglipVisionModel(config)
    images = published.make_images(2, 16)
    given = published.pixels(images)
  else:
    config = transformers.SiglipTextConfig(
      **_TINY, vocab_size=40, max_position_embeddings=8
    )
    model = transformers.SiglipTextModel(config)
    tokens = published.make_tokens(40, 8, (3, 8))
    given = torch.from_numpy(tokens).long()
  _, _, zimg, ztxt = _ours(hf_siglip, model, tmp_path, images, tokens)
  with torch.no_grad():
    want = published.l2(model(given).pooler_output)
  _check(zimg if tower == "vision" else ztxt, want, record_property, tower)


@pytest.mark.parametrize(
  ("sizes", "shapes", "length"),
  [
    (
      _TINY | {"num_patches": 16, "patch_size": 4},
      [(4, 4), (2, 7), (6, 3), (1, 18), (9, 2)],
      18,
    ),
    # google/siglip2-base-patch16-naflex, but for its 256,000 tokens.
    ({}, [(16, 16), (12, 20), (30, 8)], 256),
  ],
  ids=["tiny", "base_patch16"],
)
def test_naflex(tmp_path, record_property, sizes, shapes, length):
  text = {**(_TINY if sizes else {}), "vocab_size": 40}
  config = transformers.Siglip2Config(text_config=text, vision_config=sizes)
  model = transformers.Siglip2Model(config)
  patch_size = config.vision_config.patch_size
  patches, shapes = published.make_patches(shapes, patch_size, length)
  tokens = published.make_tokens(40, 64, (3, 64))
  read, _, zimg, ztxt = _ours(
    hf_siglip2, model, tmp_path, naflex.Patches(patches, shapes), tokens
  )
  with torch.no_grad():
    text = model.get_text_features(torch.from_numpy(tokens).long())
  want = published.embed_patches(model, patches, shapes)
  _check(zimg, want, record_property, "images")
  _check(ztxt, published.l2(text.pooler_output), record_property, "texts")
  again = transformers.Siglip2Config.from_dict(hf_siglip2.write_config(read))
  assert again.vision_config.to_dict() == config.vision_config.to_dict()


@pytest.mark.parametrize("shape", [(5, 9), (3, 2), (1, 7)])
def test_naflex_positions(shape):
  """Tall images are compared lying on their side.

  PyTorch 2.13 on a CPU repeats the first row where the result has one column
  (but not where it has one row); JAX, and so big_vision, does not.
  """
  rng = np.random.default_rng(0)
  table = rng.normal(size=(4, 4, 3)).astype(np.float32)
  resize = jax.jit(naflex.resize_positions, static_argnums=2)
  for turned in (False, True):
    want = torch.nn.functional.interpolate(
      torch.from_numpy(table.transpose(2, 0, 1))[None],
      size=shape,
      mode="bilinear",
      align_corners=False,
      antialias=True,
    )[0].permute(1, 2, 0)
    if turned:
      got = resize(
        table.transpose(1, 0, 2).reshape(16, 3), np.asarray([shape[::-1]]), 45
      )[0, : shape[0] * shape[1]]
      got = got.reshape(*shape[::-1], 3).transpose(1, 0, 2)
    else:
      got = resize(table.reshape(16, 3), np.asarray([shape]), 45)
      got = got[0, : shape[0] * shape[1]].reshape(*shape, 3)
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize(
  ("size", "length"), [((37, 91), 64), ((200, 33), 20), ((64, 64), 16)]
)
def test_naflex_pixels(size, length):
  """Sizes, pixels and their order, as transformers' image processor has them.

  Its numbers are float32 of (x / 255 - 0.5) / 0.5; ours are uint8 before that.
  """
  from PIL import Image

  processor = transformers.Siglip2ImageProcessorPil(
    patch_size=16, max_num_patches=length
  )
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (*size, 3), np.uint8)
  want = processor(Image.fromarray(image), return_tensors="np")
  resized = naflex_input.resize(image, 16, length)
  patches, shape, real = naflex_input.patchify(resized, 16, length)
  np.testing.assert_array_equal(shape, want["spatial_shapes"][0])
  np.testing.assert_array_equal(real, want["pixel_attention_mask"][0] == 1)
  np.testing.assert_allclose(
    (patches[real] / 255 - 0.5) / 0.5,
    want["pixel_values"][0][real],
    atol=1e-6,
  )


def test_naflex_sizes():
  from transformers.models.siglip2 import image_processing_pil_siglip2

  theirs = image_processing_pil_siglip2.get_image_size_for_max_num_patches
  rng = np.random.default_rng(0)
  for height, width, count in zip(
    rng.integers(1, 3000, 300),
    rng.integers(1, 3000, 300),
    rng.choice([16, 64, 128, 256, 576, 784, 1024], 300),
    strict=True,
  ):
    size = int(height), int(width), 16, int(count)
    assert naflex_input.target_size(*size) == theirs(*size)


@pytest.mark.parametrize("pooler", [False, True])
@pytest.mark.parametrize("prefixed", [False, True])
def test_bert(tmp_path, record_property, pooler, prefixed):
  config = transformers.BertConfig(
    **_TINY, vocab_size=40, max_position_embeddings=10
  )
  model = transformers.BertModel(config, add_pooling_layer=pooler)
  if prefixed:
    model = transformers.BertForMaskedLM(config)
  tokens = published.make_tokens(40, 8, (3, 8, 5))
  read, _, _, ztxt = _ours(hf_bert, model, tmp_path, tokens=tokens)
  ids = torch.from_numpy(tokens).long()
  base = model.bert if prefixed else model
  with torch.no_grad():
    want = base(ids, attention_mask=(ids != 0).long()).last_hidden_state[:, 0]
  _check(ztxt, published.l2(want), record_property, "texts")
  again = transformers.BertConfig.from_dict(hf_bert.write_config(read))
  for field in hf_bert.write_config(read):
    if field != "architectures":
      assert getattr(again, field) == getattr(config, field), field


def test_bert_base(tmp_path, record_property):
  """bert-base-uncased: all settings are the defaults."""
  model = transformers.BertModel(
    transformers.BertConfig(), add_pooling_layer=False
  )
  tokens = published.make_tokens(30_522, 64, (3, 64, 20))
  _, _, _, ztxt = _ours(hf_bert, model, tmp_path, tokens=tokens)
  ids = torch.from_numpy(tokens).long()
  with torch.no_grad():
    want = model(ids, attention_mask=(ids != 0).long()).last_hidden_state
  _check(ztxt, published.l2(want[:, 0]), record_property, "texts")


@pytest.mark.parametrize("classes", [0, 5])
@pytest.mark.parametrize(
  "sizes",
  [
    _TINY | {"image_size": 16, "patch_size": 8},
    {},  # google/vit-base-patch16-224: the defaults
  ],
  ids=["tiny", "base_patch16_224"],
)
def test_vit(tmp_path, record_property, classes, sizes):
  if classes:
    config = transformers.ViTConfig(**sizes, num_labels=classes)
    model = transformers.ViTForImageClassification(config)
  else:
    config = transformers.ViTConfig(**sizes)
    model = transformers.ViTModel(config)
  images = published.make_images(2, config.image_size)
  read, _, zimg, _ = _ours(hf_vit, model, tmp_path, images)
  with torch.no_grad():
    output = model(published.pixels(images))
  want = output.logits if classes else output.last_hidden_state[:, 0]
  _check(zimg, published.l2(want), record_property, "images")
  again = transformers.ViTConfig.from_dict(hf_vit.write_config(read))
  assert again.num_labels == (classes or 2)  # 2 where there is no classifier
  assert again.hidden_size == config.hidden_size
