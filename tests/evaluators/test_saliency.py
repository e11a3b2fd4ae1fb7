import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evaluators import saliency
from models import layers, naflex
from tests.evaluators import meshes
from tests.evaluators.robustness import pictures
from tests.models import towers


def _embed_fn(crops):
  """Embed as the mean colours of 4 x 4 parts, with a bias: some cosines < 0."""
  n, height, width, _ = crops.shape
  parts = crops.reshape(n, 4, height // 4, 4, width // 4, 3).mean(axis=(2, 4))
  return meshes.unit(parts.reshape(n, -1) / 255 - 0.4)


def _texts(count=3):
  return meshes.unit(np.random.default_rng(0).normal(size=(count, 48)))


@pytest.mark.parametrize(
  ("side", "cell", "num_crops"),
  [(224, 10, 485), (224, 15, 197), (64, 8, 65), (32, 8, 17)],
)
def test_numbers_of_bands_are_fashion_clips(side, cell, num_crops):
  shapes = []

  def embed_fn(crops):
    shapes.append(crops.shape)
    return np.ones((len(crops), 2), np.float32)

  image = np.zeros((side, side, 3), np.uint8)
  got = saliency.bands(embed_fn, image, np.ones((1, 2)), cell=cell)
  assert shapes == [(num_crops, side, side, 3)]
  assert got.sim_MT.shape == (num_crops - 1, 1)
  # All crops are as alike as the image.
  assert not got.map_TYX.any()


@pytest.mark.parametrize("shape", [(32, 32), (32, 48)])
def test_bands_are_those_of_fashion_clip(shape):
  """The map with a mask for each crop, as FashionCLIP's code builds it."""
  image = pictures.picture(*shape)
  cell, texts = 5, _texts()
  masks = [np.ones(shape)]
  for axis, first in ((0, 1), (1, 0)):
    lines = range(first, shape[axis] // cell + 1)
    for i in lines:
      for j in lines:
        if i < j:
          mask = np.zeros(shape)
          kept = slice(i * cell, j * cell)
          mask[(kept, slice(None)) if axis == 0 else (slice(None), kept)] = 1
          masks.append(mask)
  masks = np.array(masks)
  crops = np.where(masks[..., None], image, 128).astype(np.uint8)
  sims = _embed_fn(crops) @ texts.T
  got = saliency.bands(_embed_fn, image, texts, cell=cell)
  assert got.map_TYX.dtype == np.float32
  np.testing.assert_array_equal(got.sim_T, sims[0])
  np.testing.assert_array_equal(got.sim_MT, sims[1:])
  signs = set()
  for text, sim in enumerate(sims.T):
    score = np.clip(sim[:, None, None] * masks - sim[0], 0, np.inf).mean(0)
    for _ in range(5):
      score = np.clip(score - score.mean(), 0, np.inf)
    assert score.max() > 0
    np.testing.assert_allclose(
      got.map_TYX[text], score, atol=1e-5 * score.max()
    )
    signs.add(sim[0] > 0)
  assert signs == {True, False}  # greyed-out pixels count only below 0


def test_windows_find_what_the_text_names():
  image = np.full((60, 90, 3), 30, np.uint8)
  image[20:40, 50:70] = (250, 20, 20)

  def embed_fn(crops):
    # Red of the square, against a constant.
    red = crops[:, 20:40, 50:70, 0].mean(axis=(1, 2)) / 255
    return meshes.unit(np.stack([red, np.ones_like(red)], axis=1))

  texts = np.array([[1, 0], [0, 1]], np.float32)
  got = saliency.windows(embed_fn, image, texts, window=10, stride=5).map_TYX
  assert got.shape == (2, 60, 90)
  assert got.dtype == np.float32
  assert got[0, 21:39, 51:69].min() > 0.3 * got[0].max() > 0
  y, x = np.unravel_index(got[0].argmax(), (60, 90))
  assert 20 <= y < 40
  assert 50 <= x < 70
  # Windows that do not touch the square change nothing.
  np.testing.assert_array_equal(got[0, :, :40], 0)
  # Without the square an image is more like the other text.
  assert got[1, 21:39, 51:69].max() < 0
  assert got[1].max() == 0


def test_windows_are_means_of_drops():
  image = pictures.picture(32, 32)
  texts = _texts(1)
  got = saliency.windows(_embed_fn, image, texts, window=16, stride=12)
  full = _embed_fn(image[None]) @ texts.T
  heat, count = np.zeros((32, 32)), np.zeros((32, 32))
  for y in (0, 12, 16):  # the last one touches the edge
    for x in (0, 12, 16):
      crop = image.copy()
      crop[y : y + 16, x : x + 16] = 128
      heat[y : y + 16, x : x + 16] += (full - _embed_fn(crop[None]) @ texts.T)[
        0, 0
      ]
      count[y : y + 16, x : x + 16] += 1
  np.testing.assert_allclose(got.map_TYX[0], heat / count, atol=1e-6)
  assert (heat / count).min() < 0 < (heat / count).max()


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda *a: saliency.bands(*a, cell=0), "cell.*; got 0"),
    (lambda *a: saliency.bands(*a, cell=16), "half the image's side of 32"),
    (lambda *a: saliency.windows(*a, window=33), "window.*and 32; got 33"),
    (lambda *a: saliency.windows(*a, window=8, stride=9), "stride.*; got 9"),
  ],
)
def test_sizes_are_checked(call, message):
  with pytest.raises(ValueError, match=message):
    call(_embed_fn, pictures.picture(32, 32), _texts())


def _reference(model, images, ztxt, num_layers, monkeypatch):
  """Relevance from the model's own attention, changed from outside."""
  tower = model.img
  b, depth = len(images), tower.config.depth
  num_calls = depth + (tower.pool is not None)
  weights = {}

  def embed(changes):
    calls = iter(range(num_calls))

    def attend(query, key, value, *, mask_bHSS=None, is_causal=False):
      assert mask_bHSS is None
      assert not is_causal
      call = next(calls)
      logits = query @ key.swapaxes(2, 3) / jnp.sqrt(query.shape[-1])
      weight = jax.nn.softmax(logits, axis=-1)
      weights[call] = weight
      if changes is not None:
        weight = weight + changes[call]
      return weight @ value

    with jax.disable_jit(), monkeypatch.context() as patch:
      patch.setattr(layers, "attend", attend)
      zimg = model.embed_images(images)
    assert next(calls, None) is None
    return jnp.sum(zimg * ztxt) * jnp.exp(model.log_scale[...])

  embed(None)
  used = [np.asarray(weights[call]) for call in range(num_calls)]
  slopes = jax.grad(embed)([jnp.zeros(weight.shape) for weight in used])
  means = [
    np.maximum(w * np.asarray(s), 0).mean(axis=1)
    for w, s in zip(used, slopes, strict=True)
  ]
  num_tokens = used[0].shape[-1]
  relevance = np.repeat(np.eye(num_tokens)[None], b, axis=0)
  for mean in means[depth - num_layers : depth]:
    relevance = relevance + mean @ relevance
  if tower.pool is not None:
    return (means[-1] @ relevance)[:, 0]
  return relevance


@pytest.mark.slow
@pytest.mark.parametrize("num_layers", [0, 1, 2])
@pytest.mark.parametrize("pool", ["cls", "gap", "map", "queries"])
def test_attention_is_that_of_the_tower(pool, num_layers, monkeypatch):
  fields = {"num_queries": 3, "pool_heads": 3} if pool == "queries" else {}
  model = towers.make_model(towers.make_config(image={"pool": pool, **fields}))
  images = towers.make_images(3)
  ztxt = meshes.unit(np.random.default_rng(2).normal(size=(3, 12)))
  if num_layers == 0 and pool in ("cls", "gap"):
    with pytest.raises(ValueError, match="at least 1 for a tower without"):
      saliency.attention(model, images, ztxt, num_layers=0)
    return
  got = saliency.attention(model, images, ztxt, num_layers=num_layers)
  want = _reference(model, images, ztxt, num_layers, monkeypatch)
  if pool == "cls":
    want = want[:, 0, 1:]
  elif pool == "gap":
    want = want.mean(axis=1)
  elif pool == "queries":
    want = want[:, 1:]
  assert got.shape == (3, 2, 2)
  # float32 sums in another order.
  scale = np.abs(want).max()
  assert scale > 1e-4
  np.testing.assert_allclose(
    np.asarray(got).reshape(3, 4), want, atol=1e-4 * scale
  )
  # The model itself is as it was.
  assert isinstance(model.img.blocks.attn, layers.Attention)
  np.testing.assert_array_equal(
    np.argmax(want, axis=1), np.argmax(np.reshape(got, (3, 4)), axis=1)
  )


@pytest.mark.slow
def test_attention_in_bfloat16_is_near():
  fields = {"image": {"pool": "cls"}, "remat": "block"}
  images = towers.make_images(2)
  ztxt = meshes.unit(np.random.default_rng(2).normal(size=(2, 12)))
  want, got = (
    np.asarray(
      saliency.attention(
        towers.make_model(towers.make_config(dtype=dtype, **fields)),
        images,
        ztxt,
      )
    )
    for dtype in ("float32", "bfloat16")
  )
  assert got.dtype == np.float32
  # 8 bits of mantissa through two layers.
  np.testing.assert_allclose(got, want, atol=0.1 * want.max())


@pytest.mark.slow
def test_attention_depends_on_the_text_and_on_one_image():
  model = towers.make_model(towers.make_config(image={"pool": "map"}))
  images = towers.make_images(2)
  ztxt = meshes.unit(np.random.default_rng(2).normal(size=(2, 12)))
  got = np.asarray(saliency.attention(model, images, ztxt))
  other = np.asarray(saliency.attention(model, images, -ztxt))
  assert np.abs(got - other).max() > 1e-3
  alone = np.asarray(saliency.attention(model, images[1:], ztxt[1:]))
  np.testing.assert_allclose(got[1:], alone, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_attention_of_naflex(monkeypatch):
  """A tower of any shape of image, with its grid."""
  image = dataclasses.asdict(towers.IMAGE)
  names = [field.name for field in dataclasses.fields(naflex.NaFlexConfig)]
  fields = {name: image[name] for name in names if name in image}
  fields |= {"tower": "naflex", "max_num_patches": 6, "position_size": 2}
  config = dataclasses.replace(
    towers.MODEL, image=naflex.NaFlexConfig(**fields)
  )
  model = towers.make_model(config)
  images = jnp.asarray(pictures.picture(16, 24))[None]
  ztxt = meshes.unit(np.random.default_rng(2).normal(size=(1, 12)))
  got = saliency.attention(model, images, ztxt)
  assert got.shape == (1, 2, 3)
  want = _reference(model, images, ztxt, 1, monkeypatch)
  np.testing.assert_allclose(
    np.reshape(got, (1, 6)), want, atol=1e-4 * np.abs(want).max()
  )


@pytest.mark.parametrize("pool", ["cls", "map"])
def test_patches_are_the_head_of_each_token(pool):
  image = dataclasses.replace(towers.IMAGE, pool=pool)
  model = towers.make_model(dataclasses.replace(towers.MODEL, image=image))
  images, ztxt = towers.make_images(2), _texts(3)[:, :12]
  ztxt = meshes.unit(ztxt)
  got = np.asarray(saliency.patches(model, images, ztxt))
  side = image.image_size // image.patch_size
  assert got.shape == (2, 3, side, side)
  assert got.dtype == np.float32
  tower = model.img
  x = tower._stem({"images": images})
  for index in range(image.depth):
    x = jax.tree.map(lambda p, i=index: p[i], tower.blocks)(x)
  for row in range(side * side):
    token = x[:, row + (pool == "cls")][:, None]
    zimg = meshes.unit(np.asarray(tower._head(token, {}), np.float32))
    np.testing.assert_allclose(
      got[:, :, row // side, row % side], zimg @ ztxt.T, atol=1e-5
    )


def test_towers_without_attention_are_refused():
  model = types.SimpleNamespace(
    img=None, config=types.SimpleNamespace(image=None)
  )
  with pytest.raises(ValueError, match="of vit or naflex; got no image tower"):
    saliency.attention.__wrapped__(model, None, None)
  model.config.image = types.SimpleNamespace(tower="resnet")
  with pytest.raises(ValueError, match="got resnet: occlusion takes any"):
    saliency.attention.__wrapped__(model, None, None)
  with pytest.raises(ValueError, match="by patches .* got resnet: occlusion"):
    saliency.patches.__wrapped__(model, None, None)


def test_too_many_layers_are_refused():
  model = towers.make_model(towers.MODEL)
  images = towers.make_images(1)
  with pytest.raises(ValueError, match="number of layers.*0 and 2; got 3"):
    saliency.attention(model, images, jnp.zeros((1, 12)), num_layers=3)


def test_heat_map_is_bilinear_and_covers_the_rest():
  relevance = np.array([[1.0, 1.0], [3.0, 3.0]])
  got = saliency.heat_map(relevance, 19, 18, patch_size=8)
  assert got.shape == (19, 18)
  assert got.dtype == np.float32
  # Centres of the patches are at 3.5 and 11.5.
  want = 1 + 2 * np.clip((np.arange(16) - 3.5) / 8, 0, 1)
  np.testing.assert_allclose(got[:16], want[:, None] * np.ones(18), atol=1e-6)
  np.testing.assert_array_equal(got[16:], 3)
