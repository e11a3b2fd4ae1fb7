"""CoCa's training: pairs and captions in one step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import coca
from runtime import mesh as mesh_lib
from tests import steps, tiny_coca
from training import config as config_lib
from training import objectives
from training.objectives import captioning, joint
from training.run import starting_parts, starting_weights


def _config(**changes):
  values = coca.get_config("mini")
  values.evaluate.sets = {}
  values.update_from_flattened_dict(tiny_coca.CHANGES | steps.FAST | changes)
  return config_lib.from_mapping(values.to_dict())


def _rows(config):
  """Return a batch whose captions end in padding, one of them all of it."""
  rows = steps.batch(config)
  tokens = np.array(rows["tokens"])
  for row, length in enumerate((6, 3, 4, 1)):
    tokens[row, length:] = 0
  return rows | {"tokens": tokens}


@functools.cache
def _computed():
  """Return of one batch: values, gradients, parts, log-probabilities."""
  config = _config()
  with jax.set_mesh(mesh_lib.make_mesh(config.mesh, jax.devices()[:1])):
    objective = objectives.make(config)
    params = objective.init_params(jax.random.key(0))
    batch = objective.batch_of(_rows(config))

    def losses(params):
      outputs, _ = objective.embed(params, {}, batch)
      caption = joint.mean(*outputs.parts["caption"])
      pairs = objective.parts["pairs"](params, outputs, batch)
      total = objective.loss(params, outputs, batch)
      return jnp.stack([pairs, caption, total]), outputs.parts

    def log_p(params):
      """Return the log-probabilities of all words at each place."""
      model = joint.dual_encoder.merge(joint._graph(config), params)
      captioner = joint.nnx.merge(
        joint._graph_of(config, "captioner"), params["captioner"]
      )
      _, (image_bND, text_bLD) = captioning.encode(
        model, batch.images, batch.tokens, None
      )
      logits_bLV = captioner.logits(captioner.states(text_bLD, image_bND))
      return jax.nn.log_softmax(logits_bLV, axis=-1)

    @jax.jit
    def run(params):
      values, pull, parts = jax.vjp(losses, params, has_aux=True)
      grads = [pull(jnp.eye(3)[index])[0] for index in range(2)]
      return values, grads, parts, log_p(params)

    return jax.device_get((batch.tokens, *run(params)))


@pytest.mark.slow
def test_the_loss_is_open_clip_s():
  """Two times the mean over all tokens that are not padding, plus pairs'."""
  tokens, values, _, parts, log_p_bLV = _computed()
  pairs, caption, total = values
  assert total == pytest.approx(pairs + 2.0 * caption, rel=1e-6)
  loss_b, count_b = parts["caption"]
  assert count_b.tolist() == [5, 2, 3, 0]
  assert loss_b[3] == 0
  terms = [
    -log_p_bLV[row, place, word]
    for row, words in enumerate(tokens[:, 1:])
    for place, word in enumerate(words)
    if word
  ]
  assert len(terms) == 10
  assert caption == pytest.approx(np.mean(terms), rel=1e-5)


@pytest.mark.slow
def test_each_loss_has_a_gradient_where_it_should():
  """Captions train all but the scale; pairs train no captioner."""
  _, _, gradients, _, _ = _computed()

  def norms(index, part):
    return {
      jax.tree_util.keystr(path): float(np.linalg.norm(x))
      for path, x in jax.tree.leaves_with_path(gradients[index][part])
    }

  for part in ("img", "txt"):
    assert sum(norms(0, part).values()) > 1e-3
    assert sum(norms(1, part).values()) > 1e-3
  assert not any(norms(0, "captioner").values())
  for path, norm in norms(1, "captioner").items():
    # A key's bias changes no attention.
    assert norm > 1e-6 or "['key']['bias']" in path, path
  assert norms(1, "log_scale")[""] == 0
  # The first query makes the embedding, the others feed the captioner.
  of_queries = [x["img"]["pool"]["queries"] for x in gradients]
  assert not of_queries[0][1:].any()
  assert not of_queries[1][0].any()
  assert of_queries[1][1:].any(axis=1).all()


@pytest.mark.slow
def test_a_mesh_changes_no_loss():
  """Rows over four devices, words, heads and MLPs over two."""
  config = _config()
  mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(2, 2, 2), jax.devices()[:8])
  with jax.set_mesh(mesh):
    objective = objectives.make(config)
    params = objective.init_params(jax.random.key(0))
    params = jax.device_put(
      params, mesh_lib.param_shardings(config.partition_rules, params, mesh)
    )
    batch = steps.global_batch(_rows(config), mesh, objective.batch_of)

    @jax.jit
    def loss(params, batch):
      outputs, _ = objective.embed(params, {}, batch)
      return objective.loss(params, outputs, batch)

    got = float(loss(params, batch))
  assert got == pytest.approx(float(_computed()[1][2]), rel=1e-5)


@pytest.mark.long
@pytest.mark.slow
def test_micro_batches_change_nothing():
  """The mean over tokens is of the whole batch, whose rows differ in length."""
  config = _config()
  built = steps.build(config)
  parts = steps.build(_config(num_microbatches=2))
  with jax.set_mesh(built.mesh):
    rows = steps.global_batch(_rows(config), built.mesh, built.batch_of)
    states, seen = zip(
      *(x.step(x.state, rows) for x in (built, parts)), strict=True
    )
  one, two = jax.device_get(seen)
  for name in one:
    np.testing.assert_allclose(one[name], two[name], rtol=2e-5, err_msg=name)
  assert one["train/caption_loss"] > 1
  got = steps.arrays(states[1].params)
  for name, x in steps.arrays(states[0].params).items():
    np.testing.assert_allclose(got[name], x, atol=steps.ATOL, err_msg=name)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"model.image.pool": "map"}, r'model\.image\.pool="queries"'),
    ({"model.image.num_queries": 1}, "num_queries must be at least 2"),
    ({"model.text.pool": "eot"}, 'model.text.pool "cls"'),
    ({"captioning.captioner.width": 32}, "must equal model.text.width=16"),
    ({"captioning.captioner.vocab_size": 9}, "model.text.vocab_size=40"),
    ({"captioning.captioner.num_tokens": 4}, "num_tokens must be at least"),
    ({"captioning.weight": -1.0}, "captioning.weight must be at least 0"),
    ({"loss.scope": "microbatch"}, "loss.scope must be"),
    ({"decoding.weight": 1.0}, "captioning.weight must be 0 with decoding"),
  ],
)
def test_sections_that_do_not_fit(changes, message):
  values = coca.get_config("mini")
  values.update_from_flattened_dict(tiny_coca.CHANGES | changes)
  with pytest.raises(ValueError, match=message):
    config_lib.checked(values.to_dict())


def test_published_towers_can_be_read():
  """Rules of the captioner's words are no error where it is not read."""
  config = _config()
  mesh = mesh_lib.make_mesh(config.mesh, jax.devices()[:1])
  targets = starting_weights._targets(
    config, starting_parts.shapes_with(config, mesh)
  )
  assert "img/pool/queries" in targets
  assert not any(path.startswith("captioner") for path in targets)


@pytest.mark.parametrize(
  ("name", "want"), [("b32", 253_560_066), ("l14", 638_450_178)]
)
def test_parameters_of_the_variants(name, want):
  """Numbers of open_clip's models, and one for our bias of the logits."""
  config = config_lib.from_mapping(coca.get_config(name).to_dict())
  shapes = objectives.variable_shapes(config)
  assert sum(x.size for x in jax.tree.leaves(shapes)) == want
