"""A decoder alone learns, on towers that are held: loss.weight=0."""

import functools

import jax
import jax.numpy as jnp
import pytest

from models import dual_encoder
from runtime import mesh as mesh_lib
from runtime import param_rules
from tests import steps, tiny_joint
from training import config as config_lib
from training import flops, train_step
from training.objectives import joint

_FREEZE = ((r"decoder/.*", False), (r".*", True))


def _values(arg="decoder", **changes):
  values = tiny_joint.get_config(arg)
  values.loss.weight = 0.0
  values.optimizer.freeze = _FREEZE
  values.update_from_flattened_dict(steps.FAST | changes)
  return values.to_dict()


def _program(config):
  mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
  with jax.set_mesh(mesh):
    return train_step.make(config, mesh)


@pytest.mark.slow
def test_the_decoder_alone_learns():
  # All captions are predicted in parallel, so that the mask token learns too.
  config = config_lib.checked(
    _values(**{"decoding.decoder.parallel_share": 1.0})
  )
  built = steps.build(config)
  before = steps.arrays(jax.device_get(built.state.params))
  slots = [
    path
    for path, x in steps.arrays(jax.device_get(built.state.opt_state)).items()
    if x.ndim
  ]
  # Two moments of each parameter of the decoder, and of nothing else.
  of_decoder = [path for path in before if path.startswith("decoder/")]
  assert len(slots) == 2 * len(of_decoder)
  assert all("/decoder/" in path for path in slots)
  state, seen = built.run(config, 3)
  assert "train/decoder_loss" in seen[0]
  # The loss of the run is the decoder's.
  assert float(seen[0]["train/loss"]) == float(seen[0]["train/decoder_loss"])
  assert float(seen[2]["train/loss"]) < float(seen[0]["train/loss"])
  after = steps.arrays(jax.device_get(state.params))
  for path, x in before.items():
    if path.startswith("decoder/"):
      assert (after[path] != x).any(), path
    else:
      assert after[path].tobytes() == x.tobytes(), path


def test_no_text_is_embedded():
  """FLOPs of a step are those with pairs less the text tower's and logits'."""
  counts = {}
  for weight in (0.0, 1.0):
    config = config_lib.checked(_values(**{"loss.weight": weight}))
    program = _program(config)
    with jax.set_mesh(mesh_lib.make_mesh(config.mesh, jax.devices()[:1])):
      counts[weight] = flops.count(program.step, program.state, program.batch)
  tokens = jax.ShapeDtypeStruct(
    (config.batch_size, config.data.num_tokens), jnp.int32
  )
  _, embed_texts = dual_encoder.embed_fns(config.model)
  text = flops.count(
    embed_texts,
    jax.eval_shape(
      functools.partial(dual_encoder.init_params, config.model),
      jax.random.key(0),
    ),
    tokens,
  )
  # Held towers have no backward pass; logits and their gradient are below 2 %.
  assert text <= counts[1.0] - counts[0.0] < 1.02 * text
  assert text > 0.1 * counts[0.0]


def test_pairs_have_a_weight():
  z_BE = jnp.eye(8, 16)
  params = {"log_scale": jnp.zeros(()), "bias": jnp.zeros(())}
  parts = {"decoder": (jnp.full(8, 6.0), jnp.full(8, 2.0))}
  losses = []
  for weight in (0.5, 1.0):
    config = config_lib.checked(_values(**{"loss.weight": weight}))
    mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
    with jax.set_mesh(mesh):
      batch = joint.Batch(None, None)
      outputs = joint.Outputs(z_BE, z_BE, parts)
      losses.append(joint.make(config).loss(params, outputs, batch))
  # The decoder's mean is 3.
  assert losses[1] > 4
  assert float(losses[0]) == pytest.approx((float(losses[1]) + 3) / 2)


def test_an_image_tower_may_learn_with_the_decoder():
  """Captioning alone (CapPa): what the decoder does not read is held."""
  values = _values(
    **{
      "optimizer.freeze": (
        (r"(txt|img/pool)/.*|log_scale|bias", True),
        (r".*", False),
      )
    }
  )
  slots = [
    param_rules.path_string(path)
    for path, _ in jax.tree.leaves_with_path(
      _program(config_lib.checked(values)).state.opt_state
    )
  ]
  assert any("/img/blocks/" in path for path in slots)
  assert not any("/txt/" in path or "/img/pool/" in path for path in slots)


@pytest.mark.parametrize(
  ("arg", "changes", "message"),
  [
    ("", {}, "loss.weight must be 1 without config.decoding"),
    ("", {"loss.weight": 0.5}, "loss.weight must be 1 without"),
    ("masked", {}, "loss.weight must be above 0 without a decoder"),
    ("decoder", {"loss.weight": -1.0}, "loss.weight must be at least 0"),
    ("decoder", {"text_lengths": (8, 16)}, r"text_lengths must be \(\)"),
  ],
)
def test_sections_that_do_not_fit(arg, changes, message):
  values = _values(arg, **changes)
  with pytest.raises(ValueError, match=message):
    config_lib.checked(values)


def test_a_tower_that_nothing_trains():
  values = _values(**{"optimizer.freeze": ((r"img/.*", True), (r".*", False))})
  with pytest.raises(ValueError, match="optimizer.freeze must hold") as raised:
    _program(config_lib.checked(values))
  assert "such as bias" in str(raised.value)
