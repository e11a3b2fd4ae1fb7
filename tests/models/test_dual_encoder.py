"""The dual encoder: properties over examples, precision, sizes, messages."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import dual_encoder
from tests.models import towers

_IMAGES = {
  f"{pool}-{position}": {"pool": pool, "position": position}
  for pool in ("cls", "gap", "map", "queries")
  for position in ("learned", "sincos2d")
}


def _norms(z_bE):
  return np.linalg.norm(np.asarray(z_bE, np.float64), axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("image", _IMAGES.values(), ids=_IMAGES)
def test_image_embeddings(image):
  pre_norm = image["pool"] == "cls"
  config = towers.make_config(
    image={**image, "pre_norm": pre_norm, "num_queries": 3, "pool_heads": 2}
  )
  config.check()
  model = towers.make_model(config)
  images = towers.make_images(4)
  zimg_bE = towers.embed_images(model, images)
  assert zimg_bE.shape == (4, 12)
  assert zimg_bE.dtype == jnp.float32
  np.testing.assert_allclose(_norms(zimg_bE), 1, rtol=1e-6)
  # Other pictures, other embeddings; and each on its own the same.
  assert np.abs(zimg_bE[0] - zimg_bE[1]).max() > 1e-3
  np.testing.assert_allclose(
    towers.embed_images(model, images[1:2]), zimg_bE[1:2], atol=1e-6
  )
  # Patches have places: a picture turned upside down is another one.
  assert (
    np.abs(towers.embed_images(model, images[:, ::-1]) - zimg_bE).max() > 1e-3
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  ("pool", "causal"),
  [
    (pool, causal)
    for pool in ("last", "first", "eot", "mean", "map", "cls")
    for causal in (False, True)
    if not (pool == "first" and causal)
  ],
)
def test_text_embeddings(pool, causal):
  config = towers.make_config(
    text={"pool": pool, "causal": causal, "mask_padding": False}
  )
  model = towers.make_model(config)
  tokens = towers.make_tokens()
  ztxt_bE = towers.embed_texts(model, tokens)
  assert ztxt_bE.shape == (3, 12)
  assert ztxt_bE.dtype == jnp.float32
  np.testing.assert_allclose(_norms(ztxt_bE), 1, rtol=1e-6)
  np.testing.assert_allclose(
    towers.embed_texts(model, tokens[1:2]), ztxt_bE[1:2], atol=1e-6
  )
  swapped = tokens.at[:, :2].set(tokens[:, 1::-1])
  assert np.abs(towers.embed_texts(model, swapped) - ztxt_bE).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
  ("pool", "causal"),
  [
    ("first", False),
    ("eot", False),
    ("mean", False),
    ("map", False),
    ("eot", True),
    ("map", True),
  ],
)
def test_padding_does_not_change_an_embedding(pool, causal):
  model = towers.make_model(
    towers.make_config(text={"pool": pool, "causal": causal})
  )
  short = towers.make_tokens(lengths=(3, 5), num_tokens=5)
  padded = jnp.pad(short, ((0, 0), (0, 3)))
  # The same terms and zeros, in another order of summation.
  np.testing.assert_allclose(
    towers.embed_texts(model, padded),
    towers.embed_texts(model, short),
    atol=1e-6,
  )


def test_causal_tower_does_not_see_the_future():
  model = towers.make_model(
    towers.make_config(text={"causal": True, "mask_padding": False})
  )
  tokens = towers.make_tokens(lengths=(8, 8))
  changed = tokens.at[:, 5:].add(1)

  def hidden(tokens_bL):
    captured = {}
    tower = model.txt

    def pool(x_bLD, mask_b11L):
      del mask_b11L
      captured["x_bLD"] = x_bLD
      return x_bLD[:, -1]

    tower._pool = pool
    tower(tokens_bL)
    return captured["x_bLD"]

  before, after = hidden(tokens), hidden(changed)
  np.testing.assert_array_equal(before[:, :5], after[:, :5])
  assert np.abs(before[:, 5:] - after[:, 5:]).max() > 1e-3


def test_one_modality_alone():
  model = towers.make_model(towers.MODEL)
  images, tokens = towers.make_images(), towers.make_tokens()
  call = jax.jit(lambda model, *args, **kwargs: model(*args, **kwargs))
  zimg_bE, ztxt_bE = call(model, images, tokens)
  only_images, no_texts = call(model, images)
  no_images, only_texts = call(model, tokens_bL=tokens)
  assert no_texts is None
  assert no_images is None
  np.testing.assert_allclose(only_images, zimg_bE, atol=1e-6)
  np.testing.assert_allclose(only_texts, ztxt_bE, atol=1e-6)


def test_bfloat16_is_near_float32():
  images, tokens = towers.make_images(), towers.make_tokens()
  params = towers.make_params(towers.MODEL)
  outputs = {}
  for dtype in dual_encoder.DTYPES:
    config = towers.make_config(dtype=dtype)
    assert {x.dtype for x in jax.tree.leaves(towers.make_params(config))} == {
      jnp.dtype("float32")
    }
    graph = dual_encoder.make_graph(config)
    model = dual_encoder.merge(graph, params)
    outputs[dtype] = (
      towers.embed_images(model, images),
      towers.embed_texts(model, tokens),
    )
  for half, full in zip(outputs["bfloat16"], outputs["float32"], strict=True):
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(_norms(half), 1, rtol=1e-6)
    # 8 bits of mantissa, about 10 roundings deep, entries up to 1.
    np.testing.assert_allclose(half, full, atol=5e-2)
    assert np.abs(half - full).max() > 0  # it is another arithmetic


@pytest.mark.slow
def test_gradients_are_float32_finite_and_reach_every_parameter():
  config = towers.make_config(dtype="bfloat16")
  graph = dual_encoder.make_graph(config)
  params = towers.make_params(config)
  images, tokens = towers.make_images(), towers.make_tokens()

  def loss_fn(params):
    zimg, ztxt = dual_encoder.merge(graph, params)(images, tokens)
    scale = jnp.exp(params["log_scale"])
    return jnp.sum(jnp.square(scale * zimg @ ztxt.T + params["bias"]))

  grads = jax.jit(jax.grad(loss_fn))(params)
  for path, grad in jax.tree.leaves_with_path(grads):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    assert grad.dtype == jnp.float32, name
    assert np.isfinite(grad).all(), name
    assert np.abs(grad).max() > 0, name


def test_zero_embedding_has_a_finite_gradient():
  """All of the projection 0: the norm's own gradient would be 0 / 0."""
  graph = dual_encoder.make_graph(towers.MODEL)
  params = towers.make_params(towers.MODEL)
  params["img"]["projection"] = jax.tree.map(
    jnp.zeros_like, params["img"]["projection"]
  )

  def loss_fn(params):
    model = dual_encoder.merge(graph, params)
    return jnp.sum(model.embed_images(towers.make_images()))

  value, grads = jax.jit(jax.value_and_grad(loss_fn))(params)
  assert value == 0
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(grads))


def test_scale_and_bias_start_as_configured():
  # Both leaves alone: the compiler drops what is not asked for.
  params = jax.jit(
    lambda key: {
      name: dual_encoder.init_params(towers.MODEL, key)[name]
      for name in ("log_scale", "bias")
    }
  )(jax.random.key(1))
  np.testing.assert_allclose(np.exp(params["log_scale"]), 10, rtol=1e-6)
  assert params["bias"] == -10


def test_parameter_count_of_clip_vit_b_32():
  """OpenAI's ViT-B/32 has 151,277,313; ours has a bias of the logits beside.

  Everything else matches, its one position embedding for the class token too.
  """
  config = towers.make_config(
    embed_dim=512,
    image={
      "image_size": 224,
      "patch_size": 32,
      "width": 768,
      "depth": 12,
      "num_heads": 12,
      "mlp_width": 3072,
      "pool": "cls",
      "pre_norm": True,
    },
    text={
      "vocab_size": 49_408,
      "num_tokens": 77,
      "width": 512,
      "depth": 12,
      "num_heads": 8,
      "mlp_width": 2048,
      "pool": "eot",
      "causal": True,
    },
  )
  config.check()
  shapes = jax.eval_shape(
    lambda key: dual_encoder.init_params(config, key), jax.random.key(0)
  )
  assert shapes["bias"].size == 1
  count = sum(x.size for x in jax.tree.leaves(shapes))
  assert count - shapes["bias"].size == 151_277_313


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"dtype": "float16"}, r"model\.dtype must be one of .*'float16'"),
    ({"remat": "all"}, r"model\.remat must be one of .*'all'"),
    ({"scale_init": 0.0}, r"model\.scale_init must be above 0"),
    (
      {"image": {"patch_size": 17}},
      r"model\.image\.image_size .*model\.image\.patch_size, .* 16 and 17",
    ),
    ({"image": {"pool": "max"}}, r"model\.image\.pool must be one of cls"),
    (
      {"image": {"pool": "queries", "num_queries": 2, "pool_heads": 5}},
      r"model\.image\.pool_heads that divides .* got 2, 5 and 12",
    ),
    (
      {"text": {"eot_id": 50}},
      r"model\.text\.eot_id must be .* model\.text\.vocab_size=50; got 50",
    ),
    ({"image": {"position": "2d"}}, r"model\.image\.position must be one of"),
    (
      {"image": {"activation": "tanh"}},
      r"model\.image\.activation must be one of .*gelu",
    ),
    (
      {"image": {"num_heads": 3}},
      r"model\.image\.width .*model\.image\.num_heads; got 16 and 3",
    ),
    (
      {"image": {"width": 6, "position": "sincos2d"}},
      r"model\.image\.width must be a multiple of 4 .* got 6",
    ),
    (
      {"image": {"projection": False}},
      r"model\.image\.width must equal model\.embed_dim .* got 16 and 12",
    ),
    ({"text": {"pool": "max"}}, r"model\.text\.pool must be one of last"),
    (
      {"text": {"num_heads": 5}},
      r"model\.text\.width .*model\.text\.num_heads; got 16 and 5",
    ),
    (
      {"text": {"projection": False}},
      r"model\.text\.width must equal model\.embed_dim .* got 16 and 12",
    ),
    (
      {"text": {"pool": "first", "causal": True}},
      r'model\.text\.pool="first" .*model\.text\.causal=True',
    ),
  ],
)
def test_check_names_the_field(changes, message):
  towers.MODEL.check()
  with pytest.raises(ValueError, match=message):
    towers.make_config(**changes).check()


def test_no_projection():
  config = towers.make_config(
    embed_dim=16, image={"projection": False}, text={"projection": False}
  )
  config.check()
  assert "projection" not in towers.make_params(config)["img"]
  model = towers.make_model(config)
  assert towers.embed_images(model, towers.make_images()).shape == (3, 16)
  assert towers.embed_texts(model, towers.make_tokens()).shape == (3, 16)


@pytest.mark.parametrize("bias", [False, True])
def test_features_before_the_projection(bias):
  config = towers.make_config(image={"projection_bias": bias})
  params, images = towers.make_params(config), towers.make_images()
  features = dual_encoder.feature_fn(config)(params, images)
  assert features.shape == (3, 16)
  projection = params["img"]["projection"]
  z = np.asarray(features) @ projection["kernel"] + projection.get("bias", 0)
  model = towers.make_model(config)
  np.testing.assert_allclose(
    z / np.linalg.norm(z, axis=1, keepdims=True),
    towers.embed_images(model, images),
    atol=1e-6,
  )


def test_configs_are_frozen():
  with pytest.raises(dataclasses.FrozenInstanceError):
    towers.MODEL.dtype = "float32"


def test_a_config_is_traced_once(monkeypatch):
  config = towers.make_config(embed_dim=20)
  made = []
  init = dual_encoder.DualEncoder.__init__

  def counted(self, *args, **kwargs):
    made.append(kwargs.get("batch_axes"))
    init(self, *args, **kwargs)

  monkeypatch.setattr(dual_encoder.DualEncoder, "__init__", counted)
  same = towers.make_config(embed_dim=20)
  assert same is not config
  graph = dual_encoder.make_graph(config)
  assert dual_encoder.make_graph(same) is graph
  assert dual_encoder.make_graph(config, ("data",)) is not graph
  assert made == [(), ("data",)]
  made.clear()
  for one in (config, same):
    shapes = jax.eval_shape(
      lambda key, one=one: dual_encoder.init_params(one, key), jax.random.key(0)
    )
    assert shapes["img"]["projection"]["kernel"].shape[-1] == 20
  assert len(made) == 1


def test_a_traced_config_has_the_program_and_the_numbers_of_a_new_one():
  config = towers.make_config(embed_dim=24)
  key = jax.random.key(3)

  def new(key):
    model = dual_encoder.DualEncoder(config, rngs=nnx.Rngs(params=key))
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))

  def again(key):
    return dual_encoder.init_params(config, key)

  for _ in range(2):
    jax.eval_shape(lambda key: again(key), key)
  new.__name__ = again.__name__
  assert (
    jax.jit(again).lower(key).as_text() == jax.jit(new).lower(key).as_text()
  )
  jax.tree.map(
    np.testing.assert_array_equal, jax.jit(again)(key), jax.jit(new)(key)
  )
