"""METER's objectives: losses of both tasks from pixels and ids."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from configs.parts import towers
from losses import answers
from runtime import mesh as mesh_lib
from tests.models.fusion import tiny_clipbert
from training import config as config_lib
from training import objectives
from training.objectives import fused

RNG = np.random.default_rng(0)


def _config(task: str, **fields) -> config_lib.Config:
  config = base.get_config()
  config.batch_size = 4
  config.data.image_size, config.data.num_tokens = 16, 8
  config.data.vocab_size = 64
  config.model.dtype = "float32"
  config.model.embed_dim = 16
  config.model.text = towers.bert(config.data)
  for tower in (config.model.image, config.model.text):
    tower.update({"width": 16, "depth": 1, "num_heads": 2, "mlp_width": 32})
  config.model.text.dropout = 0.1
  config.mesh.data = 1
  fusion = config.fusion
  fusion.kind, fusion.task = "meter", task
  fusion.num_answers, fusion.num_labels = 7, 3
  fusion.mask_id, fusion.kept_ids = 63, (0, 1)
  fusion.meter.update({"depth": 1, "width": 8, "num_heads": 2})
  return config_lib.checked({**config.to_dict(), **fields})


def _batch(**arrays) -> fused.Batch:
  arrays = {
    "images": RNG.integers(0, 256, (4, 16, 16, 3), np.uint8),
    "tokens": RNG.integers(2, 60, (4, 8)).astype(np.int32),
  } | arrays
  batch = fused.batch_of(jax.tree.map(jnp.asarray, arrays))
  return dataclasses.replace(batch, keys=jax.random.split(jax.random.key(0), 4))


@pytest.mark.parametrize(
  "task", [pytest.param("pretraining", marks=pytest.mark.long), "vqa"]
)
def test_gradients_reach_both_towers(task: str):
  config = _config(task)
  labels = {
    "labels": np.array([[1, 2, -1], [6, -1, -1], [0, 3, 4], [5, -1, -1]]),
    "scores": np.array([[1, 0.5, 0], [1, 0, 0], [0.3, 0.3, 1], [1.0, 0, 0]]),
  }
  batch = _batch(**(labels if task == "vqa" else {}))
  with jax.set_mesh(mesh_lib.make_mesh(config.mesh, jax.devices()[:1])):
    objective = objectives.make(config)
    shapes = jax.eval_shape(objective.init_params, jax.random.key(0))
    leaf = functools.partial(tiny_clipbert.leaf, 0.0)
    params = jax.tree.map_with_path(leaf, shapes)
    batch = objective.prepare(batch)

    def forward(params, batch):
      outputs, _ = objective.embed(params, {}, batch)
      return objective.loss(params, outputs, batch), outputs

    run = jax.jit(jax.value_and_grad(forward, has_aux=True))
    (loss, outputs), grads = run(params, batch)
  # Pools of the towers alone are not made: each parameter learns.
  for path, x in jax.tree.leaves_with_path(grads):
    name = jax.tree_util.keystr(path)
    # A key's bias moves all logits of a query alike.
    assert np.any(x) or "'key']['bias']" in name, name
  if task == "pretraining":
    expected = fused.LOSSES[task](outputs, batch, "lse")
  else:
    target = answers.soft_targets(batch.labels, batch.scores, 7)
    expected = jnp.mean(answers.soft_binary(outputs[:, 0, 0], target))
  assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_a_swin_is_read_up_to_its_tokens():
  values = _config("vqa")
  image = towers.swin(base.get_config().data).to_dict()
  image |= {"image_size": 16}
  values = config_lib.to_mapping(values)
  values["model"]["image"] = image
  config = config_lib.checked(values)
  with jax.set_mesh(mesh_lib.make_mesh(config.mesh, jax.devices()[:1])):
    objective = objectives.make(config)
    params = jax.eval_shape(objective.init_params, jax.random.key(0))
    logits, _ = jax.eval_shape(objective.embed, params, {}, objective.batch)
  assert logits.shape == (4, 1, 1, 7)
  assert "projection" not in params["img"]
  width = image["widths"][-1]
  assert params["fusion"]["image"]["kernel"].shape == (width, 8)


def test_faults_name_their_field():
  with pytest.raises(ValueError, match="fusion.task must be one of") as error:
    _config("retrieval")
  assert "'meter'" in str(error.value)
