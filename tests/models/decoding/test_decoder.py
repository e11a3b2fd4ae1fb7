"""The decoder against NumPy; masks, padding, scan, remat, meshes, steps."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs.parts import decoding
from losses import vocabulary
from models import dual_encoder, layers, stack
from models.decoding import decoder, inputs
from runtime import mesh as mesh_lib
from tests.losses import pairs
from tests.models import towers
from tests.models.decoding import tiny_decoder
from tests.models.decoding.tiny_decoder import IMAGE, IMAGE_MASK, TARGETS

CAUSAL = inputs.causal(TARGETS, 1)
MIXED = inputs.mixed(
  TARGETS, tiny_decoder.parallel(True, False, True), begin_id=1
)


# As in configs/base.py, which has more of them.
_LAYER_RULES = (
  (r".*/attn/(query|key|value)/kernel", ("fsdp", "tensor")),
  (r".*/attn/out/kernel", ("tensor", "fsdp")),
  (r".*/mlp/up/kernel", ("fsdp", "tensor")),
  (r".*/mlp/down/kernel", ("tensor", "fsdp")),
)


@jax.jit
def _logits(model, given, image, mask=None, keys=None):
  return model.logits(model.states(given, image, mask, keys))


@pytest.fixture(scope="module")
def model():
  return tiny_decoder.make()


@pytest.fixture(scope="module")
def causal_logits(model):
  return np.asarray(_logits(model, CAUSAL, IMAGE, IMAGE_MASK))


def _affine(p, x):
  return x @ p["kernel"] + p.get("bias", 0.0)


def _norm(p, x):
  centred = x - x.mean(-1, keepdims=True)
  y = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
  return p["scale"] * y + p.get("bias", 0.0)


def _attention(p, x, y, is_seen):
  """Attend from each token of x to those of y that are seen, bool [x, y]."""
  query, key, value = (
    _affine(p[name], z)
    for name, z in zip(("query", "key", "value"), (x, y, y), strict=True)
  )
  out = np.zeros_like(query)
  for head in range(2):
    part = slice(4 * head, 4 * head + 4)
    for i, seen in enumerate(is_seen):
      logit = key[seen][:, part] @ query[i, part] / math.sqrt(4)
      weight = np.exp(logit - logit.max())
      out[i, part] = weight / weight.sum() @ value[seen][:, part]
  return _affine(p["out"], out)


def _gelu(x):
  return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _written_out(p, tokens, is_parallel, image, image_mask):
  """Return the logits of one row."""
  x = np.where(
    (tokens == inputs.MASK)[:, None],
    p["mask_token"],
    p["token_embedding"][np.maximum(tokens, 0)],
  )
  x = x + p["position"]
  place = np.arange(len(x))
  is_seen = (place <= place[:, None]) | is_parallel
  is_image = np.broadcast_to(image_mask, (len(x), len(image_mask)))
  for i in range(2):
    block = jax.tree.map(lambda leaf: leaf[i], p["blocks"])  # noqa: B023
    y = _norm(block["attn_norm"], x)
    x = x + _attention(block["attn"], y, y, is_seen)
    y = _norm(block["cross_norm"], x)
    x = x + _attention(block["cross"]["attn"], y, image, is_image)
    y = _affine(block["mlp"]["up"], _norm(block["mlp_norm"], x))
    x = x + _affine(block["mlp"]["down"], _gelu(y))
  return _norm(p["norm"], x) @ p["words"].T + p["word_bias"]


def _params(model):
  return nnx.to_pure_dict(nnx.state(model, nnx.Param))


@pytest.mark.parametrize("use_bias", [False, True])
def test_equals_numpy(use_bias):
  model = tiny_decoder.make(use_bias=use_bias)
  got = _logits(model, MIXED, IMAGE, IMAGE_MASK)
  p = jax.tree.map(np.float64, _params(model))
  assert ("bias" in p["blocks"]["mlp"]["up"]) == use_bias
  assert "bias" not in p["blocks"]["attn"]["query"]
  for row, logits in enumerate(got):
    want = _written_out(
      p,
      np.asarray(MIXED.tokens_bL[row]),
      bool(MIXED.parallel_b[row]),
      np.float64(IMAGE[row]),
      IMAGE_MASK[row],
    )
    # float32 through two layers, logits of up to about 10.
    np.testing.assert_allclose(logits, want, rtol=1e-4, atol=1e-4)


def test_causal_prediction_does_not_see_later_targets(model, causal_logits):
  changed = TARGETS.copy()
  changed[:, 4] = 2 + (changed[:, 4] - 1) % 10
  got = _logits(model, inputs.causal(changed, 1), IMAGE, IMAGE_MASK)
  np.testing.assert_array_equal(got[:, :5], causal_logits[:, :5])
  assert np.abs(got[:, 5:] - causal_logits[:, 5:]).max(-1).min() > 1e-4


def test_parallel_prediction_does_not_see_targets(model, causal_logits):
  """Their order is nothing that it depends on (and no prompt either)."""
  got = _logits(model, MIXED, IMAGE, IMAGE_MASK)
  turned = inputs.mixed(TARGETS[:, ::-1], MIXED.parallel_b, begin_id=1)
  turned_logits = _logits(model, turned, IMAGE, IMAGE_MASK)
  np.testing.assert_array_equal(got[::2], turned_logits[::2])
  assert np.abs(got[1] - turned_logits[1]).max() > 1e-2
  # Rows beside those in parallel are as without them.
  np.testing.assert_allclose(got[1], causal_logits[1], rtol=1e-5, atol=1e-6)


def test_padding_of_images_changes_nothing(model, causal_logits):
  filled = np.where(IMAGE_MASK[..., None], IMAGE, 100.0).astype(np.float32)
  wider = np.concatenate([filled, filled], axis=1)
  mask = np.concatenate([IMAGE_MASK, np.zeros_like(IMAGE_MASK)], axis=1)
  got = _logits(model, CAUSAL, wider, mask)
  # Weights of padding are exactly 0; the sums may be taken in another order.
  np.testing.assert_allclose(got, causal_logits, rtol=1e-5, atol=1e-6)


def test_unrolled_and_recomputed_layers_are_the_same(model, causal_logits):
  graph, params = nnx.split(model)
  apart = nnx.merge(graph, stack.layers_apart(nnx.to_pure_dict(params)))
  got = _logits(apart, CAUSAL, IMAGE, IMAGE_MASK)
  # The compiler may fuse layers in another order than in a scan.
  np.testing.assert_allclose(got, causal_logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("remat", ["dense", "block"])
def test_gradients_with_recomputation(remat):
  def grads(remat):
    model = tiny_decoder.make(remat=remat)

    def loss(model, image):
      return jnp.mean(jnp.square(_logits(model, MIXED, image, IMAGE_MASK)))

    return jax.jit(jax.grad(loss, argnums=(0, 1)))(model, IMAGE)

  got, want = grads(remat), grads("none")
  for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5 * np.abs(w).max())
  image_grad = np.abs(want[1]).max(axis=2)
  assert image_grad[IMAGE_MASK].min() > 1e-5
  assert not image_grad[~IMAGE_MASK].any()
  # Each part is trained, the mask token too.
  for path, leaf in jax.tree.leaves_with_path(want[0]):
    assert np.abs(leaf).max() > 1e-7, path


def test_dropout_is_that_of_a_row():
  model = tiny_decoder.make(dropout=0.5)
  keys = jax.random.split(jax.random.key(0), 3)
  got = _logits(model, CAUSAL, IMAGE, IMAGE_MASK, keys)
  one = _logits(
    model,
    inputs.causal(TARGETS[1:2], 1),
    IMAGE[1:2],
    IMAGE_MASK[1:2],
    keys[1:2],
  )
  np.testing.assert_allclose(got[1:2], one, rtol=1e-5, atol=1e-6)
  still = _logits(model, CAUSAL, IMAGE, IMAGE_MASK)
  assert np.abs(got - still).max() > 1e-2


@pytest.mark.parametrize("texts", [1, 2])
def test_steps_equal_the_whole_text(model, causal_logits, texts):
  """Several texts of an image share its keys and values."""

  @jax.jit
  def run(model, tokens_rL):
    images = model.images(IMAGE, IMAGE_MASK)

    def step(cache, at):
      logits_rV, cache = model.step(images, cache, *at)
      return cache, logits_rV

    cache = model.empty_cache(len(tokens_rL), 7)
    return jax.lax.scan(step, cache, (tokens_rL.T, jnp.arange(7)))[1]

  got_Lrv = run(model, jnp.repeat(CAUSAL.tokens_bL, texts, axis=0))
  got_rLV = np.swapaxes(got_Lrv, 0, 1)
  want_rLV = np.repeat(causal_logits, texts, axis=0)
  # Products of one token and of seven may be summed in another order.
  np.testing.assert_allclose(got_rLV, want_rLV, rtol=1e-5, atol=1e-5)
  graph, params = nnx.split(model)
  apart = nnx.merge(graph, stack.layers_apart(nnx.to_pure_dict(params)))
  got_Lrv = run(apart, jnp.repeat(CAUSAL.tokens_bL, texts, axis=0))
  np.testing.assert_allclose(
    np.swapaxes(got_Lrv, 0, 1), want_rLV, rtol=1e-5, atol=1e-5
  )


@pytest.mark.parametrize("tied", [False, True])
def test_loss_on_meshes_equals_one_device(tied):
  """Parameters are split by the rules, rows over data and fsdp."""
  num_rows = 4
  image = np.tile(IMAGE, (2, 1, 1))[:num_rows]
  targets = np.tile(TARGETS, (2, 1))[:num_rows]
  keys = jax.random.split(jax.random.key(5), num_rows)

  def grads(mesh, axes, batch_axes):
    model = tiny_decoder.make(batch_axes=batch_axes, tied=tied)
    graph, params = nnx.split(model)
    params = nnx.to_pure_dict(params)

    def loss(params, image, targets, keys):
      model = nnx.merge(graph, params["decoder"])
      given = inputs.mixed(targets, inputs.draw_parallel(keys, 0.5), begin_id=1)
      table, bias = model.vectors()
      losses = vocabulary.cross_entropy(
        model.states(given, image), table, targets, bias, axes=axes
      )
      return jnp.mean(losses)

    params = {"decoder": params}
    rows = (image, targets, keys)
    if mesh is not None:
      rules = decoding.partition_rules(tied=tied)
      rules = (*rules, *_LAYER_RULES, (r".*", ()))
      params = jax.device_put(
        params, mesh_lib.param_shardings(rules, params, mesh)
      )
      rows = jax.device_put(rows, mesh_lib.batch_sharding(mesh))
    return jax.jit(jax.value_and_grad(loss))(params, *rows)

  want = grads(None, vocabulary.Axes(), ())
  drawn = inputs.draw_parallel(keys, 0.5)
  assert drawn.any()
  assert not drawn.all()
  mesh = pairs.make_mesh(2, 2, 2)
  axes = vocabulary.Axes(mesh_lib.BATCH_AXES, "tensor", "fsdp")
  with jax.set_mesh(mesh):
    got = grads(mesh, axes, mesh_lib.BATCH_AXES)
  np.testing.assert_allclose(got[0], want[0], rtol=1e-5)
  jax.tree.map(
    # Sums over rows and heads in another order.
    lambda g, w: np.testing.assert_allclose(g, w, 1e-4, 1e-5),
    jax.device_get(got[1]),
    jax.device_get(want[1]),
  )


def test_defaults_are_those_of_siglip2_b():
  config = decoder.DecoderConfig()
  config.check("decoder")
  settings = dual_encoder.settings_of(towers.MODEL)
  model = jax.eval_shape(
    lambda: decoder.Decoder(
      config, settings, image_width=768, rngs=nnx.Rngs(params=0)
    )
  )
  sizes = jax.tree.map(lambda x: math.prod(x.shape), _params(model))
  # Four kernels for each attention, two of four times the width, three norms.
  layer = 2 * 4 * 768**2 + 2 * 4 * 768**2 + 3 * 768
  assert sum(jax.tree.leaves(sizes["blocks"])) == 6 * layer
  assert sizes["words"] == sizes["token_embedding"] == 256_000 * 768


def test_new_decoders_predict_all_words_alike():
  config = dataclasses.replace(tiny_decoder.CONFIG, depth=1)
  settings = dual_encoder.settings_of(towers.MODEL)
  model = decoder.Decoder(config, settings, image_width=6, rngs=nnx.Rngs(0))
  assert not np.any(_logits(model, CAUSAL, IMAGE))
  # 96 draws: the deviation of their deviation is 0.07.
  assert abs(np.std(model.token_embedding[...]) - 1) < 0.3


def test_bad_fields_are_named():
  config = decoder.DecoderConfig(
    width=10,
    num_heads=3,
    activation="step",
    begin_id=256_000,
    parallel_share=1.5,
  )
  with pytest.raises(ValueError, match="5 problems") as error:
    config.check("decoder")
  for words in (
    "decoder.width must be a multiple of decoder.num_heads; got 10 and 3",
    "decoder.activation must be one of",
    "decoder.begin_id must be in [0, 256000); got 256000",
    "decoder.parallel_share must be between 0 and 1; got 1.5",
  ):
    assert words in str(error.value)


def test_texts_that_are_too_long_are_refused(model):
  longer = inputs.causal(np.ones((1, 8), np.int32), 1)
  with pytest.raises(ValueError, match="at most num_tokens=7 tokens; got 8"):
    model.states(longer, IMAGE[:1])
  with pytest.raises(ValueError, match="at most num_tokens=7 tokens; got 8"):
    model.empty_cache(1, 8)


def test_layers_without_biases_have_none():
  norm = layers.LayerNorm(4, epsilon=1e-6, dtype="float32", use_bias=False)
  assert set(_params(norm)) == {"scale"}
