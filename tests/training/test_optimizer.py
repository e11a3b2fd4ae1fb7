"""Optimizers against optax, hand-written updates and unstacked layers.

Tolerance: both sides compute in float32 and differ in the order of a few
operations, so 1e-6 relative is about ten roundings.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from runtime import param_rules
from tests import runs
from training import optimizer

_RTOL = 1e-6
_TOTAL = 30
_STEPS = 4
_DEPTH = 3


def _config(**changes):
  defaults = {
    "optimizer.clip_norm": 0.0,
    "optimizer.schedule": "linear",
    "optimizer.warmup_steps": 2,
  }
  fields = {f"optimizer.{name}": value for name, value in changes.items()}
  return runs.make_config(defaults | fields).optimizer


def _params(sizes=(130, 140)):
  """Return stacked layers and single leaves, none of them 0."""
  rng = np.random.default_rng(0)
  make = lambda *shape: jnp.asarray(  # noqa: E731
    rng.normal(size=shape) + 0.1, jnp.float32
  )
  return {
    "img": {
      "blocks": {
        "up": {"kernel": make(_DEPTH, *sizes), "bias": make(_DEPTH, 6)}
      },
      "head": {"kernel": make(4, 5)},
    },
    "log_scale": make(),
  }


def _grads(params, step):
  rng = np.random.default_rng(100 + step)

  def noise(path, x):
    # Layers differ in size, so that what is per layer shows.
    stacked = "blocks" in param_rules.path_string(path)
    size = 10.0 ** np.arange(len(x)) if stacked else np.ones(1)
    shape = (-1,) + (1,) * (x.ndim - 1) if stacked else ()
    return jnp.asarray(
      rng.normal(size=x.shape) * size.reshape(shape), jnp.float32
    )

  return jax.tree.map_with_path(noise, params)


def _run(opt, params, grads_fn=_grads, steps=_STEPS):
  state = opt.init(params)
  update = jax.jit(opt.update)
  for step in range(steps):
    updates, state = update(grads_fn(params, step), state, params)
    params = optax.apply_updates(params, updates)
  return params, state


def _assert_close(got, expected, rtol=_RTOL):
  assert jax.tree.structure(got) == jax.tree.structure(expected)
  for (path, x), y in zip(
    jax.tree.leaves_with_path(got), jax.tree.leaves(expected), strict=True
  ):
    np.testing.assert_allclose(
      np.asarray(x, np.float32),
      np.asarray(y, np.float32),
      rtol=rtol,
      atol=rtol,
      err_msg=param_rules.path_string(path),
    )


def _factor(step):
  """Return the schedule of `_config`, computed by hand."""
  return step / 2 if step < 2 else 1 - (step - 2) / (_TOTAL - 2)


def _make(config, params):
  return optimizer.make_optimizer(config, params, _TOTAL)


def test_adamw_is_that_of_optax():
  params = _params()
  config = _config(weight_decay=0.1, weight_decay_mults=((".*", 1.0),))
  expected = optax.adamw(
    lambda step: 1e-3 * config.make_schedule(_TOTAL)(step),
    b1=0.9,
    b2=0.95,
    eps=1e-8,
    weight_decay=0.1,
  )
  _assert_close(
    _run(_make(config, params), params)[0], _run(expected, params)[0]
  )


def _adamw_by_hand(config, params, *, decay_rate):
  """Return Adam with decay in NumPy, leaf by leaf; kernels decay."""
  out = {}
  for path, p in jax.tree.leaves_with_path(params):
    name = param_rules.path_string(path)
    p = np.asarray(p, np.float64)
    m = v = np.zeros_like(p)
    decay = config.weight_decay if name.endswith("/kernel") else 0.0
    for step in range(_STEPS):
      grads = _grads(params, step)
      g = np.asarray(
        functools.reduce(lambda t, k: t[k.key], path, grads), np.float64
      )
      m = config.b1 * m + (1 - config.b1) * g
      v = config.b2 * v + (1 - config.b2) * g**2
      mean = m / (1 - config.b1 ** (step + 1))
      square = v / (1 - config.b2 ** (step + 1))
      rate = config.learning_rate * _factor(step)
      p = (
        p
        - rate * mean / (np.sqrt(square) + config.epsilon)
        - decay_rate(rate, _factor(step)) * decay * p
      )
    out[name] = p
  return out


@pytest.mark.parametrize(
  ("convention", "decay_rate"),
  [("lr", lambda rate, _: rate), ("schedule", lambda _, factor: factor)],
)
def test_decay_conventions(convention, decay_rate):
  params = _params((3, 4))
  config = _config(
    learning_rate=0.01,
    weight_decay=0.2,
    weight_decay_convention=convention,
  )
  got, _ = _run(_make(config, params), params)
  expected = _adamw_by_hand(config, params, decay_rate=decay_rate)
  for path, x in jax.tree.leaves_with_path(got):
    name = param_rules.path_string(path)
    np.testing.assert_allclose(x, expected[name], rtol=1e-5, err_msg=name)


def test_decay_rules_choose_parameters():
  params = _params((3, 4))
  make = lambda mults: _run(  # noqa: E731
    _make(_config(weight_decay=0.5, weight_decay_mults=mults), params), params
  )[0]
  none = make(((".*", 0.0),))
  some = make(((r"img/head/.*", 1.0), (r".*", 0.0)))
  assert (some["img"]["head"]["kernel"] != none["img"]["head"]["kernel"]).all()
  some["img"]["head"] = none["img"]["head"]
  _assert_close(some, none, rtol=0)


def _unstack(tree):
  """Give every layer leaves of its own."""
  blocks = tree["img"]["blocks"]
  layers = {
    f"layer_{i}": jax.tree.map(lambda x, i=i: x[i], blocks)
    for i in range(_DEPTH)
  }
  return tree | {"img": {"head": tree["img"]["head"]} | layers}


@pytest.mark.parametrize("name", ["adamw", "lamb", "adafactor"])
def test_stacked_layers_are_treated_like_single_ones(name):
  """Kernels of 130 x 140 are large enough for Adafactor to factor."""
  params = _params()
  config = _config(name=name, weight_decay=0.1, learning_rate=0.01)
  stacked, _ = _run(_make(config, params), params)
  single = _unstack(params)
  unstacked, _ = _run(
    _make(config, single),
    single,
    lambda _, step: _unstack(_grads(params, step)),
  )
  # Sums over a layer run in another order.
  _assert_close(_unstack(stacked), unstacked, rtol=2e-6)


def test_adafactor_factors_large_kernels():
  params = _params()
  _, state = _run(_make(_config(name="adafactor"), params), params)
  sizes = {x.shape for x in jax.tree.leaves(state)}
  assert {(_DEPTH, 130), (_DEPTH, 140)} <= sizes  # a row and a column each
  # Only the first moment has the kernel's own shape.
  whole = [x for x in jax.tree.leaves(state) if x.shape == (_DEPTH, 130, 140)]
  assert len(whole) == 1
  _, state = _run(_make(_config(name="adafactor", b1=0.0), params), params)
  assert (_DEPTH, 130, 140) not in {x.shape for x in jax.tree.leaves(state)}


def test_adafactor_clips_updates():
  """The first update has root mean square 1 at most, whatever the gradient."""
  params = _params()
  config = _config(
    name="adafactor",
    b1=0.0,
    weight_decay=0.0,
    learning_rate=1.0,
    schedule="constant",
    warmup_steps=0,
  )
  opt = _make(config, params)
  state = opt.init(params)
  grads = jax.tree.map(lambda g: 1e3 * g, _grads(params, 0))
  quiet = jax.tree.map(lambda g: 1e-3 * g, _grads(params, 1))
  _, state = opt.update(quiet, state, params)
  updates, _ = opt.update(grads, state, params)
  kernel = updates["img"]["blocks"]["up"]["kernel"]
  rms = jnp.sqrt(jnp.mean(jnp.square(kernel), axis=(1, 2)))
  np.testing.assert_allclose(rms, np.ones(_DEPTH), rtol=1e-5)


def test_lamb_is_that_of_optax_on_single_layers():
  params = {"head": _params()["img"]["head"]}
  config = _config(
    name="lamb", weight_decay=0.1, weight_decay_mults=((".*", 1.0),)
  )
  expected = optax.lamb(
    lambda step: 1e-3 * config.make_schedule(_TOTAL)(step),
    b1=0.9,
    b2=0.95,
    eps=1e-8,
    weight_decay=0.1,
  )
  _assert_close(
    _run(_make(config, params), params)[0], _run(expected, params)[0]
  )


def test_lamb_moves_a_parameter_of_norm_0():
  params = {"blocks": {"kernel": jnp.zeros((2, 3, 3)).at[1].set(1.0)}}
  config = _config(name="lamb", schedule="constant", warmup_steps=0)
  opt = optimizer.make_optimizer(
    # The default's last rule has no parameter here.
    _config(
      name="lamb",
      schedule="constant",
      warmup_steps=0,
      weight_decay_mults=((".*", 0.0),),
    ),
    params,
    _TOTAL,
  )
  updates, _ = opt.update(
    jax.tree.map(jnp.ones_like, params), opt.init(params), params
  )
  kernel = updates["blocks"]["kernel"]
  rate = config.learning_rate
  np.testing.assert_allclose(kernel[0], -rate * np.ones((3, 3)), rtol=1e-5)
  # Ratio 1: norm 3 of the parameter, norm 3 of Adam's first update.
  np.testing.assert_allclose(kernel[1], -rate * np.ones((3, 3)), rtol=1e-5)


@pytest.mark.parametrize("name", ["adamw", "lamb", "adafactor"])
def test_frozen_parameters(name):
  params = _params((3, 4))
  config = _config(
    name=name,
    weight_decay=0.5,
    freeze=((r"img/blocks/.*", True), (".*", False)),
  )
  opt = _make(config, params)
  got, state = _run(opt, params)
  for path, x in jax.tree.leaves_with_path(got):
    before = functools.reduce(lambda t, k: t[k.key], path, params)
    if "blocks" in param_rules.path_string(path):
      np.testing.assert_array_equal(x, before)
    else:
      assert (x != before).all(), path
  for path, x in jax.tree.leaves_with_path(state):
    assert "blocks" not in param_rules.path_string(path), path
    assert _DEPTH not in x.shape[:1], path


def test_all_frozen_has_no_moments():
  params = _params((3, 4))
  opt = _make(_config(freeze=((".*", True),)), params)
  got, state = _run(opt, params)
  _assert_close(got, params, rtol=0)
  assert all(x.size == 1 for x in jax.tree.leaves(state))


def test_learning_rate_multipliers():
  params = _params((3, 4))
  config = _config(weight_decay=0.0)
  mults = ((r"img/head/.*", 0.25), (r"log_scale", 0.0), (r".*", 1.0))
  one = _make(config, params)
  scaled = _make(_config(weight_decay=0.0, learning_rate_mults=mults), params)
  grads = _grads(params, 0)
  states = [opt.init(params) for opt in (one, scaled)]
  for _ in range(2):  # the rate of step 0 is 0
    (plain, a), (got, b) = (
      opt.update(grads, state, params)
      for opt, state in zip((one, scaled), states, strict=True)
    )
    states = [a, b]
  assert jnp.abs(plain["log_scale"]) > 0
  expected = plain | {
    "img": plain["img"]
    | {"head": jax.tree.map(lambda u: u * 0.25, plain["img"]["head"])},
    "log_scale": jnp.zeros(()),
  }
  _assert_close(got, expected)


@pytest.mark.parametrize("name", ["adamw", "lamb", "adafactor"])
def test_moment_dtype(name):
  params = _params((3, 4))
  opt = _make(_config(name=name, moment_dtype="bfloat16"), params)
  got, state = _run(opt, params)
  low = [x for x in jax.tree.leaves(state) if x.dtype == jnp.bfloat16]
  assert len(low) == len(jax.tree.leaves(params))
  assert {x.dtype for x in jax.tree.leaves(got)} == {jnp.dtype("float32")}
  expected, _ = _run(_make(_config(name=name), params), params)
  # bfloat16 has 8 bits: 0.4 % of updates of 1e-3, trust ratios of up to 2.
  for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(x, y, atol=2e-4)


def test_clipping():
  grads = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([[4.0]])}
  norm = optax.tree.norm(grads)
  assert norm == 5
  for limit, factor in ((0.0, 1.0), (10.0, 1.0), (5.0, 1.0), (1.0, 0.2)):
    clipped = optimizer.clip_by_global_norm(grads, norm, limit)
    _assert_close(clipped, jax.tree.map(lambda g, f=factor: g * f, grads))
  zeros = jax.tree.map(jnp.zeros_like, grads)
  _assert_close(
    optimizer.clip_by_global_norm(zeros, jnp.zeros(()), 1.0), zeros, rtol=0
  )


@pytest.mark.parametrize(
  "field", ["weight_decay_mults", "learning_rate_mults", "freeze"]
)
def test_rules_must_match(field):
  params = _params((3, 4))
  value = False if field == "freeze" else 1.0
  unused = (("vid/.*", value), (".*", value))
  with pytest.raises(ValueError, match=f"optimizer.{field}: .*'vid/.*' wins"):
    _make(_config(**{field: unused}), params)
  with pytest.raises(ValueError, match=f"optimizer.{field} has no rule .*log"):
    _make(_config(**{field: (("img/.*", value),)}), params)


def test_l2_is_added_before_the_moments():
  params = _params()
  config = _config(
    weight_decay=0.3,
    weight_decay_convention="l2",
    weight_decay_mults=((r".*", 1.0),),
    schedule="constant",
    warmup_steps=0,
  )
  opt = optimizer.make_optimizer(config, params, _TOTAL)
  # torch.optim.Adam(weight_decay=0.3): the gradient gets 0.3 x the parameter.
  reference = optax.chain(
    optax.add_decayed_weights(0.3),
    optax.adam(config.learning_rate, config.b1, config.b2, config.epsilon),
  )
  _assert_close(_run(opt, params)[0], _run(reference, params)[0])


def test_adamax():
  params = _params()
  config = _config(name="adamax", weight_decay=0.0, schedule="constant")
  config = dataclasses.replace(config, warmup_steps=0)
  opt = optimizer.make_optimizer(config, params, _TOTAL)
  reference = optax.adamax(
    config.learning_rate, config.b1, config.b2, config.epsilon
  )
  _assert_close(_run(opt, params)[0], _run(reference, params)[0])


def test_adamax_has_float32_moments():
  with pytest.raises(ValueError, match="moment_dtype must be 'float32'"):
    _config(name="adamax", moment_dtype="bfloat16")


def test_layer_decay():
  params = {
    "img": {
      "patch": {"kernel": jnp.ones((2, 3))},
      "blocks": {"up": {"kernel": jnp.ones((3, 2, 2))}},
      "norm": {"scale": jnp.ones(2)},
    },
    "txt": {
      "token_embedding": jnp.ones((5, 2)),
      "blocks": {"up": {"bias": jnp.ones((2, 4))}},
      "projection": {"kernel": jnp.ones((2, 2))},
    },
    "log_scale": jnp.ones(()),
  }
  changes = {"weight_decay": 0.0, "schedule": "constant", "warmup_steps": 0}
  grads = lambda params, step: params  # noqa: E731
  step = functools.partial(_run, params=params, grads_fn=grads, steps=1)
  make = lambda **more: optimizer.make_optimizer(  # noqa: E731
    _config(**changes | more), params, _TOTAL
  )
  whole, part = step(make())[0], step(make(layer_decay=0.5))[0]
  shares = jax.tree.map(
    lambda p, a, b: np.asarray((p - b) / (p - a)), params, whole, part
  )
  for share, expected in (
    (shares["img"]["patch"]["kernel"], 1 / 16),
    (shares["img"]["blocks"]["up"]["kernel"][0], 1 / 8),
    (shares["img"]["blocks"]["up"]["kernel"][2], 1 / 2),
    (shares["img"]["norm"]["scale"], 1),
    (shares["txt"]["token_embedding"], 1 / 8),
    (shares["txt"]["blocks"]["up"]["bias"][0], 1 / 4),
    (shares["txt"]["projection"]["kernel"], 1),
    (shares["log_scale"], 1),
  ):
    # Differences of 1e-3 from parameters of 1 have three digits fewer.
    np.testing.assert_allclose(share, expected, rtol=1e-3)


@pytest.mark.parametrize(
  ("tower", "message"),
  [
    ({"stages": {"kernel": jnp.ones(2)}}, "without stacked layers; got 0.5"),
    (
      {"blocks": {"up": jnp.ones((2, 2))}, "other": jnp.ones(2)},
      "no layer for the parameter img/other",
    ),
  ],
)
def test_layer_decay_without_layers(tower, message):
  with pytest.raises(ValueError, match=message):
    optimizer.make_optimizer(
      _config(layer_decay=0.5, weight_decay_mults=((r".*", 0.0),)),
      {"img": tower},
      _TOTAL,
    )
