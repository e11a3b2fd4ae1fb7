"""Pairs, decoder and self-distillation in one step: SigLIP 2's losses."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runtime import mesh as mesh_lib
from tests import steps, tiny_joint
from training import config as config_lib
from training import objectives
from training.objectives import joint, pairs

# The state after some steps, on one device, takes 10 s.
pytestmark = pytest.mark.slow


def _config(arg="all", **changes):
  """Return a config of the step; its data, without boxes, are not read."""
  values = tiny_joint.get_config(arg)
  values.update_from_flattened_dict(
    {"data.regions.tasks": "all"} | steps.FAST | changes
  )
  return config_lib.from_mapping(values.to_dict())


@functools.cache
def _alone():
  config = _config()
  return config, *steps.build(config).run(config, 4)


def test_the_loss_falls():
  _, state, seen = _alone()
  losses = [float(metrics["train/loss"]) for metrics in seen]
  assert np.isfinite(losses).all()
  # Batches alternate.
  assert losses[3] < losses[1]
  names = [f"train/{x}_loss" for x in ("decoder", "consistency", "masked")]
  assert {*names} < {*seen[0]}
  for name in names:
    assert float(seen[0][name]) > 0.1
  assert int(state.step) == 4


@pytest.mark.parametrize(
  ("shape", "microbatches"), [((2, 2, 2), 1), ((2, 1, 1), 1), ((1, 1, 1), 2)]
)
def test_meshes_and_micro_batches_change_nothing(shape, microbatches):
  _, expected, other = _alone()
  config = _config(num_microbatches=microbatches)
  state, seen = steps.build(config, shape).run(config, 4)
  for one, two in zip(seen, other, strict=True):
    for name in one:
      np.testing.assert_allclose(one[name], two[name], rtol=2e-4, err_msg=name)
  for part in ("params", "stats", "ema"):
    got = steps.arrays(getattr(state, part))
    for name, x in steps.arrays(getattr(expected, part)).items():
      np.testing.assert_allclose(
        got[name], x, atol=steps.ATOL, err_msg=f"{part} {name}"
      )


def test_the_teacher_is_the_average_of_the_student():
  """ema = kept * ema + (1 - kept) * params, with each step's own share."""
  config = _config()
  built = steps.build(config)
  before = jax.device_get(built.state.ema)
  initial = jax.device_get(built.state.params["img"])
  jax.tree.map(np.testing.assert_array_equal, before["img"], initial)
  assert "mask" not in before["distilling"]
  state, _ = built.run(config, 1)
  kept = float(config.distillation.momentum_at(0, config.total_steps))
  assert kept == pytest.approx(config.distillation.momentum[0])
  want = jax.tree.map(
    lambda old, new: kept * old + (1 - kept) * new,
    before["img"],
    jax.device_get(state.params["img"]),
  )
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, atol=1e-7),
    jax.device_get(state.ema["img"]),
    want,
  )


def test_the_share_follows_half_a_cosine():
  config = dataclasses.replace(
    _config().distillation, momentum=(0.9, 1.0), first_step=10
  )
  got = [float(config.momentum_at(step, 20)) for step in (0, 10, 15, 20, 30)]
  np.testing.assert_allclose(got, [0.9, 0.9, 0.95, 1.0, 1.0], atol=1e-6)


@functools.cache
def _gradients():
  """Return the gradient of each loss alone, by its name."""
  config = _config()
  mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
  with jax.set_mesh(mesh):
    objective = objectives.make(config)
    variables = objective.init_params(jax.random.key(0))
    # Zeros as initial logits would hide the decoder's other gradients.
    words = variables["decoder"]["words"]
    variables["decoder"]["words"] = words + 0.1 * jax.random.normal(
      jax.random.key(1), words.shape
    )
    params, stats = joint.batch_norm.split(variables)
    teacher = joint._averaged(
      joint.batch_norm.split(objective.init_params(jax.random.key(2)))[0]
    )
    rows = objective.batch_of(steps.batch(config))
    keys = jax.random.split(jax.random.key(3), config.batch_size)
    rows = dataclasses.replace(rows, keys=keys)

    def losses(params, ema):
      outputs, _ = objective.bind(ema).embed(params, stats, rows)
      found = {name: joint.mean(*part) for name, part in outputs.parts.items()}
      return found | {"pairs": objective.parts["pairs"](params, outputs, rows)}

    values = jax.jit(losses)(params, teacher)
    grads = {
      name: jax.jit(jax.grad(lambda *x, name=name: losses(*x)[name], (0, 1)))(
        params, teacher
      )
      for name in values
    }
  return values, grads


def test_each_loss_has_a_gradient_where_it_should():
  """Image tower: all four; text tower: pairs alone; heads: their own loss."""
  values, grads = _gradients()
  assert {*values} == {"pairs", "decoder", "consistency", "masked"}

  def norm(name, *path):
    tree = grads[name][0]
    for part in path:
      tree = tree[part]
    return float(
      jnp.sqrt(sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(tree)))
    )

  for name in values:
    assert norm(name, "img") > 1e-4, name
    assert (norm(name, "txt") > 1e-4) == (name == "pairs")
    assert (norm(name, "decoder") > 1e-4) == (name == "decoder")
    for head, owner in (("views", "consistency"), ("patches", "masked")):
      assert (norm(name, "distilling", head) > 1e-4) == (name == owner)
  assert norm("masked", "distilling", "mask") > 1e-6


def test_no_gradient_into_the_teacher():
  _, grads = _gradients()
  for _, teacher in grads.values():
    for x in jax.tree.leaves(teacher):
      np.testing.assert_array_equal(x, 0)


def test_without_weights_it_is_the_objective_of_pairs():
  config = _config("")
  assert not joint.is_on(config)
  with jax.set_mesh(mesh_lib.make_mesh(config.mesh, jax.devices()[:1])):
    assert isinstance(objectives.make(config).batch, pairs.Batch)


@pytest.mark.parametrize(
  ("arg", "changes", "message"),
  [
    ("decoder", {"decoding.decoder.vocab_size": 9}, "decoder.vocab_size"),
    ("decoder", {"decoding.decoder.num_tokens": 8}, "decoder.num_tokens"),
    ("decoder", {"data.regions.num_tokens": 0}, "data.regions.num_tokens"),
    ("decoder", {"loss.scope": "microbatch"}, "loss.scope"),
    ("", {"data.regions.num_tokens": 16,
          "data.regions.tasks": "drawn",
          "data.regions.probabilities": (1.0, 0.0, 0.0)},
     "data.regions.num_tokens must be 0"),
    ("", {"data.views.has_global": True}, "data.views.has_global"),
    ("masked", {"data.views.has_global": False}, "data.views.has_global"),
    ("masked", {"distillation.mask_share": 0.0}, "distillation.mask_share"),
    ("masked", {"model.image.patch_dropout": 0.5}, "patch_dropout"),
    ("consistency", {"data.views.num_local": 0}, "data.views.num_local"),
    ("consistency", {"data.views.local_size": 9}, "data.views.local_size"),
  ],
)  # fmt: skip
def test_sections_that_do_not_fit(arg, changes, message):
  values = tiny_joint.get_config(arg)
  values.update_from_flattened_dict(changes)
  with pytest.raises(ValueError, match=message):
    config_lib.checked(values.to_dict())
